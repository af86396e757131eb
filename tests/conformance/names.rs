//! Names that try to leave the storage are refused by every verb, and nothing is made outside.

use super::kit::{Abilities, Notes, SIZE, kind, new_disk, snap};
use volvisor::backend::{Backend, OpenMode};
use volvisor::model::{ByteCount, CloneMode, CloneSpec, ErrorKind, VolumeName};

pub fn names_that_try_to_escape(backend: &dyn Backend, abilities: Abilities) {
    let format = abilities.format;
    // What no volume name can hold stops at the door of the type.
    for text in ["", "100/a\0b.raw", "100/a\nb.raw", &"x".repeat(4096)] {
        assert_eq!(kind(VolumeName::parse(text)), ErrorKind::Usage, "{text:?}");
    }
    let good = super::kit::disk(100, 0, format);
    super::kit::make(backend, &good, abilities);
    let long = "x".repeat(300);
    let names = [
        format!("../vm-100-disk-0.{format}"),
        format!("100/../../vm-100-disk-0.{format}"),
        format!("100/../101/vm-100-disk-0.{format}"),
        format!("../../100/vm-100-disk-0.{format}"),
        format!("/etc/100/vm-100-disk-0.{format}"),
        format!("/100/vm-100-disk-0.{format}"),
        format!("100//vm-100-disk-0.{format}"),
        format!("100/./vm-100-disk-0.{format}"),
        format!("./100/vm-100-disk-0.{format}"),
        format!("1e2/vm-100-disk-0.{format}"),
        format!("-100/vm-100-disk-0.{format}"),
        format!("100/vm-100-disk-0.{format}/"),
        format!("100/vm 100.{format}"),
        format!("100/vm-100\u{7}-disk-0.{format}"),
        format!("100/{long}.{format}"),
        format!("100/vm-100-disk-0@one.{format}"),
        format!("100/vm-100-disk-0.{format}@one"),
        format!("100/base-100-disk-0.raw/../101/vm-101-disk-0.{format}"),
        format!("../base-100-disk-0.raw/101/vm-101-disk-0.{format}"),
        "100".to_owned(),
        "100/".to_owned(),
        "100/..".to_owned(),
        "..".to_owned(),
        "/".to_owned(),
        "100/vm-100-disk-0".to_owned(),
        "100/vm-100-disk-0.exe".to_owned(),
        "iso/debian.iso".to_owned(),
    ];
    let before = backend.inventory().unwrap();
    for text in &names {
        let name = VolumeName::parse(text).unwrap();
        let notes = Notes::new("op");
        let shown = |verb: &str| format!("{verb} of '{text}' was not refused");
        let mut spec = new_disk(&name, abilities);
        spec.size = ByteCount(SIZE);
        assert!(
            backend.create(&spec, &notes).is_err(),
            "{}",
            shown("create")
        );
        assert!(backend.rename(&good, &name).is_err(), "{}", shown("rename"));
        let clone = CloneSpec {
            source: good.clone(),
            snapshot: None,
            target: name.clone(),
            mode: CloneMode::Full,
            format,
        };
        assert!(
            backend.clone_from(&clone, &notes).is_err(),
            "{}",
            shown("clone")
        );
        assert!(
            backend.open(&name, None, OpenMode::ReadWrite).is_err(),
            "{}",
            shown("open")
        );
        assert!(
            backend.resize(&name, ByteCount(2 * SIZE)).is_err(),
            "{}",
            shown("resize")
        );
        assert!(
            backend.protect(&name, true).is_err(),
            "{}",
            shown("protect")
        );
        assert!(
            backend
                .snapshot(std::slice::from_ref(&name), &snap("one"), 1)
                .is_err(),
            "{}",
            shown("snapshot")
        );
        // Absent is fine for these, other things of that name are not there to be harmed.
        let _ = backend.destroy(&name, None);
        let _ = backend.withdraw(&name, &notes);
        assert_eq!(
            backend.inventory().unwrap(),
            before,
            "'{text}' changed something"
        );
    }
}
