//! The process is killed for real (SIGKILL) at every point of every operation; afterwards `recover` gives all or nothing, and a
//! second `recover` changes nothing.

use crate::support::{
    Scratch, check_images, command, fill, kvm_missing, new_root, ok, remove_tree, skip, volvisor,
    world,
};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

type World = BTreeMap<String, String>;

pub fn copy_tree(from: &Path, to: &Path) {
    remove_tree(to);
    let status = Command::new("cp")
        .arg("-a")
        .arg("--")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}

pub fn is_killed(status: std::process::ExitStatus) -> bool {
    status.signal() == Some(9)
}

pub fn diff(expected: &World, got: &World) -> String {
    let mut text = String::new();
    for (key, value) in expected {
        match got.get(key) {
            None => text.push_str(&format!("- {key}: {value}\n")),
            Some(other) if other != value => {
                text.push_str(&format!("- {key}: {value}\n+ {key}: {other}\n"))
            }
            _ => {}
        }
    }
    for (key, value) in got.iter().filter(|(key, _)| !expected.contains_key(*key)) {
        text.push_str(&format!("+ {key}: {value}\n"));
    }
    text
}

/// Two disks of 1 MiB with content, qcow2 and (where snapshots are not needed) raw.
pub fn machine_with_disks(root: &Path) {
    ok(
        root,
        &[
            "qm",
            "create",
            "100",
            "--name",
            "t",
            "--memory",
            "64",
            "--scsi0",
            "store:0.001,format=qcow2",
            "--virtio0",
            "store:0.001,format=qcow2",
        ],
    );
    fill(root, "store:100/vm-100-disk-0.qcow2", 1, 200_000);
    fill(root, "store:100/vm-100-disk-1.qcow2", 2, 100_000);
}

fn with_snapshots(root: &Path) {
    machine_with_disks(root);
    for (round, name) in ["one", "two", "three"].iter().enumerate() {
        ok(root, &["qm", "snapshot", "100", name]);
        fill(
            root,
            "store:100/vm-100-disk-0.qcow2",
            10 + round as u8,
            300_000,
        );
        fill(
            root,
            "store:100/vm-100-disk-1.qcow2",
            20 + round as u8,
            60_000,
        );
    }
}

/// Dies at every point of `words`, starting each time from the world that `prepare` makes.
fn die_everywhere(name: &str, prepare: impl Fn(&Path), words: &[&str]) {
    let scratch = Scratch::new(&format!("crash-{name}"));
    let root = new_root(scratch.path());
    let template = scratch.path().join("template");
    prepare(&root);
    let before = world(&root);
    copy_tree(&root, &template);

    let log = scratch.path().join("points");
    let output = command(&root, words)
        .env("VOLVISOR_TEST_CRASH_LOG", &log)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let after = world(&root);
    assert_ne!(before, after, "{name}: the operation must change something");
    check_images(&root).unwrap();
    let points = std::fs::read_to_string(&log).unwrap();
    let count = points.lines().count();
    assert!(count > 8, "{name}: only {count} points");

    let (mut all, mut nothing) = (0, 0);
    for at in 1..=count {
        copy_tree(&template, &root);
        let output = command(&root, words)
            .env("VOLVISOR_TEST_CRASH_AT", at.to_string())
            .output()
            .unwrap();
        let point = points.lines().nth(at - 1).unwrap_or("");
        assert!(
            is_killed(output.status),
            "{name}: not killed at {at} ({point}): {}",
            output.status
        );
        let recovered = volvisor(&root, &["recover"]);
        let said = String::from_utf8_lossy(&recovered.stderr).into_owned();
        assert!(
            recovered.status.success(),
            "{name}: recover after point {at} ({point}) failed: {said}"
        );
        let now = world(&root);
        match () {
            () if now == before => nothing += 1,
            () if now == after => all += 1,
            () => panic!(
                "{name}: after point {at} ({point}) the world is neither.\nfrom before:\n{}\nfrom after:\n{}",
                diff(&before, &now),
                diff(&after, &now)
            ),
        }
        check_images(&root).unwrap_or_else(|e| panic!("{name}: point {at} ({point}): {e}"));
        ok(&root, &["recover"]);
        assert_eq!(
            now,
            world(&root),
            "{name}: point {at} ({point}): the second recover changed something"
        );
    }
    println!("{name}: killed at {count} points, {nothing} times nothing, {all} times all");
    assert!(nothing > 0 && all > 0, "{name}: both ends must be reached");
}

#[test]
fn allocating_a_volume() {
    die_everywhere(
        "alloc",
        |_| {},
        &[
            "pvesm", "alloc", "store", "100", "", "1M", "--format", "qcow2",
        ],
    );
}

#[test]
fn allocating_a_preallocated_raw_volume() {
    die_everywhere(
        "alloc-raw",
        |_| {},
        &["pvesm", "alloc", "store", "100", "vm-100-disk-7.raw", "64"],
    );
}

#[test]
fn freeing_a_volume() {
    die_everywhere(
        "free",
        |root| {
            ok(
                root,
                &[
                    "pvesm", "alloc", "store", "100", "", "1M", "--format", "qcow2",
                ],
            );
        },
        &["pvesm", "free", "store:100/vm-100-disk-0.qcow2"],
    );
}

#[test]
fn configuring_storages() {
    die_everywhere(
        "storage-add",
        |_| {},
        &[
            "pvesm",
            "add",
            "dir",
            "other",
            "--path",
            "/nowhere/at/all",
            "--content",
            "iso",
        ],
    );
    die_everywhere(
        "storage-set",
        |_| {},
        &["pvesm", "set", "store", "--content", "images"],
    );
    die_everywhere(
        "storage-remove",
        |root| {
            ok(
                root,
                &[
                    "pvesm",
                    "add",
                    "dir",
                    "other",
                    "--path",
                    "/nowhere/at/all",
                    "--content",
                    "iso",
                ],
            );
        },
        &["pvesm", "remove", "other"],
    );
}

#[test]
fn creating_a_machine() {
    die_everywhere(
        "create",
        |_| {},
        &[
            "qm",
            "create",
            "100",
            "--name",
            "t",
            "--scsi0",
            "store:0.001,format=qcow2",
            "--scsi1",
            "store:0.001",
        ],
    );
}

#[test]
fn attaching_and_detaching_disks() {
    die_everywhere(
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
    die_everywhere(
        "unlink",
        machine_with_disks,
        &["qm", "unlink", "100", "--idlist", "virtio0"],
    );
    die_everywhere(
        "unlink-force",
        machine_with_disks,
        &["qm", "unlink", "100", "--idlist", "virtio0", "--force"],
    );
}

#[test]
fn resizing_a_disk() {
    die_everywhere(
        "resize",
        machine_with_disks,
        &["qm", "resize", "100", "scsi0", "+3M"],
    );
    die_everywhere(
        "resize-snapshots",
        with_snapshots,
        &["qm", "resize", "100", "scsi0", "+3M"],
    );
}

#[test]
fn taking_a_snapshot() {
    die_everywhere(
        "snapshot",
        machine_with_disks,
        &[
            "qm",
            "snapshot",
            "100",
            "first",
            "--description",
            "before upgrade",
        ],
    );
    die_everywhere(
        "snapshot-4th",
        with_snapshots,
        &["qm", "snapshot", "100", "four"],
    );
}

#[test]
fn rolling_back() {
    die_everywhere(
        "rollback-newest",
        with_snapshots,
        &["qm", "rollback", "100", "three"],
    );
    die_everywhere(
        "rollback-oldest",
        with_snapshots,
        &["qm", "rollback", "100", "one"],
    );
}

#[test]
fn rolling_back_with_a_disk_added_since() {
    die_everywhere(
        "rollback-added",
        |root| {
            with_snapshots(root);
            ok(
                root,
                &["qm", "set", "100", "--scsi5", "store:0.001,format=qcow2"],
            );
        },
        &["qm", "rollback", "100", "two"],
    );
}

#[test]
fn deleting_snapshots() {
    die_everywhere(
        "delete-middle",
        with_snapshots,
        &["qm", "delsnapshot", "100", "two"],
    );
    die_everywhere(
        "delete-leaf",
        with_snapshots,
        &["qm", "delsnapshot", "100", "three"],
    );
    die_everywhere(
        "delete-force",
        with_snapshots,
        &["qm", "delsnapshot", "100", "one", "--force"],
    );
}

#[test]
fn making_a_template_and_cloning_it() {
    die_everywhere("template", machine_with_disks, &["qm", "template", "100"]);
    let template = |root: &Path| {
        machine_with_disks(root);
        ok(root, &["qm", "template", "100"]);
    };
    die_everywhere(
        "clone-linked",
        template,
        &["qm", "clone", "100", "101", "--name", "copy"],
    );
    die_everywhere(
        "clone-full",
        machine_with_disks,
        &["qm", "clone", "100", "101", "--full"],
    );
}

#[test]
fn destroying_a_machine() {
    die_everywhere("destroy", with_snapshots, &["qm", "destroy", "100"]);
}

#[test]
fn rescanning_and_quarantine() {
    let orphan = |root: &Path| {
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
        ok(root, &["pvesm", "alloc", "store", "555", "", "1M"]);
    };
    die_everywhere("rescan", orphan, &["qm", "rescan"]);
    die_everywhere("quarantine", orphan, &["audit", "--fix", "quarantine"]);
}

/// The operation runs against a live machine; the machine survives, whatever happens to the client.
#[test]
fn snapshots_of_a_running_machine() {
    if let Some(reason) = kvm_missing() {
        skip(&format!("KVM: {reason}"));
        return;
    }
    let scratch = Scratch::new("crash-live");
    let root = new_root(scratch.path());
    let template = scratch.path().join("template");
    machine_with_disks(&root);
    ok(&root, &["qm", "set", "100", "--args", "-bios test-guest"]);
    ok(&root, &["qm", "snapshot", "100", "old"]);
    let before = world(&root);
    copy_tree(&root, &template);
    for words in [
        &["qm", "snapshot", "100", "live"][..],
        &["qm", "delsnapshot", "100", "old"][..],
    ] {
        live_deaths(
            &root,
            &template,
            &scratch.path().join("points"),
            words,
            &before,
        );
    }
}

fn live_deaths(root: &Path, template: &Path, log: &Path, words: &[&str], before: &World) {
    let _ = std::fs::remove_file(log);
    copy_tree(template, root);
    ok(root, &["qm", "start", "100"]);
    let output = command(root, words)
        .env("VOLVISOR_TEST_CRASH_LOG", log)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ok(root, &["qm", "stop", "100"]);
    let after = world(root);
    let count = std::fs::read_to_string(log).unwrap().lines().count();
    for at in 1..=count {
        copy_tree(template, root);
        ok(root, &["qm", "start", "100"]);
        let output = command(root, words)
            .env("VOLVISOR_TEST_CRASH_AT", at.to_string())
            .output()
            .unwrap();
        assert!(is_killed(output.status));
        ok(root, &["recover"]);
        let status = ok(root, &["qm", "status", "100"]);
        assert!(
            status.contains("running"),
            "point {at}: the machine must go on, but: {status}"
        );
        ok(root, &["qm", "stop", "100"]);
        let now = world(root);
        assert!(
            now == *before || now == after,
            "{words:?} point {at}: neither.\nfrom before:\n{}\nfrom after:\n{}",
            diff(before, &now),
            diff(&after, &now)
        );
        check_images(root).unwrap();
    }
    println!("{words:?} on a running machine: killed at {count} points");
}
