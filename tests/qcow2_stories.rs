//! One situation after another in which the qcow2 engine and QEMU's tools must agree: overlays, compression, snapshots, locks.

use crate::qcow2_interop::{
    Dice, bytes_of, check, fresh, has_qemu, life, name, open, qemu_bytes, scratch, tool,
};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use volvisor::block::BlockDevice;
use volvisor::block::file::{FileOptions, open_locked};
use volvisor::block::qcow2::{NewImage, create};
use volvisor::model::{ByteCount, ErrorKind, ImageFormat, Preallocation};

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
