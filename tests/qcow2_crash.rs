//! A child process works on an image and is killed at every write, or runs out of space: the image is whole, before or after.

use crate::qcow2_interop::{bytes_of, check, extent, fresh, has_qemu, name, open};
use crate::support::qemu;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use volvisor::block::BlockDevice;
use volvisor::block::qcow2::Qcow2;
use volvisor::model::{ByteCount, Preallocation, Result};

const SIZE: u64 = 160 << 10;
const TASK: &str = "VOLVISOR_TEST_QCOW2_CHILD";
const LIMIT: &str = "VOLVISOR_TEST_QCOW2_LIMIT";

/// What an image holds: active bytes and the bytes of every snapshot.
#[derive(Clone, PartialEq)]
struct World {
    active: Vec<u8>,
    snapshots: BTreeMap<String, Vec<u8>>,
}

fn world(image: &Arc<Qcow2>) -> World {
    let names = image.snapshots().unwrap();
    World {
        active: bytes_of(&**image),
        snapshots: names
            .into_iter()
            .map(|s| {
                let view = image.clone().at_snapshot(&name(&s.name)).unwrap();
                (s.name, bytes_of(&*view))
            })
            .collect(),
    }
}

type Step = fn(&Qcow2) -> Result<()>;

/// The steps of the child. Each is durable when it is done.
const STEPS: &[Step] = &[
    |image| {
        image.write_at(10_000, &[1; 9000])?;
        image.write_at(100_000, &[2; 300])?;
        image.flush()
    },
    |image| image.snapshot_create(&name("second"), 2),
    |image| {
        image.write_at(11_000, &[3; 20_000])?;
        image.write_zeroes(extent(0, 4096), true)?;
        image.flush()
    },
    |image| image.snapshot_delete(&name("first")).map(drop),
    |image| {
        image.discard(extent(8192, 8192))?;
        image.write_at(150_000, &[4; 5000])?;
        image.flush()
    },
    |image| image.resize(ByteCount(2 * SIZE + 512)),
    |image| {
        image.write_at(2 * SIZE, &[5; 512])?;
        image.flush()
    },
    |image| image.snapshot_create(&name("third"), 3),
    |image| image.snapshot_apply(&name("second")),
    |image| {
        image.write_at(0, &[6; 30_000])?;
        image.flush()
    },
    |image| image.snapshot_delete(&name("third")).map(drop),
    |image| image.snapshot_delete(&name("second")).map(drop),
];

fn prepare(path: &Path, cluster: u32) {
    fresh(path, SIZE, cluster, Preallocation::Off);
    let image = open(path, true);
    image.write_at(5000, &[9; 60_000]).unwrap();
    image.snapshot_create(&name("first"), 1).unwrap();
    image.write_at(40_000, &[8; 9000]).unwrap();
    image.flush().unwrap();
}

/// Not a test of its own: the process that gets killed or runs out of space.
#[test]
fn child() {
    let Some(path) = std::env::var_os(TASK).map(PathBuf::from) else {
        return;
    };
    if let Some(limit) = std::env::var(LIMIT).ok().and_then(|l| l.parse().ok()) {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let limit = rustix::process::Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    }
    let progress = path.with_extension("progress");
    let image = open(&path, true);
    for (number, step) in STEPS.iter().enumerate() {
        match step(&image) {
            Ok(()) => std::fs::write(&progress, (number + 1).to_string()).unwrap(),
            Err(error) if std::env::var_os(LIMIT).is_some() => {
                assert_eq!(
                    error.kind(),
                    volvisor::model::ErrorKind::NoSpace,
                    "{}",
                    error.full_text()
                );
                // The same process still reads what it could not change.
                let _ = world(&image);
                break;
            }
            Err(error) => panic!("{}", error.full_text()),
        }
    }
}

fn run_child(path: &Path, extra: &[(&str, String)]) -> std::process::ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["qcow2_crash::child", "--exact", "--test-threads=1"]);
    command
        .env(TASK, path)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    for (key, value) in extra {
        command.env(key, value);
    }
    command.status().unwrap()
}

/// The worlds before the first and after each step, made by an image nobody disturbs.
fn worlds(template: &Path, scratch: &Path) -> Vec<World> {
    std::fs::copy(template, scratch).unwrap();
    let image = open(scratch, true);
    let mut worlds = vec![world(&image)];
    for step in STEPS {
        step(&image).unwrap();
        worlds.push(world(&image));
    }
    drop(image);
    check(scratch);
    worlds
}

/// No corruption (leaks are allowed), the world before or after the step, and clean after a repair.
fn judge(path: &Path, worlds: &[World], what: &str) {
    let args = ["check", "-f", "qcow2", path.to_str().unwrap()];
    let done = qemu("qemu-img", &args).unwrap();
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(matches!(done.status.code(), Some(0 | 3)), "{what}: {text}");
    let step: usize = std::fs::read_to_string(path.with_extension("progress"))
        .map_or(0, |text| text.parse().unwrap());
    let before = &worlds[step];
    let after = worlds.get(step + 1).unwrap_or(before);
    let image = open(path, true);
    let seen = world(&image);
    if before.snapshots == after.snapshots && before.active.len() == after.active.len() && step != 8
    {
        // Unflushed writes may be there in part, flushed ones must be.
        assert!(
            seen.snapshots == before.snapshots,
            "{what}: snapshots after step {step}"
        );
        let mut bytes = seen
            .active
            .iter()
            .zip(before.active.iter().zip(&after.active));
        assert!(
            bytes.all(|(s, (b, a))| s == b || s == a),
            "{what}: bytes after step {step}"
        );
    } else {
        assert!(
            seen == *before || seen == *after,
            "{what}: neither before nor after step {step}"
        );
    }
    image.repair().unwrap();
    assert!(world(&image) == seen, "{what}: repair changed bytes");
    drop(image);
    check(path);
}

fn kill_everywhere(cluster: u32, stride: usize) {
    let dir = tempfile::tempdir().unwrap();
    let template = dir.path().join("template.qcow2");
    prepare(&template, cluster);
    let path = dir.path().join("image.qcow2");
    let worlds = worlds(&template, &path);
    let log = dir.path().join("points");
    std::fs::copy(&template, &path).unwrap();
    assert!(
        run_child(
            &path,
            &[("VOLVISOR_TEST_CRASH_LOG", log.display().to_string())]
        )
        .success()
    );
    let points = std::fs::read_to_string(&log).unwrap().lines().count();
    println!("cluster {cluster}: {points} points, every {stride}.");
    assert!(points > 100, "only {points} points");
    for at in (1..=points).step_by(stride) {
        std::fs::copy(&template, &path).unwrap();
        let _ = std::fs::remove_file(path.with_extension("progress"));
        let status = run_child(&path, &[("VOLVISOR_TEST_CRASH_AT", at.to_string())]);
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(
            status.signal(),
            Some(libc::SIGKILL),
            "point {at} did not kill"
        );
        judge(
            &path,
            &worlds,
            &format!("cluster {cluster}, killed at point {at}"),
        );
    }
}

#[test]
fn killed_at_any_write_the_image_is_whole_before_or_after_the_step() {
    if has_qemu() {
        kill_everywhere(4096, 1);
    }
}

#[test]
fn killed_with_tiny_clusters_and_growing_tables_the_image_is_whole_too() {
    if has_qemu() {
        kill_everywhere(512, 7);
    }
}

#[test]
fn out_of_space_at_any_moment_the_image_is_whole_and_usable() {
    if !has_qemu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let template = dir.path().join("template.qcow2");
    prepare(&template, 4096);
    let path = dir.path().join("image.qcow2");
    let worlds = worlds(&template, &path);
    let length = std::fs::metadata(&template).unwrap().len();
    let full = std::fs::metadata(&path).unwrap().len();
    assert!(
        full > length + 10 * 3000,
        "the steps take too little space: {length}..{full}"
    );
    for limit in (length..full).step_by(3000) {
        std::fs::copy(&template, &path).unwrap();
        let _ = std::fs::remove_file(path.with_extension("progress"));
        let status = run_child(&path, &[(LIMIT, limit.to_string())]);
        assert!(status.success(), "limit {limit}");
        judge(
            &path,
            &worlds,
            &format!("limit {limit} of {length}..{full}"),
        );
    }
}
