//! Volumes come, grow, move and go; each verb twice is the same as once.

use super::kit::{
    Abilities, MIB, Notes, SIZE, disk, info, kind, make, new_disk, read, same, snap, volume, write,
};
use volvisor::backend::{Backend, OpenMode};
use volvisor::model::{ByteCount, ErrorKind, Identity, Outcome};

pub fn created_listed_and_destroyed(backend: &dyn Backend, abilities: Abilities) {
    assert!(backend.inventory().unwrap().volumes.is_empty());
    let format = abilities.format;
    // Not in the order of their names.
    for (vmid, number) in [(101, 0), (100, 1), (100, 0)] {
        make(backend, &disk(vmid, number, format), abilities);
    }
    let inventory = backend.inventory().unwrap();
    let names: Vec<&str> = inventory.volumes.iter().map(|v| v.name.as_str()).collect();
    let expected = [
        disk(100, 0, format),
        disk(100, 1, format),
        disk(101, 0, format),
    ];
    assert_eq!(
        names,
        expected.iter().map(|n| n.as_str()).collect::<Vec<_>>()
    );
    for volume in &inventory.volumes {
        assert_eq!(volume.size, Some(ByteCount(SIZE)));
        assert_eq!(volume.format, format);
        assert_eq!(volume.problem, None);
        assert!(!volume.is_base && !volume.read_only && volume.snapshots.is_empty());
        assert!(volume.used.unwrap().get() < SIZE, "a new volume is sparse");
    }
    assert_eq!(inventory.volumes[2].owner, Some(101));
    let identities: std::collections::BTreeSet<_> =
        inventory.volumes.iter().map(|v| &v.identity).collect();
    assert_eq!(identities.len(), 3, "identities tell volumes apart");
    assert!(read(backend, &expected[0], None).iter().all(|b| *b == 0));
    for name in &expected {
        assert_eq!(backend.destroy(name, None).unwrap(), Outcome::Changed);
    }
    assert!(backend.inventory().unwrap().volumes.is_empty());
    let space = backend.space().unwrap();
    assert!(space.total.get() >= space.used.get());
}

pub fn every_verb_may_be_repeated(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    let notes = Notes::new("op1");
    let spec = new_disk(&name, abilities);
    assert_eq!(backend.create(&spec, &notes).unwrap(), Outcome::Changed);
    write(backend, &name, 1);
    let before = read(backend, &name, None);
    let identity = info(backend, &name).unwrap().identity;
    assert_eq!(backend.create(&spec, &notes).unwrap(), Outcome::AlreadySo);
    assert_eq!(info(backend, &name).unwrap().identity, identity);
    same("a repeated create", &before, &read(backend, &name, None));

    assert_eq!(backend.repair(&name).unwrap(), Outcome::AlreadySo);
    let size = ByteCount(SIZE + MIB);
    assert_eq!(backend.resize(&name, size).unwrap(), Outcome::Changed);
    assert_eq!(backend.resize(&name, size).unwrap(), Outcome::AlreadySo);

    let base = volume(&format!("100/base-100-disk-0.{}", abilities.format));
    assert_eq!(backend.rename(&name, &base).unwrap(), Outcome::Changed);
    assert_eq!(backend.rename(&name, &base).unwrap(), Outcome::AlreadySo);
    assert_eq!(info(backend, &base).unwrap().identity, identity);
    assert_eq!(backend.protect(&base, true).unwrap(), Outcome::Changed);
    assert_eq!(backend.protect(&base, true).unwrap(), Outcome::AlreadySo);
    assert!(info(backend, &base).unwrap().read_only);
    assert!(info(backend, &base).unwrap().is_base);
    assert_eq!(backend.protect(&base, false).unwrap(), Outcome::Changed);
    assert_eq!(backend.protect(&base, false).unwrap(), Outcome::AlreadySo);
    assert!(!info(backend, &base).unwrap().read_only);

    backend.protect(&base, true).unwrap();
    assert_eq!(
        backend.destroy(&base, Some(&identity)).unwrap(),
        Outcome::Changed
    );
    assert_eq!(
        backend.destroy(&base, Some(&identity)).unwrap(),
        Outcome::AlreadySo
    );
}

pub fn another_volume_of_the_same_name_is_refused(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    make(backend, &name, abilities);
    write(backend, &name, 3);
    let before = read(backend, &name, None);
    let refused = backend.create(&new_disk(&name, abilities), &Notes::new("other"));
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("already exists"), "{error}");
    let stranger = Identity("0-0".to_owned());
    assert_eq!(
        kind(backend.destroy(&name, Some(&stranger))),
        ErrorKind::Conflict
    );
    let other = disk(100, 1, abilities.format);
    make(backend, &other, abilities);
    assert_eq!(kind(backend.rename(&other, &name)), ErrorKind::Conflict);
    same("the first volume", &before, &read(backend, &name, None));

    // Destroyed and made again it is another one, although the name is the same.
    let first = info(backend, &name).unwrap().identity;
    backend.destroy(&name, Some(&first)).unwrap();
    make(backend, &name, abilities);
    assert_ne!(info(backend, &name).unwrap().identity, first);
    assert_eq!(
        kind(backend.destroy(&name, Some(&first))),
        ErrorKind::Conflict
    );
    assert!(info(backend, &name).is_some());
}

pub fn what_was_not_made_here_is_not_withdrawn(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    let (ours, other) = (Notes::new("ours"), Notes::new("other"));
    assert_eq!(backend.withdraw(&name, &ours).unwrap(), Outcome::AlreadySo);
    let spec = new_disk(&name, abilities);
    backend.create(&spec, &ours).unwrap();
    assert_eq!(backend.withdraw(&name, &other).unwrap(), Outcome::AlreadySo);
    assert!(info(backend, &name).is_some());
    // An operation that was refused has nothing to take back.
    assert!(backend.create(&spec, &other).is_err());
    assert_eq!(backend.withdraw(&name, &other).unwrap(), Outcome::AlreadySo);
    assert!(info(backend, &name).is_some());
    assert_eq!(backend.withdraw(&name, &ours).unwrap(), Outcome::Changed);
    assert_eq!(backend.withdraw(&name, &ours).unwrap(), Outcome::AlreadySo);
    assert!(info(backend, &name).is_none());
    // Ours was replaced by somebody else's meanwhile.
    backend.create(&spec, &ours).unwrap();
    backend.destroy(&name, None).unwrap();
    make(backend, &name, abilities);
    backend.withdraw(&name, &ours).unwrap();
    assert!(info(backend, &name).is_some());
}

pub fn disks_grow_and_never_shrink(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    make(backend, &name, abilities);
    write(backend, &name, 5);
    let mut expected = read(backend, &name, None);
    let refused = backend.resize(&name, ByteCount(MIB)).unwrap_err();
    assert_eq!(refused.message(), "shrinking disks is not supported");
    same(
        "after a refused shrink",
        &expected,
        &read(backend, &name, None),
    );
    let larger = SIZE + 5 * MIB + 512;
    backend.resize(&name, ByteCount(larger)).unwrap();
    expected.resize(larger as usize, 0);
    same("after growing", &expected, &read(backend, &name, None));
    assert_eq!(info(backend, &name).unwrap().size, Some(ByteCount(larger)));
    write(backend, &name, 6);
    for wrong in [larger + 1, u64::MAX, u64::MAX - 511] {
        assert!(backend.resize(&name, ByteCount(wrong)).is_err());
    }
    assert_eq!(info(backend, &name).unwrap().size, Some(ByteCount(larger)));
}

pub fn renamed_with_everything(backend: &dyn Backend, abilities: Abilities) {
    let (old, new) = (
        disk(100, 0, abilities.format),
        disk(2000, 7, abilities.format),
    );
    make(backend, &old, abilities);
    write(backend, &old, 1);
    let kept = [snap("first"), snap("second")];
    let mut contents = Vec::new();
    if abilities.snapshots {
        for (round, name) in kept.iter().enumerate() {
            backend
                .snapshot(std::slice::from_ref(&old), name, 1_000 + round as u64)
                .unwrap();
            contents.push(read(backend, &old, None));
            write(backend, &old, 20 + round as u8);
        }
    }
    let live = read(backend, &old, None);
    assert_eq!(backend.rename(&old, &new).unwrap(), Outcome::Changed);
    assert!(info(backend, &old).is_none());
    same("renamed", &live, &read(backend, &new, None));
    for (name, content) in kept.iter().zip(&contents) {
        same("its snapshot", content, &read(backend, &new, Some(name)));
    }
    let wrong = disk(
        100,
        0,
        match abilities.format {
            volvisor::model::ImageFormat::Raw => volvisor::model::ImageFormat::Qcow2,
            _ => volvisor::model::ImageFormat::Raw,
        },
    );
    assert_eq!(kind(backend.rename(&new, &wrong)), ErrorKind::Usage);
    assert!(info(backend, &new).is_some());
}

pub fn the_missing_are_not_found(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    let missing = |kind_of: ErrorKind| assert_eq!(kind_of, ErrorKind::NotFound);
    missing(kind(backend.resize(&name, ByteCount(SIZE))));
    missing(kind(backend.open(&name, None, OpenMode::ReadOnly)));
    missing(kind(backend.protect(&name, true)));
    missing(kind(backend.rename(&name, &disk(100, 1, abilities.format))));
    missing(kind(backend.repair(&name)));
    if abilities.snapshots {
        let one = snap("one");
        missing(kind(backend.snapshot(std::slice::from_ref(&name), &one, 1)));
        missing(kind(backend.rollback(&name, &one, &Notes::new("op"))));
        assert_eq!(
            backend
                .destroy_snapshots(&[(name.clone(), one.clone())])
                .unwrap(),
            Outcome::AlreadySo
        );
        make(backend, &name, abilities);
        missing(kind(backend.rollback(&name, &one, &Notes::new("op"))));
        missing(kind(backend.open(&name, Some(&one), OpenMode::ReadOnly)));
        assert_eq!(
            backend.destroy_snapshots(&[(name, one)]).unwrap(),
            Outcome::AlreadySo
        );
    }
}
