//! Every call that changes the world fails once, in every operation: afterwards there is all or nothing, or `recover` makes it all;
//! the error names an object, nothing panics, no image is damaged.

use crate::crash::{copy_tree, diff, machine_with_disks};
use crate::support::{Scratch, check_images, command, fill, new_root, ok, volvisor, world};
use std::collections::BTreeMap;
use std::path::Path;

type World = BTreeMap<String, String>;

/// What a user sees: a journal that has ended but is not on the shelf yet is no difference.
fn visible(root: &Path) -> World {
    let mut seen = world(root);
    seen.retain(|key, _| !key.starts_with("open journal"));
    seen
}

fn with_snapshots(root: &Path) {
    machine_with_disks(root);
    for (round, name) in ["one", "two"].iter().enumerate() {
        ok(root, &["qm", "snapshot", "100", name]);
        let seed = 10 + round as u8;
        fill(root, "store:100/vm-100-disk-0.qcow2", seed, 150_000);
        fill(root, "store:100/vm-100-disk-1.qcow2", seed, 70_000);
    }
}

fn fail_everywhere(name: &str, prepare: impl Fn(&Path), words: &[&str]) {
    let scratch = Scratch::new(&format!("fault-{name}"));
    let root = new_root(scratch.path());
    let template = scratch.path().join("template");
    prepare(&root);
    let before = visible(&root);
    copy_tree(&root, &template);
    let log = scratch.path().join("points");
    let output = command(&root, words)
        .env("VOLVISOR_TEST_CRASH_LOG", &log)
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}");
    let after = visible(&root);
    let points = std::fs::read_to_string(&log).unwrap();
    let (mut failed, mut open) = (0, 0);
    for (at, point) in points.lines().enumerate().map(|(i, p)| (i + 1, p)) {
        if point.contains(" after ") || point.contains(" between ") {
            continue;
        }
        copy_tree(&template, &root);
        let output = command(&root, words)
            .env("VOLVISOR_TEST_FAIL_AT", at.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let place = format!("{name}: fault {at} ({point}): {said}");
        let code = output.status.code().expect("it must not be killed");
        assert!(code != 101 && !said.contains("panicked"), "{place}");
        // Leaked clusters are no damage, and freed by the recovery below.
        if let Err(e) = check_images(&root) {
            assert!(e.contains("leaked") && !e.contains("ERROR"), "{place}: {e}");
        }
        let now = visible(&root);
        if code == 0 {
            assert!(
                now == after,
                "{place}\nsucceeded, but:\n{}",
                diff(&after, &now)
            );
        } else {
            failed += 1;
            assert!(
                said.contains('\'')
                    || said.contains("VM 100")
                    || [".conf", ".cfg"].iter().any(|end| said.contains(end))
                    || said.contains("store:"),
                "the error must name an object: {place}"
            );
        }
        let settled = now == before || now == after;
        let recovered = volvisor(&root, &["recover"]);
        assert!(
            recovered.status.success(),
            "{place}\nrecover: {}",
            String::from_utf8_lossy(&recovered.stderr)
        );
        let end = visible(&root);
        check_images(&root).unwrap_or_else(|e| panic!("{place}: after recover: {e}"));
        if settled {
            assert!(
                end == now || end == after,
                "{place}\nrecover changed:\n{}",
                diff(&now, &end)
            );
        } else {
            open += 1;
            assert!(
                said.contains("stays open"),
                "{place}\nnot told that it stays open"
            );
            assert!(
                end == after || end == before,
                "{place}\nneither, from before:\n{}\nfrom after:\n{}",
                diff(&before, &end),
                diff(&after, &end)
            );
        }
        assert!(
            !world(&root)
                .keys()
                .any(|key| key.starts_with("open journal")),
            "{place}: a journal stays open"
        );
    }
    println!("{name}: {failed} faults told, {open} of them left to recover");
    assert!(failed > 5, "{name}: only {failed} faults");
}

#[test]
fn allocating_and_creating() {
    fail_everywhere(
        "alloc",
        |_| {},
        &[
            "pvesm", "alloc", "store", "100", "", "1M", "--format", "qcow2",
        ],
    );
    fail_everywhere(
        "create",
        |_| {},
        &[
            "qm",
            "create",
            "100",
            "--scsi0",
            "store:0.001,format=qcow2",
            "--scsi1",
            "store:0.001",
        ],
    );
}

#[test]
fn attaching_a_new_disk_and_growing_one() {
    fail_everywhere(
        "set",
        machine_with_disks,
        &[
            "qm",
            "set",
            "100",
            "--scsi1",
            "store:0.001,format=qcow2",
            "--cores",
            "2",
        ],
    );
    fail_everywhere(
        "resize",
        with_snapshots,
        &["qm", "resize", "100", "scsi0", "+3M"],
    );
}

#[test]
fn taking_snapshots() {
    fail_everywhere(
        "snapshot",
        with_snapshots,
        &["qm", "snapshot", "100", "three"],
    );
}

#[test]
fn deleting_snapshots() {
    fail_everywhere(
        "delsnapshot",
        with_snapshots,
        &["qm", "delsnapshot", "100", "one"],
    );
}

#[test]
fn rolling_back() {
    fail_everywhere(
        "rollback",
        with_snapshots,
        &["qm", "rollback", "100", "one"],
    );
}

#[test]
fn templates_and_clones() {
    fail_everywhere("template", machine_with_disks, &["qm", "template", "100"]);
    fail_everywhere(
        "clone-linked",
        |root| {
            machine_with_disks(root);
            ok(root, &["qm", "template", "100"]);
        },
        &["qm", "clone", "100", "101"],
    );
}

#[test]
fn full_clones() {
    fail_everywhere(
        "clone-full",
        machine_with_disks,
        &["qm", "clone", "100", "101", "--full"],
    );
}

#[test]
fn destroying_and_rescanning() {
    fail_everywhere("destroy", with_snapshots, &["qm", "destroy", "100"]);
    fail_everywhere(
        "rescan",
        |root| {
            machine_with_disks(root);
            ok(
                root,
                &[
                    "pvesm",
                    "alloc",
                    "store",
                    "100",
                    "vm-100-disk-9.qcow2",
                    "1M",
                ],
            );
        },
        &["qm", "rescan"],
    );
}

#[test]
fn changing_storages() {
    fail_everywhere(
        "storage-set",
        |_| {},
        &["pvesm", "set", "store", "--content", "images"],
    );
}
