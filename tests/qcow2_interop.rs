//! The qcow2 engine and QEMU's tools agree on every byte, in both directions, and `qemu-img check` is clean after every operation.

use crate::support::qemu;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use volvisor::block::BlockDevice;
use volvisor::block::file::{FileOptions, open_locked};
use volvisor::block::qcow2::{NewImage, Qcow2, create};
use volvisor::model::{ByteCount, ByteOffset, ErrorKind, Extent, Preallocation, SnapshotName};

pub fn has_qemu() -> bool {
    let found = Command::new("qemu-img").arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: qemu-img is not installed");
    }
    found
}

/// Runs a tool and gives what it printed; fails loudly.
pub fn tool(program: &str, args: &[&str]) -> String {
    let done = qemu(program, args).expect("the tool starts");
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {args:?}: {text}");
    text
}

pub fn check(path: &Path) {
    tool(
        "qemu-img",
        &["check", "-f", "qcow2", path.to_str().unwrap()],
    );
}

/// What QEMU reads from the whole image.
pub fn qemu_bytes(path: &Path) -> Vec<u8> {
    let raw = path.with_extension("qemu-raw");
    tool(
        "qemu-img",
        &[
            "convert",
            "-f",
            "qcow2",
            "-O",
            "raw",
            path.to_str().unwrap(),
            raw.to_str().unwrap(),
        ],
    );
    let bytes = std::fs::read(&raw).unwrap();
    std::fs::remove_file(&raw).unwrap();
    bytes
}

pub fn open(path: &Path, writable: bool) -> Arc<Qcow2> {
    open_on(path, writable, None)
}

pub fn open_on(path: &Path, writable: bool, backing: Option<Arc<dyn BlockDevice>>) -> Arc<Qcow2> {
    let file = open_locked(
        path,
        FileOptions {
            writable,
            direct: false,
        },
    )
    .unwrap();
    Arc::new(Qcow2::open(file, path, writable, backing).unwrap())
}

pub fn bytes_of(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0xee; device.geometry().size.get() as usize];
    device.read_at(0, &mut bytes).unwrap();
    bytes
}

pub fn name(text: &str) -> SnapshotName {
    SnapshotName::parse(text).unwrap()
}

pub fn fresh(path: &Path, size: u64, cluster_size: u32, preallocation: Preallocation) {
    let file = std::fs::File::create_new(path).unwrap();
    let options = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    drop(file);
    let new = NewImage {
        size: ByteCount(size),
        cluster_size,
        preallocation,
        backing: None,
    };
    create(&options, &new).unwrap();
}

pub fn extent(start: u64, length: u64) -> Extent {
    Extent::new(ByteOffset(start), ByteCount(length)).unwrap()
}

/// A small generator, so that every run is the one its seed names.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

pub fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.qcow2");
    (dir, path)
}

#[test]
fn an_image_we_create_is_clean_and_empty_for_qemu_at_every_cluster_size() {
    if !has_qemu() {
        return;
    }
    for cluster in [512u32, 4096, 65536, 2 << 20] {
        for mode in [
            Preallocation::Off,
            Preallocation::Metadata,
            Preallocation::Falloc,
            Preallocation::Full,
        ] {
            let (_dir, path) = scratch();
            let size = if mode == Preallocation::Off {
                5 << 20
            } else {
                (1 << 20) + 512
            };
            fresh(&path, size, cluster, mode);
            check(&path);
            assert_eq!(
                qemu_bytes(&path),
                vec![0; size as usize],
                "{cluster} {mode}"
            );
            assert_eq!(bytes_of(&*open(&path, false)), vec![0; size as usize]);
        }
    }
}

/// A random life of an image next to a model in memory: writes, zeros, discards, snapshots, growth, reopening.
pub fn life(
    seed: u64,
    path: &Path,
    base: &[u8],
    backing: Option<Arc<dyn BlockDevice>>,
    snapshots: bool,
) {
    println!("seed {seed}");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut model = base.to_vec();
    let mut saved: Vec<(SnapshotName, Vec<u8>)> = Vec::new();
    let mut image = open_on(path, true, backing.clone());
    let cluster = image.cluster_size().unwrap();
    let old = std::fs::read(path).unwrap()[7] == 2;
    for step in 0..30 {
        let size = model.len() as u64;
        let start = dice.below(size);
        let length = (1 + dice.below(cluster * 3).min(200_000)).min(size - start);
        let (from, to) = (start as usize, (start + length) as usize);
        match dice.below(if snapshots { 12 } else { 8 }) {
            0..=3 => {
                let data: Vec<u8> = (0..length).map(|_| dice.next() as u8).collect();
                image.write_at(start, &data).unwrap();
                model[from..to].copy_from_slice(&data);
            }
            4 => {
                image
                    .write_zeroes(extent(start, length), dice.below(2) == 0)
                    .unwrap();
                model[from..to].fill(0);
            }
            5 => {
                let first = start.next_multiple_of(cluster);
                let end = start + length;
                let last = if end == size {
                    end
                } else {
                    end - end % cluster
                };
                image.discard(extent(start, length)).unwrap();
                if first < last {
                    model[first as usize..last as usize].fill(0);
                }
            }
            6 => {
                let grown = size + dice.below(600) * 512;
                match image.resize(ByteCount(grown)) {
                    Ok(()) => model.resize(grown as usize, 0),
                    Err(e) => assert!(
                        e.kind() == ErrorKind::Unsupported && !saved.is_empty() && old,
                        "{e}"
                    ),
                }
            }
            7 => image.flush().unwrap(),
            8 | 9 => {
                let new = name(&format!("snap{step}"));
                image.snapshot_create(&new, 1000 + step).unwrap();
                saved.push((new, model.clone()));
            }
            10 if !saved.is_empty() => {
                let (old, _) = saved.remove(dice.below(saved.len() as u64) as usize);
                assert!(image.snapshot_delete(&old).unwrap());
            }
            11 if !saved.is_empty() => {
                let (old, bytes) = &saved[dice.below(saved.len() as u64) as usize];
                image.snapshot_apply(old).unwrap();
                model = bytes.clone();
            }
            _ => {}
        }
        if dice.below(3) == 0 {
            drop(image);
            check(path);
            image = open_on(path, true, backing.clone());
        }
        let seen = bytes_of(&*image);
        if seen != model {
            let at = seen.iter().zip(&model).position(|(a, b)| a != b);
            panic!(
                "seed {seed} step {step}: differs at {at:?} (sizes {} {})",
                seen.len(),
                model.len()
            );
        }
    }
    for (old, bytes) in &saved {
        let view = image.clone().at_snapshot(old).unwrap();
        assert!(bytes_of(&*view) == *bytes, "seed {seed}: snapshot {old}");
    }
    let mut holes = model.clone();
    for run in image.data_extents().unwrap() {
        holes[run.start() as usize..run.end() as usize].fill(0);
    }
    assert!(
        holes.iter().all(|b| *b == 0),
        "seed {seed}: data outside the extents"
    );
    drop(image);
    check(path);
    let mut theirs = qemu_bytes(path);
    theirs.resize(model.len(), 0);
    assert!(theirs == model, "seed {seed}: qemu reads something else");
    let mut names: Vec<_> = saved.iter().map(|(n, _)| n.as_str().to_owned()).collect();
    names.sort();
    for (old, bytes) in &saved {
        tool(
            "qemu-img",
            &["snapshot", "-a", old.as_str(), path.to_str().unwrap()],
        );
        check(path);
        assert!(
            qemu_bytes(path) == *bytes,
            "seed {seed}: qemu applies snapshot {old}"
        );
    }
}

#[test]
fn random_lives_agree_with_a_model_and_with_qemu() {
    if !has_qemu() {
        return;
    }
    let shapes: [&[&str]; 10] = [
        &["cluster_size=512"],
        &["cluster_size=4k"],
        &["cluster_size=64k"],
        &["cluster_size=2M"],
        &["refcount_bits=64,cluster_size=4k"],
        &["refcount_bits=8,cluster_size=1k"],
        &["compat=0.10,cluster_size=4k"],
        &["refcount_bits=1,cluster_size=4k"],
        &["preallocation=metadata,cluster_size=4k"],
        &["lazy_refcounts=on,refcount_bits=4,cluster_size=8k"],
    ];
    for seed in 0..40u64 {
        let (_dir, path) = scratch();
        let shape = shapes[seed as usize % shapes.len()][0];
        let size = 700_416 + seed * 512;
        tool(
            "qemu-img",
            &[
                "create",
                "-q",
                "-f",
                "qcow2",
                "-o",
                shape,
                path.to_str().unwrap(),
                &size.to_string(),
            ],
        );
        let snapshots = !shape.contains("refcount_bits=1,");
        life(seed, &path, &vec![0; size as usize], None, snapshots);
    }
}
