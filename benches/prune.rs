//! Planning the deletion of 10,000 snapshots of one machine through the library; no disk is touched.

use crate::measure::median;
use std::fmt::Write as _;
use std::time::Instant;
use volvisor::model::{SnapshotMethod, StorageKind};
use volvisor::plan::intent::KeepRules;
use volvisor::plan::testing::{Builder, NOW, snapshot, vmid};
use volvisor::plan::{Intent, World, plan};

pub fn run() {
    println!(
        "  {:<12} {:>8} {:>12} {:>14}",
        "snapshots", "steps", "median ms", "us a snapshot"
    );
    let sizes = [1_000, 10_000];
    let worlds = sizes.map(world);
    let intent = Intent::SnapshotPrune {
        vmid: vmid(100),
        keep: KeepRules {
            last: Some(1),
            ..KeepRules::default()
        },
        prefix: None,
    };
    let mut times = [const { Vec::new() }; 2];
    let mut steps = [0; 2];
    for _ in 0..5 {
        for (at, world) in worlds.iter().enumerate() {
            let begun = Instant::now();
            match plan(&intent, world) {
                Ok(plan) => steps[at] = plan.steps.len(),
                Err(error) => println!("  refused: {}", error.full_text()),
            }
            times[at].push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    for ((size, steps), times) in sizes.iter().zip(steps).zip(times) {
        let ms = median(times);
        println!(
            "  {size:<12} {steps:>8} {ms:>12.1} {:>14.2}",
            ms * 1e3 / f64::from(*size)
        );
    }
}

/// One machine with one disk and so many snapshots, one more than are deleted.
fn world(count: u32) -> World {
    let disk = "scsi0: store:100/vm-100-disk-0.qcow2,size=1G";
    let mut config = format!("{disk}\nparent: s{count}\n");
    let mut stored = Vec::new();
    for number in 0..=count {
        let time = NOW - u64::from(count - number) * 60;
        let _ = write!(config, "\n[s{number}]\n{disk}\n");
        if number > 0 {
            let _ = writeln!(config, "parent: s{}", number - 1);
        }
        let _ = writeln!(config, "snaptime: {time}");
        let name = format!("s{number}");
        stored.push(snapshot(&name, time, SnapshotMethod::Qcow2Internal));
    }
    Builder::new()
        .storage("store", StorageKind::Dir)
        .volume_with("store:100/vm-100-disk-0.qcow2", 1, |v| v.snapshots = stored)
        .machine(100, &config)
        .build()
}
