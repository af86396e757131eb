//! The qcow2 engine and QEMU's tools agree on every byte, in both directions, and `qemu-img check` is clean after every operation.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use volvisor::block::BlockDevice;
use volvisor::block::file::{FileOptions, open_locked};
use volvisor::block::qcow2::{NewImage, Qcow2, create};
use volvisor::model::{
    ByteCount, ByteOffset, ErrorKind, Extent, ImageFormat, Preallocation, SnapshotName,
};

pub fn has_qemu() -> bool {
    let found = Command::new("qemu-img").arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: qemu-img is not installed");
    }
    found
}

/// Runs a tool and gives what it printed; fails loudly.
pub fn tool(program: &str, args: &[&str]) -> String {
    let done = Command::new(program)
        .args(args)
        .output()
        .expect("the tool starts");
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {args:?}: {text}");
    text
}

pub fn check(path: &Path) {
    let path = path.to_str().unwrap();
    let done = Command::new("qemu-img")
        .args(["check", "-f", "qcow2", path])
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "qemu-img check {path}: {text}");
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

fn scratch() -> (tempfile::TempDir, PathBuf) {
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
fn life(
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

/// Runs qemu-io commands on an image.
fn qemu_io(path: &Path, commands: &[&str]) {
    let mut args = vec!["-f", "qcow2"];
    for command in commands {
        args.extend(["-c", command]);
    }
    args.push(path.to_str().unwrap());
    let text = tool("qemu-io", &args);
    assert!(!text.contains("failed"), "{text}");
}

#[test]
fn overlays_read_and_copy_from_smaller_and_larger_backing_files_of_both_formats() {
    if !has_qemu() {
        return;
    }
    for (seed, format) in [(1u64, "raw"), (2, "qcow2"), (3, "raw"), (4, "qcow2")] {
        for (cluster, compat) in [
            ("64k", "1.1"),
            ("4k", "1.1"),
            ("512", "1.1"),
            ("4k", "0.10"),
        ] {
            let (dir, path) = scratch();
            let below = dir.path().join("base");
            let mut dice = Dice(seed * 77 + 1);
            let base: Vec<u8> = (0..300_000 + 512 * seed * 3 / 512 * 512)
                .map(|_| dice.next() as u8)
                .collect();
            let raw = dir.path().join("base.raw");
            std::fs::write(&raw, &base).unwrap();
            tool(
                "qemu-img",
                &[
                    "convert",
                    "-f",
                    "raw",
                    "-O",
                    format,
                    raw.to_str().unwrap(),
                    below.to_str().unwrap(),
                ],
            );
            let size = if seed < 3 { 500_224u64 } else { 200_192 };
            let options = format!(
                "cluster_size={cluster},compat={compat},backing_file=base,backing_fmt={format}"
            );
            tool(
                "qemu-img",
                &[
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-o",
                    &options,
                    path.to_str().unwrap(),
                    &size.to_string(),
                ],
            );
            let backing: Arc<dyn BlockDevice> = match format {
                "raw" => Arc::new(
                    volvisor::block::file::RawFile::open(
                        &below,
                        FileOptions {
                            writable: false,
                            direct: false,
                        },
                    )
                    .unwrap(),
                ),
                _ => open(&below, false),
            };
            let mut model = base.clone();
            model.resize(backing.geometry().size.get() as usize, 0);
            model.resize(size as usize, 0);
            life(
                seed * 31 + cluster.len() as u64,
                &path,
                &model,
                Some(backing),
                true,
            );
        }
    }
}

#[test]
fn an_overlay_we_create_is_read_by_qemu_through_its_backing_file() {
    if !has_qemu() {
        return;
    }
    let (dir, path) = scratch();
    std::fs::write(dir.path().join("base.raw"), vec![5; 100_352]).unwrap();
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let backing = Some(("base.raw".to_owned(), ImageFormat::Raw));
    let new = NewImage {
        size: ByteCount(200_704),
        cluster_size: 65536,
        preallocation: Preallocation::Off,
        backing,
    };
    create(&file, &new).unwrap();
    check(&path);
    let mut expected = vec![5; 100_352];
    expected.resize(200_704, 0);
    assert!(qemu_bytes(&path) == expected);
    let head = std::fs::read(&path).unwrap();
    let about = volvisor::format::qcow2::summary(&head[..4096]).unwrap();
    assert_eq!(about.backing_name.as_deref(), Some("base.raw"));
    assert_eq!(about.backing_format, Some(ImageFormat::Raw));
    // Without the backing device nothing is invented.
    let image = open(&path, false);
    assert!(image.read_at(0, &mut [0; 16]).is_err());
}

#[test]
fn compressed_images_are_read_and_their_clusters_copied_on_write() {
    if !has_qemu() {
        return;
    }
    for cluster in ["512", "4k", "64k", "2M"] {
        let (dir, path) = scratch();
        let raw = dir.path().join("source");
        let mut dice = Dice(99);
        let bytes: Vec<u8> = (0..3_000_320u32)
            .map(|n| {
                if n % 9000 < 3000 {
                    dice.next() as u8
                } else {
                    (n / 500) as u8
                }
            })
            .collect();
        std::fs::write(&raw, &bytes).unwrap();
        let options = format!("cluster_size={cluster}");
        tool(
            "qemu-img",
            &[
                "convert",
                "-c",
                "-f",
                "raw",
                "-O",
                "qcow2",
                "-o",
                &options,
                raw.to_str().unwrap(),
                path.to_str().unwrap(),
            ],
        );
        assert!(bytes_of(&*open(&path, false)) == bytes, "{cluster}");
        life(cluster.len() as u64, &path, &bytes, None, true);
    }
}

#[test]
fn snapshots_made_by_qemu_and_by_us_live_in_one_image() {
    if !has_qemu() {
        return;
    }
    for options in [
        "compat=1.1,cluster_size=4k",
        "compat=0.10",
        "refcount_bits=2,cluster_size=512",
        "refcount_bits=64",
    ] {
        let (_dir, path) = scratch();
        let shown = path.to_str().unwrap().to_owned();
        tool(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", options, &shown, "1M"],
        );
        qemu_io(&path, &["write -P 1 0 300k"]);
        tool("qemu-img", &["snapshot", "-c", "theirs", &shown]);
        let image = open(&path, true);
        image.write_at(100_000, &[2; 100_000]).unwrap();
        image.snapshot_create(&name("ours"), 1_700_000_000).unwrap();
        assert_eq!(
            image.snapshot_create(&name("ours"), 1).unwrap_err().kind(),
            ErrorKind::Conflict
        );
        image.write_at(0, &[3; 50_000]).unwrap();
        image.flush().unwrap();
        let after = bytes_of(&*image);
        drop(image);
        check(&path);
        let list = tool("qemu-img", &["snapshot", "-l", &shown]);
        assert!(
            list.contains("theirs") && list.contains("ours") && list.contains("2023-11-14"),
            "{list}"
        );
        assert!(qemu_bytes(&path) == after);
        qemu_io(&path, &["write -P 4 200k 100k", "discard 400k 64k"]);
        tool("qemu-img", &["snapshot", "-d", "ours", &shown]);
        check(&path);
        let image = open(&path, true);
        assert_eq!(image.snapshots().unwrap().len(), 1);
        assert!(image.snapshot_delete(&name("theirs")).unwrap());
        assert!(!image.snapshot_delete(&name("theirs")).unwrap());
        let mut expected = after.clone();
        expected[200 << 10..300 << 10].fill(4);
        assert!(bytes_of(&*image) == expected, "{options}");
        drop(image);
        check(&path);
        assert!(qemu_bytes(&path) == expected, "{options}");
    }
}

#[test]
fn a_snapshot_that_the_counts_cannot_hold_is_refused_before_anything_is_written() {
    if !has_qemu() {
        return;
    }
    let (_dir, path) = scratch();
    tool(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "refcount_bits=1",
            path.to_str().unwrap(),
            "1M",
        ],
    );
    qemu_io(&path, &["write -P 1 0 300k"]);
    let before = std::fs::read(&path).unwrap();
    let image = open(&path, true);
    let error = image.snapshot_create(&name("one"), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    drop(image);
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn a_snapshot_cycle_leaves_the_file_no_larger_than_one_cycle_needs() {
    if !has_qemu() {
        return;
    }
    let (_dir, path) = scratch();
    fresh(&path, 8 << 20, 65536, Preallocation::Off);
    let image = open(&path, true);
    image.write_at(0, &[1; 2 << 20]).unwrap();
    let mut sizes = Vec::new();
    for round in 0..10 {
        image.snapshot_create(&name("cycle"), round).unwrap();
        image.write_at(0, &[round as u8; 1 << 20]).unwrap();
        image.snapshot_delete(&name("cycle")).unwrap();
        sizes.push(std::fs::metadata(&path).unwrap().len());
    }
    assert!(
        sizes[9] <= sizes[2] + 4 * 65536,
        "the file grows: {sizes:?}"
    );
    drop(image);
    check(&path);
}

#[test]
fn a_view_of_a_deleted_snapshot_refuses_instead_of_reading_reused_clusters() {
    let (_dir, path) = scratch();
    fresh(&path, 1 << 20, 4096, Preallocation::Off);
    let image = open(&path, true);
    image.write_at(0, &[1; 9000]).unwrap();
    image.snapshot_create(&name("here"), 1).unwrap();
    let view = image.clone().at_snapshot(&name("here")).unwrap();
    image.write_at(0, &[2; 9000]).unwrap();
    assert_eq!(bytes_of(&*view)[..9000], [1; 9000]);
    assert!(view.write_at(0, &[1]).is_err());
    image.snapshot_delete(&name("here")).unwrap();
    image.snapshot_create(&name("here"), 1).unwrap();
    assert_eq!(
        view.read_at(0, &mut [0; 10]).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn the_refcount_table_moves_when_the_image_outgrows_it() {
    if !has_qemu() {
        return;
    }
    let (_dir, path) = scratch();
    fresh(&path, 24 << 20, 512, Preallocation::Off);
    let image = open(&path, true);
    let data: Vec<u8> = (0..18u32 << 20).map(|n| (n / 511) as u8).collect();
    image.write_at(4096, &data).unwrap();
    image.snapshot_create(&name("big"), 1).unwrap();
    image.write_at(0, &[7; 100_000]).unwrap();
    image.flush().unwrap();
    let bytes = bytes_of(&*image);
    drop(image);
    check(&path);
    assert!(qemu_bytes(&path) == bytes);
}

#[test]
fn bitmaps_that_a_write_makes_stale_are_dropped() {
    if !has_qemu() {
        return;
    }
    let (_dir, path) = scratch();
    let shown = path.to_str().unwrap().to_owned();
    tool("qemu-img", &["create", "-q", "-f", "qcow2", &shown, "1M"]);
    tool("qemu-img", &["bitmap", "--add", &shown, "backup"]);
    assert!(tool("qemu-img", &["info", &shown]).contains("backup"));
    drop(open(&path, true));
    assert!(
        tool("qemu-img", &["info", &shown]).contains("backup"),
        "opening alone changes nothing"
    );
    let image = open(&path, true);
    image.write_at(0, &[1; 100]).unwrap();
    drop(image);
    assert!(!tool("qemu-img", &["info", &shown]).contains("backup"));
    check(&path);
}

#[test]
fn an_image_that_was_not_closed_is_repaired_when_opened_for_writing() {
    if !has_qemu() {
        return;
    }
    let (_dir, path) = scratch();
    let shown = path.to_str().unwrap().to_owned();
    tool(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "lazy_refcounts=on",
            &shown,
            "1M",
        ],
    );
    let killed = Command::new("qemu-io")
        .args([
            "-f",
            "qcow2",
            "-c",
            "write -P 3 0 200k",
            "-c",
            "flush",
            "-c",
            "abort",
            &shown,
        ])
        .output()
        .unwrap();
    assert!(!killed.status.success());
    assert_eq!(
        std::fs::read(&path).unwrap()[79] & 1,
        1,
        "the image is not dirty"
    );
    let image = open(&path, true);
    assert_eq!(bytes_of(&*image)[..200 << 10], vec![3; 200 << 10]);
    image.write_at(0, &[4; 300]).unwrap();
    drop(image);
    assert_eq!(std::fs::read(&path).unwrap()[79] & 1, 0);
    check(&path);
}

#[test]
fn leaks_left_by_somebody_else_are_found_and_given_back() {
    if !has_qemu() {
        return;
    }
    let (_dir, path) = scratch();
    let shown = path.to_str().unwrap().to_owned();
    tool("qemu-img", &["create", "-q", "-f", "qcow2", &shown, "1M"]);
    qemu_io(&path, &["write -P 3 0 200k"]);
    let bytes = std::fs::read(&path).unwrap();
    let at =
        |place: usize| u64::from_be_bytes(bytes[place..place + 8].try_into().unwrap()) as usize;
    let block = at(at(48));
    let mut leaky = bytes.clone();
    leaky[block + 2 * 30 + 1] = 1;
    leaky[block + 2 * 7 + 1] = 5;
    std::fs::write(&path, &leaky).unwrap();
    let image = open(&path, true);
    assert!(image.repair().unwrap());
    assert!(!image.repair().unwrap(), "twice is once");
    drop(image);
    check(&path);
}

#[test]
fn qemu_and_we_keep_each_other_out_while_writing() {
    if !has_qemu() {
        return;
    }
    let (_dir, path) = scratch();
    fresh(&path, 1 << 20, 65536, Preallocation::Off);
    let shown = path.to_str().unwrap().to_owned();
    let image = open(&path, true);
    for args in [["-c", "write 0 512"], ["-r", "-cread 0 512"]] {
        let done = Command::new("qemu-io")
            .args(["-f", "qcow2"])
            .args(args)
            .arg(&shown)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(text.contains("Failed to get"), "{args:?}: {text}");
    }
    drop(image);
    let reader = open(&path, false);
    tool("qemu-img", &["info", &shown]);
    drop(reader);
    let mut qemu = Command::new("qemu-io")
        .args(["-f", "qcow2", &shown])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    let refused = loop {
        match open_locked(
            &path,
            FileOptions {
                writable: true,
                direct: false,
            },
        ) {
            Err(error) => break Some(error),
            Ok(_) if started.elapsed().as_secs() > 10 => break None,
            Ok(file) => drop(file),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    drop(qemu.stdin.take());
    qemu.wait().unwrap();
    let refused = refused.expect("qemu's lock is seen");
    assert_eq!(refused.kind(), ErrorKind::Busy);
}

#[test]
fn a_copy_holds_the_same_bytes_and_keeps_the_holes() {
    let (dir, path) = scratch();
    fresh(&path, 8 << 20, 65536, Preallocation::Off);
    let image = open(&path, true);
    image.write_at(3 << 20, &[6; 70_000]).unwrap();
    let target = dir.path().join("copy.raw");
    std::fs::File::create(&target)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    let raw = volvisor::block::file::RawFile::open(
        &target,
        FileOptions {
            writable: true,
            direct: false,
        },
    )
    .unwrap();
    let mut last = 0;
    volvisor::block::copy_range(&*image, &raw, &mut |done, _| last = done).unwrap();
    assert!((70_000..1 << 20).contains(&last), "{last:?}");
    assert!(bytes_of(&raw) == bytes_of(&*image));
    assert!(
        raw.data_extents()
            .unwrap()
            .iter()
            .map(|e| e.len())
            .sum::<u64>()
            < 1 << 20
    );
}
