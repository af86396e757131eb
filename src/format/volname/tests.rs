//! Stories about volume names: what is refused because it would be dangerous, and names that are printed and read back.

use super::*;
use crate::model::VmId;
use proptest::prelude::*;

fn refused(kind: StorageKind, name: &str) -> bool {
    parse(kind, name).is_err()
}

#[test]
fn a_name_never_reaches_a_snapshot_or_another_place() {
    use StorageKind as K;
    for kind in [K::ZfsPool, K::Zfs, K::Rbd] {
        for name in [
            "vm-100-disk-0@s1",
            "base-100-disk-0@__base__/vm-101-disk-0",
            "vm-100-a/.",
            "vm-100-a/../b",
            "vm-100-a//b",
            "vm-100-disk-0\n",
            "vm-100-disk-0\0",
            "vm-100-disk 0",
        ] {
            assert!(refused(kind, name), "{kind} {name:?}");
        }
    }
    for kind in [K::Dir, K::Nfs, K::Cifs, K::Cephfs, K::Btrfs] {
        for name in [
            "snippets/..",
            "snippets/.",
            "100/../vm-100-disk-0.raw",
            "100/vm-100-disk-0.raw\n",
            "iso/a\n.iso",
            "iso/.iso",
            "100/.raw",
            "٣٣٣/vm-100-disk-0.raw",
        ] {
            assert!(refused(kind, name), "{kind} {name:?}");
        }
    }
    assert!(refused(K::Btrfs, "100/vm-100-disk-0@s1.raw"));
    assert!(refused(K::Pbs, "backup/../100/2020-01-01T00:00:00Z"));
    assert!(refused(K::Esxi, "dc/../x"));
}

#[test]
fn the_owner_of_a_file_is_its_directory() {
    let parts = parse(StorageKind::Dir, "100/vm-200-disk-0.raw").unwrap();
    assert_eq!(parts.vmid, Some(100));
    assert_eq!(parts.image_format(), Some(crate::model::ImageFormat::Raw));
}

#[test]
fn a_number_too_large_is_refused_and_not_wrapped() {
    assert!(refused(
        StorageKind::Dir,
        "99999999999999999999999/vm-1-disk-0.raw"
    ));
    assert!(refused(
        StorageKind::ZfsPool,
        "vm-99999999999999999999999-disk-0"
    ));
}

#[test]
fn the_next_name_is_the_lowest_free_one() {
    let vmid = VmId::new(100).unwrap();
    let next =
        |kind, format, taken: &[&str]| next_free(kind, vmid, format, taken).unwrap().to_string();
    let (raw, qcow2) = (
        crate::model::ImageFormat::Raw,
        crate::model::ImageFormat::Qcow2,
    );
    assert_eq!(next(StorageKind::Dir, raw, &[]), "100/vm-100-disk-0.raw");
    assert_eq!(
        next(
            StorageKind::Dir,
            qcow2,
            &["100/vm-100-disk-0.raw", "100/base-100-disk-1.raw"]
        ),
        "100/vm-100-disk-2.qcow2"
    );
    assert_eq!(
        next(StorageKind::Nfs, qcow2, &["100/vm-100-disk-0.raw"]),
        "100/vm-100-disk-0.qcow2"
    );
    assert_eq!(
        next(
            StorageKind::ZfsPool,
            raw,
            &["vm-100-disk-1", "vm-1000-disk-0"]
        ),
        "vm-100-disk-0"
    );
}

#[test]
fn a_given_name_must_fit_owner_format_and_kind() {
    let vmid = VmId::new(100).unwrap();
    let ok = |kind, leaf, format| named(kind, vmid, leaf, format).map(String::from).ok();
    let (raw, qcow2) = (
        crate::model::ImageFormat::Raw,
        crate::model::ImageFormat::Qcow2,
    );
    assert_eq!(
        ok(StorageKind::Dir, "vm-100-disk-7", raw).as_deref(),
        Some("100/vm-100-disk-7.raw")
    );
    assert_eq!(
        ok(StorageKind::Dir, "vm-100-disk-7.qcow2", qcow2).as_deref(),
        Some("100/vm-100-disk-7.qcow2")
    );
    assert_eq!(ok(StorageKind::Dir, "vm-100-disk-7.raw", qcow2), None);
    assert_eq!(ok(StorageKind::Dir, "../x.raw", raw), None);
    assert_eq!(ok(StorageKind::Dir, "a/101/b.raw", raw), None);
    assert_eq!(
        ok(StorageKind::Dir, "snap-s1-vm-100-disk-0.qcow2", qcow2),
        None
    );
    assert_eq!(ok(StorageKind::ZfsPool, "vm-101-disk-0", raw), None);
    assert_eq!(ok(StorageKind::ZfsPool, "vm-100-disk-0@s", raw), None);
    assert_eq!(ok(StorageKind::Lvm, "vm-100-disk-0.qcow2", raw), None);
    assert_eq!(ok(StorageKind::Lvm, "vm-100-disk-0", qcow2), None);
}

#[test]
fn long_names_are_read_in_one_pass() {
    for text in [
        "1/".repeat(1 << 19),
        "vm-1-a/".repeat(1 << 17),
        "/".repeat(1 << 20),
    ] {
        for kind in StorageKind::ALL {
            assert!(refused(*kind, &text));
        }
        let _ = file_names::parse(&text);
        let _ = zfs(&text);
        let _ = rbd(&text);
    }
}

proptest! {
    #[test]
    fn reading_any_text_never_panics(text in ".*") {
        for kind in StorageKind::ALL {
            let _ = parse(*kind, &text);
        }
    }

    #[test]
    fn names_made_here_are_read_back(vmid in 100u32..1_000_000_000, number in 0u32..1024, kind in proptest::sample::select(StorageKind::ALL), format in proptest::sample::select(crate::model::ImageFormat::ALL)) {
        let vmid = VmId::new(vmid).unwrap();
        if let Ok(name) = named(kind, vmid, &format!("vm-{vmid}-disk-{number}"), format) {
            let parts = parse(kind, name.as_str()).unwrap();
            prop_assert_eq!(parts.vmid, Some(u64::from(vmid.get())));
            prop_assert!(name.as_str().ends_with(&parts.name));
            prop_assert_eq!(parts.content, ContentType::Images);
        }
    }
}
