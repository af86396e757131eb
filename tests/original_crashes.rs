//! Every row of the crash matrix observed on Proxmox VE: where the original leaves a lock, a half-made snapshot, a stopped guest or
//! a leaked volume for a person to clean up, this program needs none.

use crate::crash::{copy_tree, diff, is_killed, machine_with_disks};
use crate::support::{
    Scratch, check_images, command, fill, kvm_missing, new_root, ok, skip, volvisor, world,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

struct Row {
    scenario: String,
    kill: bool,
    event: String,
    nth: usize,
    left: usize,
}

fn rows() -> Vec<Row> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/cases/vm/snapshot-crash-rows.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let word = |key: &str| row[key].as_str().unwrap().to_owned();
            Row {
                scenario: word("scenario"),
                kill: word("mode") == "kill",
                event: word("event"),
                nth: row["nth"].as_u64().unwrap() as usize,
                left: row["left_by_original"].as_array().unwrap().len(),
            }
        })
        .collect()
}

/// Makes the world of a scenario and gives the command. RAM rows run without RAM where that is not supported yet, but a
/// snapshot that has a RAM volume (made by the original) is deleted with it.
fn prepare(scenario: &str, root: &Path) -> (&'static [&'static str], bool) {
    machine_with_disks(root);
    ok(
        root,
        &[
            "qm",
            "set",
            "100",
            "--args",
            "-bios test-guest",
            "--agent",
            "1",
        ],
    );
    match scenario {
        "create-offline" => (
            &[
                "qm",
                "snapshot",
                "100",
                "s1",
                "--description",
                "before upgrade",
            ],
            false,
        ),
        "create-live-agent" | "create-live-ram" => (&["qm", "snapshot", "100", "s1"], true),
        "delete-leaf-ram" | "delete-leaf-ram-force" => {
            ok(root, &["qm", "snapshot", "100", "s1"]);
            ok(
                root,
                &[
                    "pvesm",
                    "alloc",
                    "store",
                    "100",
                    "vm-100-state-s1.raw",
                    "1M",
                ],
            );
            let path = root.join("etc/pve/qemu-server/100.conf");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text + "vmstate: store:100/vm-100-state-s1.raw\n").unwrap();
            match scenario {
                "delete-leaf-ram" => (&["qm", "delsnapshot", "100", "s1"], false),
                _ => (&["qm", "delsnapshot", "100", "s1", "--force"], false),
            }
        }
        "delete-middle" => {
            for name in ["s1", "s2", "s3"] {
                ok(root, &["qm", "snapshot", "100", name]);
                fill(
                    root,
                    "store:100/vm-100-disk-0.qcow2",
                    name.as_bytes()[1],
                    150_000,
                );
            }
            (&["qm", "delsnapshot", "100", "s2"], false)
        }
        "rollback-offline" | "rollback-ram" => {
            ok(root, &["qm", "snapshot", "100", "s1"]);
            fill(root, "store:100/vm-100-disk-0.qcow2", 77, 150_000);
            ok(
                root,
                &["qm", "set", "100", "--scsi7", "store:0.001,format=qcow2"],
            );
            match scenario {
                "rollback-offline" => (&["qm", "rollback", "100", "s1"], true),
                _ => (&["qm", "rollback", "100", "s1", "--start"], false),
            }
        }
        other => panic!("scenario {other} is new: teach this story about it"),
    }
}

/// Our own point for an event of the original. Freeze and savevm have no counterpart: they are inside the group snapshot.
fn own_event(event: &str) -> &str {
    match event {
        "fs-freeze" | "fs-thaw" | "savevm-start" | "savevm-end" => "vol-snapshot",
        other => other,
    }
}

fn point(log: &str, event: &str, nth: usize) -> Option<usize> {
    let wanted = format!("step {}", own_event(event));
    let points: Vec<usize> = log
        .lines()
        .filter_map(|line| {
            line.split_once(' ')
                .filter(|(_, what)| *what == wanted)
                .and_then(|(n, _)| n.parse().ok())
        })
        .collect();
    points.get(nth).or(points.last()).copied()
}

#[test]
fn no_row_of_the_originals_crash_matrix_needs_a_person() {
    if let Some(reason) = kvm_missing() {
        skip(&format!("KVM: {reason}"));
        return;
    }
    let rows = rows();
    let mut scenarios: Vec<&str> = rows.iter().map(|r| r.scenario.as_str()).collect();
    scenarios.dedup();
    let (mut tried, mut better) = (0, 0);
    for scenario in scenarios {
        let scratch = Scratch::new(&format!("original-{scenario}"));
        let root = new_root(scratch.path());
        let template = scratch.path().join("template");
        let log = scratch.path().join("points");
        let (words, live) = prepare(scenario, &root);
        let before = world(&root);
        copy_tree(&root, &template);
        let start = || {
            copy_tree(&template, &root);
            if live {
                ok(&root, &["qm", "start", "100"]);
            }
        };
        let settled = || {
            volvisor(&root, &["qm", "stop", "100"]);
            world(&root)
        };
        start();
        let output = command(&root, words)
            .env("VOLVISOR_TEST_CRASH_LOG", &log)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{scenario}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let after = settled();
        let points = std::fs::read_to_string(&log).unwrap();
        for row in rows.iter().filter(|r| r.scenario == scenario) {
            let Some(at) = point(&points, &row.event, row.nth) else {
                continue;
            };
            start();
            let variable = if row.kill {
                "VOLVISOR_TEST_CRASH_AT"
            } else {
                "VOLVISOR_TEST_FAIL_AT"
            };
            let output = command(&root, words)
                .env(variable, at.to_string())
                .output()
                .unwrap();
            assert!(
                !output.status.success() && (!row.kill || is_killed(output.status)),
                "{scenario} {}",
                row.event
            );
            ok(&root, &["recover"]);
            let now = settled();
            assert!(
                now == before || now == after,
                "{scenario}: {} {} at {at}\nfrom before:\n{}\nfrom after:\n{}",
                if row.kill {
                    "killed before"
                } else {
                    "error at"
                },
                row.event,
                diff(&before, &now),
                diff(&after, &now)
            );
            check_images(&root).unwrap();
            tried += 1;
            better += usize::from(row.left > 0);
        }
    }
    println!(
        "{tried} rows tried; in {better} of them the original leaves something behind, here nothing"
    );
    assert!(
        tried * 10 >= rows.len() * 9,
        "only {tried} of {} rows could be tried",
        rows.len()
    );
}
