//! How long a guest stands still for a snapshot of its qcow2 disk, next to `qemu-img snapshot -c` of the same image.

use crate::measure::{PROGRAM, installed, median, run_once};
use crate::roots::Root;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use volvisor::block::BlockDevice;
use volvisor::block::qcow2::{self, NewImage, Qcow2};
use volvisor::engine::Paths;
use volvisor::model::{ByteCount, Preallocation, VmId};
use volvisor::vmm::guest::client::{Direction, Guest, Waiting};
use volvisor::vmm::probe;

const SNAPSHOTS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

pub fn run() {
    if let Err(error) = probe() {
        println!("SKIPPED: {}", error.full_text());
        return;
    }
    if !installed("qemu-img") {
        return;
    }
    println!("  {SNAPSHOTS} snapshots each, milliseconds: median (highest)");
    println!(
        "  {:<34} {:>16} {:>16} {:>16} {:>16} {:>7}",
        "", "guest paused", "of it draining", "whole command", "qemu-img", "ratio"
    );
    for (title, size, filled, busy) in [
        ("64 MiB, 16 MiB in use, idle", 64 * MIB, 16 * MIB, 0),
        ("8 GiB, 1 GiB in use, idle", 8192 * MIB, 1024 * MIB, 0),
        ("8 GiB, 1 GiB in use, writing", 8192 * MIB, 1024 * MIB, 40),
    ] {
        if let Err(text) = measure(title, size, filled, busy) {
            println!("  {title}: {text}");
        }
    }
}

fn fill(path: &Path, size: u64, filled: u64) -> volvisor::model::Result<()> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|e| volvisor::model::Error::io("cannot make the image", e))?;
    let new = NewImage {
        size: ByteCount(size),
        cluster_size: 65536,
        preallocation: Preallocation::Off,
        backing: None,
    };
    qcow2::create(&file, &new)?;
    let image = Qcow2::open(file, path, true, None)?;
    let step = MIB * size / filled;
    let bytes = vec![0x5a; MIB as usize];
    for number in 0..filled / MIB {
        image.write_at(number * step, &bytes)?;
    }
    image.flush()
}

fn measure(title: &str, size: u64, filled: u64, busy: u64) -> Result<(), String> {
    let told = |e: volvisor::model::Error| e.full_text();
    // On a real disk: in memory a sync costs nothing and the figures would mean nothing.
    let root = Root::inside(Path::new(env!("CARGO_TARGET_TMPDIR")), "pause");
    let images = root.path().join("store/images/100");
    fs::create_dir_all(&images).map_err(|e| e.to_string())?;
    let image = images.join("vm-100-disk-0.qcow2");
    fill(&image, size, filled).map_err(told)?;
    let config = format!(
        "args: -bios test-guest\nmemory: 32\nscsi0: store:100/vm-100-disk-0.qcow2,size={}M\n",
        size / MIB
    );
    fs::write(root.path().join("etc/pve/qemu-server/100.conf"), config)
        .map_err(|e| e.to_string())?;
    let volvisor = |words: &[&str]| {
        let mut all = vec!["--root", root.text()];
        all.extend_from_slice(words);
        run_once(PROGRAM, &all).wall.as_secs_f64() * 1e3
    };
    volvisor(&["qm", "start", "100"]);
    let serial = Paths::new(root.path()).machine_serial(VmId::new(100).map_err(told)?);
    let mut guest = Guest::connect(&serial, PATIENCE).map_err(told)?;
    let mut commands = Vec::new();
    for number in 0..SNAPSHOTS {
        if busy > 0 {
            guest
                .bench(
                    0,
                    Direction::Write,
                    64,
                    busy,
                    Waiting::Interrupt,
                    size / 512,
                )
                .map_err(told)?;
        }
        commands.push(volvisor(&["qm", "snapshot", "100", &format!("s{number}")]));
    }
    let listed = Command::new(PROGRAM)
        .args(["--root", root.text()])
        .args(["snapshot", "list", "100", "-o", "json"])
        .output()
        .map_err(|e| e.to_string())?;
    volvisor(&["qm", "stop", "100"]);
    let listed: serde_json::Value =
        serde_json::from_slice(&listed.stdout).map_err(|e| e.to_string())?;
    let fact = |key: &str| -> Vec<f64> {
        let snapshots = listed["snapshots"].as_array().into_iter().flatten();
        let micros = snapshots.filter_map(|s| s["measured"][key].as_f64());
        micros.map(|us| us / 1e3).collect()
    };
    let (paused, drained) = (fact("pause_us"), fact("drain_us"));
    let path = image.to_str().ok_or("a path that is not text")?;
    let theirs: Vec<f64> = (0..SNAPSHOTS)
        .map(|number| {
            let name = format!("q{number}");
            run_once("qemu-img", &["snapshot", "-c", &name, path])
                .wall
                .as_secs_f64()
                * 1e3
        })
        .collect();
    let shown = |v: &[f64]| {
        let highest = v.iter().copied().fold(0.0, f64::max);
        format!("{:.1} ({highest:.1})", median(v.to_vec()))
    };
    println!(
        "  {title:<34} {:>16} {:>16} {:>16} {:>16} {:>7.2}",
        shown(&paused),
        shown(&drained),
        shown(&commands),
        shown(&theirs),
        median(paused.clone()) / median(theirs.clone())
    );
    Ok(())
}
