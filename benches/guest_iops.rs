//! 4 KiB requests a second of the test guest on our machine and, with the same ROM and the same KVM, on QEMU's q35.

use crate::measure::{installed, median};
use crate::roots::Root;
use std::arch::x86_64::_rdtsc;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use volvisor::block::file::{FileOptions, RawFile};
use volvisor::vmm::guest::client::{Direction, Guest, Waiting};
use volvisor::vmm::guest::rom;
use volvisor::vmm::{DriveSpec, Firmware, MachineSpec, probe};

/// The argument that makes this program the machine being measured.
pub const ROLE: &str = "--machine";

const DISK: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// One machine that runs, and its guest.
struct Contender {
    name: &'static str,
    child: Child,
    guest: Guest<UnixStream>,
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn run() {
    if let Err(error) = probe() {
        println!("SKIPPED: {}", error.full_text());
        return;
    }
    if !installed("qemu-system-x86_64") {
        return;
    }
    let root = Root::new("iops");
    std::fs::write(root.path().join("rom"), rom()).expect("a new file");
    let configurations = [
        ("volvisor", None),
        ("QEMU threads", Some(("threads", false))),
        ("QEMU io_uring", Some(("io_uring", false))),
        ("QEMU io_uring, iothread", Some(("io_uring", true))),
    ];
    let mut contenders = Vec::new();
    for (number, (name, qemu)) in configurations.into_iter().enumerate() {
        let directory = root.path().join(number.to_string());
        std::fs::create_dir(&directory).expect("a new directory");
        let disk = vec![0x5a; DISK as usize];
        std::fs::write(directory.join("disk"), disk).expect("room for the disk");
        let child = match qemu {
            None => ours(&directory),
            Some((aio, iothread)) => theirs(&root.path().join("rom"), &directory, aio, iothread),
        };
        let mut child = child.expect("the program was found before");
        match Guest::connect(&directory.join("serial"), PATIENCE) {
            Ok(guest) => contenders.push(Contender { name, child, guest }),
            Err(error) => {
                println!("SKIPPED: {name}: {}", error.full_text());
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
    let hertz = ticks_per_second();
    for (title, direction, depth, batches, waiting) in [
        (
            "read, depth 64, interrupts",
            Direction::Read,
            64,
            400,
            Waiting::Interrupt,
        ),
        (
            "read, depth 64, polling",
            Direction::Read,
            64,
            400,
            Waiting::Poll,
        ),
        (
            "read, depth 1, interrupts",
            Direction::Read,
            1,
            2000,
            Waiting::Interrupt,
        ),
        (
            "read, depth 1, polling",
            Direction::Read,
            1,
            2000,
            Waiting::Poll,
        ),
        (
            "write, depth 64, interrupts",
            Direction::Write,
            64,
            400,
            Waiting::Interrupt,
        ),
    ] {
        let mut rates = vec![Vec::new(); contenders.len()];
        for round in 0..8 {
            for (at, contender) in contenders.iter_mut().enumerate() {
                let run = contender
                    .guest
                    .bench(0, direction, depth, batches, waiting, DISK / 512);
                match run {
                    Ok(run) if round > 0 => {
                        rates[at].push(run.requests as f64 * hertz / run.ticks as f64)
                    }
                    Ok(_) => {}
                    Err(error) => println!("  {}: {}", contender.name, error.full_text()),
                }
            }
        }
        table(title, &contenders, rates);
    }
}

/// Rates in thousands a second; the yardstick is the best QEMU of each column.
fn table(title: &str, contenders: &[Contender], rates: Vec<Vec<f64>>) {
    let best = |v: &[f64]| v.iter().copied().fold(0.0, f64::max);
    let rows: Vec<(f64, f64)> = rates
        .into_iter()
        .map(|v| (best(&v) / 1e3, median(v) / 1e3))
        .collect();
    let mut yardstick = (0.0_f64, 0.0_f64);
    for (contender, row) in contenders.iter().zip(&rows) {
        if contender.name != "volvisor" {
            yardstick = (yardstick.0.max(row.0), yardstick.1.max(row.1));
        }
    }
    println!(
        "  {title:<30} {:>10} {:>7} {:>12} {:>7}",
        "best k/s", "ratio", "median k/s", "ratio"
    );
    for (contender, row) in contenders.iter().zip(&rows) {
        println!(
            "    {:<28} {:>10.1} {:>7.2} {:>12.1} {:>7.2}",
            contender.name,
            row.0,
            row.0 / yardstick.0,
            row.1,
            row.1 / yardstick.1
        );
    }
}

fn ours(directory: &Path) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(ROLE)
        .arg(directory)
        .stdin(Stdio::null())
        .spawn()
}

/// Runs our machine over `directory/disk` until it is killed.
pub fn be_the_machine(directory: &Path) -> i32 {
    let options = FileOptions {
        writable: true,
        direct: false,
    };
    let outcome = RawFile::open(&directory.join("disk"), options).and_then(|disk| {
        volvisor::vmm::run(MachineSpec {
            name: "bench".to_owned(),
            vmid: 100,
            memory_mib: 32,
            cpus: 1,
            firmware: Firmware::TestGuest,
            drives: vec![DriveSpec {
                id: "virtio0".to_owned(),
                device: Arc::new(disk),
                serial: "bench".to_owned(),
                read_only: false,
                write_cache: true,
            }],
            serial_log: directory.join("log"),
            serial_socket: directory.join("serial"),
            control_socket: directory.join("control"),
            paused: false,
        })
    });
    outcome.unwrap_or_else(|error| {
        println!("  our machine: {}", error.full_text());
        1
    })
}

fn theirs(rom: &Path, directory: &Path, aio: &str, iothread: bool) -> std::io::Result<Child> {
    let at = |name: &str| directory.join(name).display().to_string();
    let device = "virtio-blk-pci,drive=d0,disable-legacy=on";
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "kvm", "-machine", "q35", "-m", "32"])
        .args(["-nographic", "-nodefaults", "-no-user-config", "-bios"])
        .arg(rom)
        .args([
            "-serial",
            &format!("unix:{},server=on,wait=off", at("serial")),
        ])
        .args([
            "-drive",
            &format!("if=none,id=d0,format=raw,file={},aio={aio}", at("disk")),
        ]);
    match iothread {
        true => command
            .args(["-object", "iothread,id=t0"])
            .args(["-device", &format!("{device},iothread=t0")]),
        false => command.args(["-device", device]),
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Rate of the time stamp counter, which guests share.
fn ticks_per_second() -> f64 {
    // SAFETY: every processor with long mode has the instruction.
    let now = || unsafe { _rdtsc() };
    let (begun, first) = (Instant::now(), now());
    std::thread::sleep(Duration::from_millis(100));
    (now() - first) as f64 / begun.elapsed().as_secs_f64()
}
