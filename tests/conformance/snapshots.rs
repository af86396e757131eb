//! Snapshots hold what was, whatever happens to the volume and to the other snapshots.

use super::kit::{
    Abilities, MIB, Notes, SIZE, disk, info, kind, make, read, said, same, snap, volume, write,
};
use volvisor::backend::{Backend, OpenMode};
use volvisor::model::{
    ByteCount, CloneMode, CloneSpec, ErrorKind, ImageFormat, Outcome, SnapshotName, VolumeName,
};

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

struct Story {
    name: VolumeName,
    names: Vec<SnapshotName>,
    contents: Vec<Vec<u8>>,
    live: Vec<u8>,
}

/// Three snapshots, different bytes between them.
fn three(backend: &dyn Backend, abilities: Abilities) -> Story {
    let name = disk(100, 0, abilities.format);
    make(backend, &name, abilities);
    let names = vec![snap("one"), snap("two"), snap("three")];
    let mut contents = Vec::new();
    for (round, snapshot) in names.iter().enumerate() {
        write(backend, &name, 30 + round as u8);
        contents.push(read(backend, &name, None));
        let done = backend.snapshot(
            std::slice::from_ref(&name),
            snapshot,
            1_700_000_000 + round as u64,
        );
        assert_eq!(done.unwrap(), Outcome::Changed);
    }
    write(backend, &name, 60);
    let live = read(backend, &name, None);
    Story {
        name,
        names,
        contents,
        live,
    }
}

impl Story {
    fn holds(&self, backend: &dyn Backend, which: &[usize], what: &str) {
        let seen = info(backend, &self.name).unwrap();
        let listed: Vec<&str> = seen.snapshots.iter().map(|s| s.name.as_str()).collect();
        let expected: Vec<&str> = which.iter().map(|i| self.names[*i].as_str()).collect();
        assert_eq!(listed, expected, "{what}");
        for i in which {
            let got = read(backend, &self.name, Some(&self.names[*i]));
            same(&format!("{what}: snapshot {i}"), &self.contents[*i], &got);
        }
        same(
            &format!("{what}: live"),
            &self.live,
            &read(backend, &self.name, None),
        );
    }
}

pub fn group_is_taken_and_deleted(backend: &dyn Backend, abilities: Abilities) {
    let names = [
        disk(100, 0, abilities.format),
        disk(100, 1, abilities.format),
    ];
    for name in &names {
        make(backend, name, abilities);
    }
    let one = snap("one");
    // A group with a member that is missing is refused before the first is taken.
    let absent = [names[0].clone(), disk(100, 9, abilities.format)];
    assert_eq!(
        kind(backend.snapshot(&absent, &one, 5)),
        ErrorKind::NotFound
    );
    assert!(info(backend, &names[0]).unwrap().snapshots.is_empty());
    // One has it already: the other is done.
    backend.snapshot(&names[..1], &one, 1_234_567_890).unwrap();
    assert_eq!(
        backend.snapshot(&names, &one, 1_234_567_890).unwrap(),
        Outcome::Changed
    );
    assert_eq!(
        backend.snapshot(&names, &one, 1_234_567_890).unwrap(),
        Outcome::AlreadySo
    );
    for name in &names {
        let seen = info(backend, name).unwrap();
        assert_eq!(seen.snapshots.len(), 1);
        assert!(seen.has_snapshot(&one));
        assert_eq!(seen.snapshots[0].created, 1_234_567_890);
        let method = backend.facts().snapshot_method(abilities.format);
        assert_eq!(Some(seen.snapshots[0].method), method);
        let refused = backend.open(name, Some(&one), OpenMode::ReadWrite);
        assert!(refused.is_err(), "snapshots are read-only");
    }
    let what: Vec<_> = names.iter().map(|n| (n.clone(), one.clone())).collect();
    assert_eq!(backend.destroy_snapshots(&what).unwrap(), Outcome::Changed);
    assert_eq!(
        backend.destroy_snapshots(&what).unwrap(),
        Outcome::AlreadySo
    );
    assert!(info(backend, &names[0]).unwrap().snapshots.is_empty());
    // A volume goes with its snapshots, and they do not come back with the name.
    backend.snapshot(&names, &one, 5).unwrap();
    backend.destroy(&names[0], None).unwrap();
    make(backend, &names[0], abilities);
    assert!(info(backend, &names[0]).unwrap().snapshots.is_empty());
}

pub fn deleted_in_every_order(make: &impl Fn() -> super::kit::Checked, abilities: Abilities) {
    for order in ORDERS {
        let backend = &make();
        let story = three(backend, abilities);
        let mut left = vec![0, 1, 2];
        story.holds(backend, &left, "before");
        for gone in order {
            let what = [(story.name.clone(), story.names[gone].clone())];
            assert_eq!(backend.destroy_snapshots(&what).unwrap(), Outcome::Changed);
            left.retain(|i| *i != gone);
            story.holds(backend, &left, &format!("deleting {order:?}, {gone} gone"));
        }
    }
}

pub fn rolled_back_in_every_order(make: &impl Fn() -> super::kit::Checked, abilities: Abilities) {
    for order in ORDERS {
        let backend = &make();
        let mut story = three(backend, abilities);
        for to in order {
            let done = backend.rollback(&story.name, &story.names[to], &Notes::new("back"));
            assert_eq!(done.unwrap(), Outcome::Changed);
            story.live = story.contents[to].clone();
            let what = format!("rolling back {order:?}, at {to}");
            story.holds(backend, &[0, 1, 2], &what);
            // Again gives the same bytes.
            backend
                .rollback(&story.name, &story.names[to], &Notes::new("back"))
                .unwrap();
            story.holds(backend, &[0, 1, 2], &format!("{what} again"));
            write(backend, &story.name, 40 + to as u8);
            story.live = read(backend, &story.name, None);
            story.holds(backend, &[0, 1, 2], &format!("{what}, then written"));
        }
    }
}

pub fn sizes_come_back(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    make(backend, &name, abilities);
    write(backend, &name, 1);
    let small = read(backend, &name, None);
    let one = snap("one");
    backend
        .snapshot(std::slice::from_ref(&name), &one, 7)
        .unwrap();
    backend.resize(&name, ByteCount(SIZE + 2 * MIB)).unwrap();
    write(backend, &name, 2);
    let large = read(backend, &name, None);
    let two = snap("two");
    backend
        .snapshot(std::slice::from_ref(&name), &two, 8)
        .unwrap();
    same(
        "the small snapshot",
        &small,
        &read(backend, &name, Some(&one)),
    );
    backend.rollback(&name, &one, &Notes::new("a")).unwrap();
    same("small again", &small, &read(backend, &name, None));
    assert_eq!(info(backend, &name).unwrap().size, Some(ByteCount(SIZE)));
    backend.rollback(&name, &two, &Notes::new("b")).unwrap();
    same("large again", &large, &read(backend, &name, None));
}

pub fn clones_of_a_snapshot(backend: &dyn Backend, abilities: Abilities) {
    let story = three(backend, abilities);
    for (number, format) in [(0, ImageFormat::Raw), (1, ImageFormat::Qcow2)] {
        let spec = CloneSpec {
            source: story.name.clone(),
            snapshot: Some(story.names[1].clone()),
            target: disk(101, number, format),
            mode: CloneMode::Full,
            format,
        };
        backend.clone_from(&spec, &Notes::new("clone")).unwrap();
        same(
            "a clone of a snapshot",
            &story.contents[1],
            &read(backend, &spec.target, None),
        );
        write(backend, &spec.target, 99);
    }
    story.holds(backend, &[0, 1, 2], "after cloning");
    let absent = CloneSpec {
        source: story.name.clone(),
        snapshot: Some(snap("nowhere")),
        target: volume(&format!("101/vm-101-disk-5.{}", abilities.format)),
        mode: CloneMode::Full,
        format: abilities.format,
    };
    let refused = backend.clone_from(&absent, &Notes::new("x"));
    assert_eq!(kind(refused), ErrorKind::NotFound);
    assert!(info(backend, &absent.target).is_none());
}

pub fn taken_by_the_holder(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    make(backend, &name, abilities);
    write(backend, &name, 1);
    let device = backend.open(&name, None, OpenMode::ReadWrite).unwrap();
    let live = device
        .live_snapshots()
        .expect("a writable volume that can be snapshotted");
    let before = super::kit::bytes_of(&device);
    live.create(&snap("one"), 1_600_000_000).unwrap();
    assert_eq!(kind(live.create(&snap("one"), 1)), ErrorKind::Conflict);
    device.write_at(0, &[0x55; 8192]).unwrap();
    live.create(&snap("two"), 1_600_000_001).unwrap();
    assert_eq!(live.names().unwrap(), ["one", "two"]);
    assert!(live.delete(&snap("two")).unwrap());
    assert!(!live.delete(&snap("two")).unwrap());
    device.flush().unwrap();
    drop(device);
    same(
        "taken while open",
        &before,
        &read(backend, &name, Some(&snap("one"))),
    );
    assert_eq!(read(backend, &name, None)[..8192], [0x55; 8192]);
    let seen = info(backend, &name).unwrap();
    assert_eq!(seen.snapshots.len(), 1);
    assert_eq!(seen.snapshots[0].created, 1_600_000_000);
    assert_eq!(backend.repair(&name).unwrap(), Outcome::AlreadySo);
}

/// A backend that cannot says so for the whole group, with the reason.
pub fn refused_before_any_change(backend: &dyn Backend, abilities: Abilities) {
    let other = disk(100, 1, ImageFormat::Qcow2);
    let name = disk(100, 0, abilities.format);
    make(backend, &name, abilities);
    let qcow2 = Abilities {
        format: ImageFormat::Qcow2,
        snapshots: true,
    };
    make(backend, &other, qcow2);
    assert_eq!(backend.facts().snapshot_method(abilities.format), None);
    let group = [other.clone(), name];
    let refused = backend.snapshot(&group, &snap("one"), 1);
    let text = said(refused);
    assert!(text.contains("does not share blocks"), "{text}");
    assert!(info(backend, &other).unwrap().snapshots.is_empty());
}
