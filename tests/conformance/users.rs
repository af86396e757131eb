//! Who may use a volume at the same time: one writer alone, or readers together.

use super::kit::{Abilities, disk, info, kind, make, read, same, write};
use volvisor::backend::{Backend, OpenMode};
use volvisor::model::{ByteCount, ByteOffset, ErrorKind, Extent};

pub fn reading_never_writes(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    make(backend, &name, abilities);
    write(backend, &name, 9);
    let before = read(backend, &name, None);
    let device = backend.open(&name, None, OpenMode::ReadOnly).unwrap();
    assert!(device.geometry().read_only);
    assert!(device.write_at(0, &[1; 512]).is_err());
    let extent = Extent::new(ByteOffset(0), ByteCount(4096)).unwrap();
    assert!(device.write_zeroes(extent, true).is_err());
    assert!(device.discard(extent).is_err());
    assert!(device.resize(ByteCount(1 << 30)).is_err());
    let second = backend.open(&name, None, OpenMode::ReadOnly);
    assert!(second.is_ok(), "readers do not exclude each other");
    drop((device, second));
    same("after refused writes", &before, &read(backend, &name, None));

    backend.protect(&name, true).unwrap();
    assert_eq!(
        kind(backend.open(&name, None, OpenMode::ReadWrite)),
        ErrorKind::Unsupported
    );
    assert!(backend.resize(&name, ByteCount(1 << 30)).is_err());
    backend.protect(&name, false).unwrap();
}

pub fn one_writer(backend: &dyn Backend, abilities: Abilities) {
    let name = disk(100, 0, abilities.format);
    make(backend, &name, abilities);
    let writer = backend.open(&name, None, OpenMode::ReadWrite).unwrap();
    assert_eq!(
        kind(backend.open(&name, None, OpenMode::ReadWrite)),
        ErrorKind::Busy
    );
    assert_eq!(kind(backend.destroy(&name, None)), ErrorKind::Busy);
    assert_eq!(
        kind(backend.rename(&name, &disk(100, 1, abilities.format))),
        ErrorKind::Busy
    );
    assert_eq!(
        kind(backend.resize(&name, ByteCount(1 << 30))),
        ErrorKind::Busy
    );
    if abilities.snapshots {
        let names = std::slice::from_ref(&name);
        assert_eq!(
            kind(backend.snapshot(names, &super::kit::snap("one"), 1)),
            ErrorKind::Busy
        );
    }
    writer.write_at(512, &[7; 512]).unwrap();
    writer.flush().unwrap();
    drop(writer);
    assert_eq!(read(backend, &name, None)[512..1024], [7; 512]);
    assert!(info(backend, &name).is_some());
    assert!(backend.open(&name, None, OpenMode::ReadWrite).is_ok());
}
