//! The machine process is killed for real at points across live snapshots and guest writes: `recover` gives all or nothing, no
//! flushed byte is lost, and the machine starts again.

use crate::crash::{copy_tree, machine_with_disks};
use crate::machine::kvm_or_skip;
use crate::support::{Scratch, command, new_root, ok, qemu, volvisor, world};
use std::path::Path;
use std::time::Duration;
use volvisor::backend::OpenMode;
use volvisor::engine::{Engine, Paths};
use volvisor::model::{SnapshotName, VmId, VolumeId};
use volvisor::vmm::guest::client::Guest;
use volvisor::vmm::guest::pattern;

const VOLUMES: [&str; 2] = [
    "store:100/vm-100-disk-0.qcow2",
    "store:100/vm-100-disk-1.qcow2",
];
const SECTORS: u64 = 256;
const POINTS_TRIED: usize = 24;

/// What the guest was told is on the disk, in order.
#[derive(Default)]
struct Flushed {
    first: bool,
    second: bool,
    snapshot_said_ok: bool,
    delete_said_ok: bool,
}

fn guest_writes(root: &Path, seed: u64) -> bool {
    let vmid = VmId::new(100).unwrap();
    let socket = Paths::new(root).machine_serial(vmid);
    if Engine::open(Paths::new(root)).running(vmid).is_none() {
        return false;
    }
    let Ok(mut guest) = Guest::connect(&socket, Duration::from_secs(5)) else {
        return false;
    };
    (0..2)
        .all(|device| guest.write(device, 0, SECTORS, seed).is_ok() && guest.flush(device).is_ok())
}

/// Start, write, snapshot, write, delete another snapshot: as far as the machine lives.
fn live(root: &Path, variable: &str, value: &str) -> Flushed {
    let mut flushed = Flushed::default();
    let started = command(root, &["qm", "start", "100"])
        .env(variable, value)
        .output()
        .unwrap();
    if !started.status.success() {
        return flushed;
    }
    flushed.first = guest_writes(root, 5);
    flushed.snapshot_said_ok = volvisor(root, &["qm", "snapshot", "100", "live"])
        .status
        .success();
    flushed.second = guest_writes(root, 6);
    flushed.delete_said_ok = volvisor(root, &["qm", "delsnapshot", "100", "old"])
        .status
        .success();
    flushed
}

fn read(root: &Path, volume: &str, snapshot: Option<&str>) -> Vec<u8> {
    let id = VolumeId::parse(volume).unwrap();
    let name = snapshot.map(|s| SnapshotName::parse(s).unwrap());
    let device = Engine::open(Paths::new(root))
        .backend(&id.storage)
        .unwrap()
        .open(&id.name, name.as_ref(), OpenMode::ReadOnly)
        .unwrap();
    let mut bytes = vec![0; SECTORS as usize * 512];
    device.read_at(0, &mut bytes).unwrap();
    bytes
}

fn snapshots(root: &Path, volume: &str) -> Vec<String> {
    let id = VolumeId::parse(volume).unwrap();
    let backend = Engine::open(Paths::new(root)).backend(&id.storage).unwrap();
    let inventory = backend.inventory().unwrap();
    let found = inventory.find(&id.name).unwrap();
    found.snapshots.iter().map(|s| s.name.clone()).collect()
}

/// Never corrupt; leaked clusters are allowed only until the next start.
fn check(root: &Path, may_leak: bool, place: &str) {
    for volume in VOLUMES {
        let file = root
            .join("store/images")
            .join(volume.split_once(':').unwrap().1);
        let args = ["check", "-f", "qcow2", file.to_str().unwrap()];
        let output = qemu("qemu-img", &args).unwrap();
        let code = output.status.code();
        assert!(
            code == Some(0) || (may_leak && code == Some(3)),
            "{place}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn one_death(root: &Path, template: &Path, at: usize, old: &[Vec<u8>]) -> bool {
    copy_tree(template, root);
    let flushed = live(root, "VOLVISOR_TEST_MACHINE_CRASH_AT", &at.to_string());
    let place = format!("machine killed at point {at}");
    let recovered = volvisor(root, &["recover"]);
    assert!(
        recovered.status.success(),
        "{place}: recover: {}",
        String::from_utf8_lossy(&recovered.stderr)
    );
    let died = ok(root, &["qm", "status", "100"]).contains("stopped");
    if !died {
        ok(root, &["qm", "stop", "100"]);
    }
    check(root, died, &place);
    let config = ok(root, &["qm", "config", "100"]);
    assert!(!config.contains("lock:"), "{place}: {config}");
    let listed = ok(root, &["qm", "listsnapshot", "100"]);
    let has = |name: &str| listed.lines().any(|l| l.contains(&format!("-> {name} ")));
    for (name, said_ok, wanted) in [
        ("live", flushed.snapshot_said_ok, true),
        ("old", flushed.delete_said_ok, false),
    ] {
        assert!(
            !said_ok || has(name) == wanted,
            "{place}: {name} after success:\n{listed}"
        );
        for volume in VOLUMES {
            assert_eq!(
                snapshots(root, volume).iter().any(|s| s == name),
                has(name),
                "{place}: {name} on {volume}; listed:\n{listed}"
            );
        }
    }
    for (volume, old) in VOLUMES.iter().zip(old) {
        if has("old") {
            assert!(
                read(root, volume, Some("old")) == *old,
                "{place}: 'old' of {volume}"
            );
        }
        if has("live") && flushed.first {
            let wanted = pattern::sectors(5, 0, SECTORS);
            assert!(
                read(root, volume, Some("live")) == wanted,
                "{place}: 'live' of {volume}"
            );
        }
        let now = match (flushed.first, flushed.second) {
            (_, true) => Some(6),
            // The second write may have happened in part.
            _ => None,
        };
        if let Some(seed) = now {
            let wanted = pattern::sectors(seed, 0, SECTORS);
            assert!(read(root, volume, None) == wanted, "{place}: {volume} now");
        }
    }
    let settled = world(root);
    ok(root, &["recover"]);
    assert_eq!(
        settled,
        world(root),
        "{place}: the second recover changed something"
    );
    ok(root, &["qm", "start", "100"]);
    ok(root, &["qm", "stop", "100"]);
    check(root, false, &format!("{place}, started and stopped again"));
    died
}

fn die_at(which: usize) {
    if !kvm_or_skip() {
        return;
    }
    let scratch = Scratch::new(&format!("machine-crash-{which}"));
    let root = new_root(scratch.path());
    let template = scratch.path().join("template");
    machine_with_disks(&root);
    ok(&root, &["qm", "set", "100", "--args", "-bios test-guest"]);
    ok(&root, &["qm", "snapshot", "100", "old"]);
    let old: Vec<Vec<u8>> = VOLUMES
        .iter()
        .map(|v| read(&root, v, Some("old")))
        .collect();
    copy_tree(&root, &template);
    let log = scratch.path().join("points");
    let whole = live(
        &root,
        "VOLVISOR_TEST_MACHINE_CRASH_LOG",
        log.to_str().unwrap(),
    );
    assert!(whole.first && whole.second && whole.snapshot_said_ok && whole.delete_said_ok);
    ok(&root, &["qm", "stop", "100"]);
    let count = std::fs::read_to_string(&log).unwrap().lines().count();
    assert!(count > 40, "only {count} points");
    let step = (count / POINTS_TRIED).max(1);
    let mut died = 0;
    let mut tried = 0;
    for at in (1..=count).skip(which).step_by(2 * step) {
        tried += 1;
        died += usize::from(one_death(&root, &template, at, &old));
    }
    println!("{count} points, {tried} tried, {died} deaths");
    assert!(
        died * 2 > tried,
        "the machine must really die: {died} of {tried}"
    );
}

#[test]
fn a_machine_killed_anywhere_leaves_all_or_nothing() {
    die_at(0);
}

#[test]
fn a_machine_killed_anywhere_else_too() {
    die_at(3);
}
