//! Images that lie, are cut off or are damaged at random: an error that says where, never a panic, a hang or a huge allocation.

use crate::qcow2_interop::{Dice, extent, has_qemu, name, open, tool};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use volvisor::block::BlockDevice;
use volvisor::block::qcow2::Qcow2;
use volvisor::format::qcow2::{SUMMARY_BYTES, snapshot_table, summary};
use volvisor::model::{ByteCount, ErrorKind, Result};

const CLUSTER: usize = 4096;

/// A small image with data, zeros, compressed clusters, two snapshots and space freed in between.
fn victim(dir: &Path) -> PathBuf {
    let path = dir.join("victim.qcow2");
    let raw = dir.join("source.raw");
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n / 7) as u8).collect();
    std::fs::write(&raw, &bytes).unwrap();
    tool(
        "qemu-img",
        &[
            "convert",
            "-q",
            "-c",
            "-O",
            "qcow2",
            "-o",
            "cluster_size=4k",
            raw.to_str().unwrap(),
            path.to_str().unwrap(),
        ],
    );
    let image = open(&path, true);
    image.write_at(3000, &[1; 30_000]).unwrap();
    image.snapshot_create(&name("one"), 1).unwrap();
    image.write_at(9000, &[2; 9000]).unwrap();
    image.write_zeroes(extent(40_960, 8192), false).unwrap();
    image.snapshot_create(&name("two"), 2).unwrap();
    image.write_at(100_000, &[3; 20_000]).unwrap();
    image.flush().unwrap();
    path
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Opens without locks or names, as a damaged image may be many things.
fn try_open(path: &Path, writable: bool) -> Result<Arc<Qcow2>> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(writable)
        .open(path)
        .unwrap();
    Qcow2::open(file, path, writable, None).map(Arc::new)
}

/// Everything a user may do to an image; results do not matter, coming back does.
fn exercise(path: &Path) {
    let head = std::fs::read(path).unwrap();
    let _ = summary(&head[..head.len().min(SUMMARY_BYTES)]);
    for writable in [false, true] {
        let Ok(image) = try_open(path, writable) else {
            continue;
        };
        let size = image.geometry().size.get();
        let mut bytes = vec![0; size.min(300_000) as usize];
        let _ = image.read_at(0, &mut bytes);
        let _ = image.data_extents();
        for info in image.snapshots().unwrap() {
            if let Ok(name) = volvisor::model::SnapshotName::parse(&info.name)
                && let Ok(view) = image.clone().at_snapshot(&name)
            {
                let mut bytes = vec![0; view.geometry().size.get().min(300_000) as usize];
                let _ = view.read_at(0, &mut bytes);
            }
        }
        if writable {
            for at in [0, 9000, 50_000, 150_000] {
                let _ = image.write_at(at, &[7; 6000]);
            }
            let _ = image.write_zeroes(extent(20_000, 50_000), true);
            let _ = image.discard(extent(0, 60_000));
            let _ = image.flush();
            let _ = image.snapshot_create(&name("three"), 3);
            let _ = image.snapshot_apply(&name("one"));
            let _ = image.snapshot_delete(&name("two"));
            let _ = image.resize(ByteCount(size.saturating_add(100_000)));
            let _ = image.repair();
        }
    }
}

#[test]
fn an_image_cut_off_anywhere_is_an_error_or_readable_but_never_a_panic() {
    if !has_qemu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(victim(dir.path())).unwrap();
    let path = dir.path().join("cut.qcow2");
    let places = (0..120).chain((120..whole.len()).step_by(1500));
    for length in places {
        std::fs::write(&path, &whole[..length]).unwrap();
        if length < 104 {
            let error = try_open(&path, false)
                .err()
                .expect("a cut header is refused");
            assert!(error.full_text().contains("byte"), "{}", error.full_text());
        }
        exercise(&path);
    }
}

/// Puts bytes at a place of the header and expects a refusal that names the field.
#[test]
fn header_fields_that_lie_are_refused_by_name() {
    if !has_qemu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(victim(dir.path())).unwrap();
    let path = dir.path().join("lie.qcow2");
    let four = |n: u32| n.to_be_bytes().to_vec();
    let eight = |n: u64| n.to_be_bytes().to_vec();
    let lies: Vec<(usize, Vec<u8>, &str)> = vec![
        (0, four(0x5146_49fc), "magic"),
        (4, four(1), "version"),
        (4, four(99), "version"),
        (8, eight(1 << 40), "backing_file"),
        (8, eight(3000), "backing_file_size"),
        (20, four(0), "cluster_bits"),
        (20, four(8), "cluster_bits"),
        (20, four(22), "cluster_bits"),
        (20, four(63), "cluster_bits"),
        (20, four(u32::MAX), "cluster_bits"),
        (24, eight(u64::MAX), "size"),
        (24, eight(1 << 62), "size"),
        (24, eight(1 << 40), "l1_size"),
        (32, four(1), "crypt_method"),
        (32, four(2), "crypt_method"),
        (32, four(9), "crypt_method"),
        (36, four(0), "l1_size"),
        (36, four(u32::MAX), "l1_size"),
        (36, four(4 << 20), "l1_table_offset"),
        (40, eight(1), "l1_table_offset"),
        (40, eight(0), "l1_table_offset"),
        (40, eight(1 << 50), "l1_table_offset"),
        (40, eight(u64::MAX - 4095), "l1_table_offset"),
        (48, eight(0), "refcount_table_offset"),
        (48, eight(7), "refcount_table_offset"),
        (48, eight(1 << 55), "refcount_table_offset"),
        (56, four(0), "refcount_table_clusters"),
        (56, four(u32::MAX), "refcount_table_clusters"),
        (56, four(2048), "refcount_table_offset"),
        (60, four(u32::MAX), "nb_snapshots"),
        (60, four(65537), "nb_snapshots"),
        (60, four(65536), "snapshots_offset"),
        (64, eight(1), "snapshots_offset"),
        (64, eight(1 << 50), "snapshots_offset"),
        (72, eight(4), "incompatible_features"),
        (72, eight(16), "incompatible_features"),
        (72, eight(32), "incompatible_features"),
        (72, eight(1 << 63), "incompatible_features"),
        (72, eight(8), "compression_type"),
        (96, four(7), "refcount_order"),
        (96, four(u32::MAX), "refcount_order"),
        (100, four(8), "header_length"),
        (100, four(105), "header_length"),
        (100, four(u32::MAX), "header_length"),
        (104, vec![1], "compression_type"),
        (112, eight(0x1234_5678_7fff_ffff), "extension"),
        (112, eight(0xe279_2aca_ffff_ffff), "extension"),
    ];
    for (at, bytes, field) in lies {
        let mut image = whole.clone();
        image[at..at + bytes.len()].copy_from_slice(&bytes);
        std::fs::write(&path, &image).unwrap();
        let error = try_open(&path, false).err();
        let text = error.map(|e| e.full_text()).unwrap_or_default();
        assert!(
            text.contains(field),
            "{bytes:?} at {at}: '{text}' does not name {field}"
        );
        exercise(&path);
    }
}

#[test]
fn corrupt_images_open_for_reading_only_and_zstd_is_named() {
    if !has_qemu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut image = std::fs::read(victim(dir.path())).unwrap();
    let path = dir.path().join("corrupt.qcow2");
    image[79] |= 2;
    std::fs::write(&path, &image).unwrap();
    assert!(try_open(&path, false).is_ok());
    assert_eq!(
        try_open(&path, true).err().unwrap().kind(),
        ErrorKind::Integrity
    );
    let zstd = dir.path().join("zstd.qcow2");
    tool(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "compression_type=zstd",
            zstd.to_str().unwrap(),
            "1M",
        ],
    );
    let error = try_open(&zstd, false).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("zstd"));
}

#[test]
fn entries_that_name_metadata_or_nowhere_never_lead_a_write_there() {
    if !has_qemu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(victim(dir.path())).unwrap();
    let path = dir.path().join("entry.qcow2");
    let l1 = be64(&whole, 40) as usize;
    let l2 = (be64(&whole, l1) & 0x00ff_ffff_ffff_fe00) as usize;
    let refcounts = be64(&whole, 48);
    let block = be64(&whole, refcounts as usize);
    let snapshots = be64(&whole, 64);
    for target in [
        0u64,
        l1 as u64,
        l2 as u64,
        refcounts,
        block,
        snapshots,
        1 << 40,
        512,
    ] {
        let mut image = whole.clone();
        image[l2..l2 + 8].copy_from_slice(&(target | 1 << 63).to_be_bytes());
        std::fs::write(&path, &image).unwrap();
        let open = try_open(&path, true).unwrap();
        let error = open.read_at(0, &mut [0; 512]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{target:#x}");
        assert!(
            error.message().contains("L2 entry 0"),
            "{}",
            error.message()
        );
        assert!(open.write_at(0, &[1; 512]).is_err());
        assert!(open.snapshot_create(&name("three"), 3).is_err());
        drop(open);
        assert!(
            std::fs::read(&path).unwrap() == image,
            "{target:#x}: the file was changed"
        );
        // The same for the table above.
        let mut image = whole.clone();
        image[l1..l1 + 8].copy_from_slice(&(target | 1 << 63).to_be_bytes());
        std::fs::write(&path, &image).unwrap();
        if target != l2 as u64 {
            assert!(try_open(&path, true).is_err(), "L1 entry {target:#x}");
        }
        exercise(&path);
    }
}

#[test]
fn clusters_without_references_are_not_written() {
    if !has_qemu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut image = std::fs::read(victim(dir.path())).unwrap();
    let path = dir.path().join("zero.qcow2");
    let block = be64(&image, be64(&image, 48) as usize) as usize;
    image[block..block + CLUSTER].fill(0);
    std::fs::write(&path, &image).unwrap();
    let open = try_open(&path, true).unwrap();
    assert_eq!(
        open.write_at(3000, &[9; 8]).unwrap_err().kind(),
        ErrorKind::Integrity
    );
    assert!(open.repair().unwrap(), "the counts were wrong");
    open.write_at(3000, &[9; 8]).unwrap();
    drop(open);
    crate::qcow2_interop::check(&path);
}

#[test]
fn random_damage_never_panics_or_hangs() {
    if !has_qemu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(victim(dir.path())).unwrap();
    let path = dir.path().join("damaged.qcow2");
    let l1 = be64(&whole, 40) as usize;
    let l2 = (be64(&whole, l1) & 0x00ff_ffff_ffff_fe00) as usize;
    let places = [
        0,
        l1,
        l2,
        be64(&whole, 48) as usize,
        be64(&whole, 64) as usize,
        be64(&whole, be64(&whole, 48) as usize) as usize,
    ];
    for seed in 1..400u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut image = whole.clone();
        for _ in 0..1 + dice.below(4) {
            let base = places[dice.below(places.len() as u64) as usize];
            let within = if base == 0 { 128 } else { 400 };
            let at = base + dice.below(within) as usize;
            let value = [0, 1, 0x7f, 0x80, 0xff, dice.next() as u8][dice.below(6) as usize];
            image[at] = value;
        }
        std::fs::write(&path, &image).unwrap();
        let start = std::time::Instant::now();
        let ended = std::panic::catch_unwind(|| exercise(&path));
        assert!(ended.is_ok(), "seed {seed} panicked");
        assert!(
            start.elapsed().as_secs() < 10,
            "seed {seed} took {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn a_snapshot_table_from_an_inventory_is_bounded() {
    assert!(snapshot_table(&[0; 100], u32::MAX).is_err());
    assert!(snapshot_table(&[0xff; 4096], 3).is_err());
    assert!(summary(b"QFI\xfb\x00\x00\x00\x03").is_err());
    assert!(summary(&[]).is_err());
}
