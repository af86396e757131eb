//! Bytes stay what they were written, in volumes and in clones of them.

use super::kit::{Abilities, Notes, SIZE, disk, info, kind, make, read, same, volume, write};
use volvisor::backend::{Backend, OpenMode};
use volvisor::model::{
    ByteCount, ByteOffset, CloneMode, CloneSpec, ErrorKind, Extent, ImageFormat, Outcome,
};

pub fn bytes_stay(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    make(backend, &name, abilities);
    let mut expected = vec![0u8; SIZE as usize];
    let device = backend.open(&name, None, OpenMode::ReadWrite).unwrap();
    for (at, length, value) in [(0, 512, 1), (70_000, 100_000, 2), (1_000_000, 4096, 3)] {
        expected[at..at + length].fill(value);
        device.write_at(at as u64, &vec![value; length]).unwrap();
    }
    expected[80_000..90_000].fill(0);
    let extent = Extent::new(ByteOffset(80_000), ByteCount(10_000)).unwrap();
    device.write_zeroes(extent, true).unwrap();
    for (offset, length) in [(SIZE, 1), (SIZE - 1, 2), (u64::MAX, 512)] {
        let mut buffer = vec![0; length];
        assert_eq!(kind(device.read_at(offset, &mut buffer)), ErrorKind::Usage);
        assert_eq!(kind(device.write_at(offset, &buffer)), ErrorKind::Usage);
    }
    device.flush().unwrap();
    same("while open", &expected, &super::kit::bytes_of(&device));
    drop(device);
    same("opened again", &expected, &read(backend, &name, None));
    let used = info(backend, &name).unwrap().used.unwrap();
    assert!(used.get() > 0);
}

fn full(
    source: &volvisor::model::VolumeName,
    target: &volvisor::model::VolumeName,
    format: ImageFormat,
) -> CloneSpec {
    CloneSpec {
        source: source.clone(),
        snapshot: None,
        target: target.clone(),
        mode: CloneMode::Full,
        format,
    }
}

pub fn full_clones_are_independent(backend: &dyn Backend, abilities: Abilities) {
    let source = disk(100, 0, abilities.format);
    make(backend, &source, abilities);
    write(backend, &source, 11);
    let before = read(backend, &source, None);
    for (number, format) in [(0, ImageFormat::Raw), (1, ImageFormat::Qcow2)] {
        let target = disk(101, number, format);
        let notes = Notes::new("clone");
        let spec = full(&source, &target, format);
        assert_eq!(backend.clone_from(&spec, &notes).unwrap(), Outcome::Changed);
        assert_eq!(
            backend.clone_from(&spec, &notes).unwrap(),
            Outcome::AlreadySo
        );
        assert_eq!(
            kind(backend.clone_from(&spec, &Notes::new("other"))),
            ErrorKind::Conflict
        );
        same("the clone", &before, &read(backend, &target, None));
        assert_eq!(info(backend, &target).unwrap().parent, None);
        write(backend, &target, 12);
        same("the source", &before, &read(backend, &source, None));
        assert_eq!(backend.withdraw(&target, &notes).unwrap(), Outcome::Changed);
        assert!(info(backend, &target).is_none());
        backend.clone_from(&spec, &Notes::new("again")).unwrap();
    }
    backend.destroy(&source, None).unwrap();
    same(
        "without its source",
        &before,
        &read(backend, &disk(101, 0, ImageFormat::Raw), None),
    );
    same(
        "without its source",
        &before,
        &read(backend, &disk(101, 1, ImageFormat::Qcow2), None),
    );
}

pub fn linked_clones_follow_their_base(backend: &dyn Backend, abilities: Abilities) {
    let plain = disk(100, 0, abilities.format);
    let base = volume(&format!("100/base-100-disk-0.{}", abilities.format));
    make(backend, &plain, abilities);
    write(backend, &plain, 21);
    let before = read(backend, &plain, None);
    let clone = volume(&format!("{base}/101/vm-101-disk-0.qcow2"));
    let linked =
        |source: &volvisor::model::VolumeName, target: &volvisor::model::VolumeName| CloneSpec {
            mode: CloneMode::Linked,
            ..full(source, target, ImageFormat::Qcow2)
        };
    let not_a_base = volume(&format!("{plain}/101/vm-101-disk-0.qcow2"));
    assert_eq!(
        kind(backend.clone_from(&linked(&plain, &not_a_base), &Notes::new("x"))),
        ErrorKind::Unsupported
    );
    backend.rename(&plain, &base).unwrap();
    backend.protect(&base, true).unwrap();
    // The target's name must say whose clone it is.
    let unnamed = disk(101, 0, ImageFormat::Qcow2);
    assert_eq!(
        kind(backend.clone_from(&linked(&base, &unnamed), &Notes::new("x"))),
        ErrorKind::Usage
    );
    let notes = Notes::new("link");
    assert_eq!(
        backend.clone_from(&linked(&base, &clone), &notes).unwrap(),
        Outcome::Changed
    );
    assert_eq!(
        backend.clone_from(&linked(&base, &clone), &notes).unwrap(),
        Outcome::AlreadySo
    );
    let seen = info(backend, &clone).expect("listed under its full name");
    assert_eq!(seen.parent, Some(format!("../{base}")));
    assert_eq!(seen.owner, Some(101));
    same("the clone", &before, &read(backend, &clone, None));
    write(backend, &clone, 22);
    let changed = read(backend, &clone, None);
    same("the base", &before, &read(backend, &base, None));

    let refused = backend.destroy(&base, None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(
        refused.message(),
        format!("base volume '{base}' is still in use by linked clones")
    );
    assert_eq!(kind(backend.rename(&base, &plain)), ErrorKind::Conflict);
    assert_eq!(kind(backend.protect(&base, false)), ErrorKind::Conflict);

    // A clone of a template that is itself a linked clone.
    let second_base = volume(&format!("{base}/101/base-101-disk-0.qcow2"));
    backend.rename(&clone, &second_base).unwrap();
    backend.protect(&second_base, true).unwrap();
    let second = volume("101/base-101-disk-0.qcow2/102/vm-102-disk-0.qcow2");
    backend
        .clone_from(&linked(&second_base, &second), &Notes::new("second"))
        .unwrap();
    same("two levels down", &changed, &read(backend, &second, None));
    write(backend, &second, 23);
    same(
        "the level above",
        &changed,
        &read(backend, &second_base, None),
    );

    for name in [&second, &second_base, &base] {
        assert_eq!(backend.destroy(name, None).unwrap(), Outcome::Changed);
    }
    assert!(backend.inventory().unwrap().volumes.is_empty());
}
