//! A directory storage in hostile surroundings: wrong bytes, wrong kinds of files, no room, no directory, no right to write.

use crate::conformance::kit::{
    Abilities, Ground, MIB, Notes, SIZE, dir_backend, disk, info, kind, make, new_disk, read, same,
    section, small_memory, snap, volume, write,
};
use crate::support::{qemu, skip};
use std::path::Path;
use std::process::Command;
use volvisor::backend::OpenMode;
use volvisor::model::{ByteCount, CloneMode, CloneSpec, ErrorKind, ImageFormat, Preallocation};

const QCOW2: Abilities = Abilities {
    format: ImageFormat::Qcow2,
    snapshots: true,
};
const RAW: Abilities = Abilities {
    format: ImageFormat::Raw,
    snapshots: false,
};

fn qemu_img(arguments: &[&str]) -> bool {
    match qemu("qemu-img", arguments) {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "qemu-img {arguments:?}: {said}");
            true
        }
        Err(error) => {
            skip(&format!("qemu-img: {error}"));
            false
        }
    }
}

fn hidden_files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for owner in std::fs::read_dir(root.join("images")).into_iter().flatten() {
        for file in std::fs::read_dir(owner.unwrap().path())
            .into_iter()
            .flatten()
        {
            let name = file.unwrap().file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn a_raw_disk_into_which_the_guest_wrote_a_qcow2_header_stays_raw() {
    let ground = Ground::new("hostile-raw");
    let root = ground.fresh();
    let backend = dir_backend(&root);
    let name = disk(100, 0, ImageFormat::Raw);
    make(backend.as_ref(), &name, RAW);
    let evil = root.join("evil.qcow2");
    if !qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-b",
        "/etc/shadow",
        "-F",
        "raw",
        &evil.display().to_string(),
        "1G",
    ]) {
        return;
    }
    let mut header = std::fs::read(&evil).unwrap();
    header.resize(65_536, 0);
    let device = backend.open(&name, None, OpenMode::ReadWrite).unwrap();
    device.write_at(0, &header).unwrap();
    device.flush().unwrap();
    drop(device);
    let seen = info(backend.as_ref(), &name).unwrap();
    assert_eq!(
        (seen.format, seen.size, seen.parent),
        (ImageFormat::Raw, Some(ByteCount(SIZE)), None)
    );
    same(
        "raw bytes",
        &header,
        &read(backend.as_ref(), &name, None)[..65_536],
    );
}

#[test]
fn backing_files_the_name_does_not_allow_are_never_opened() {
    let ground = Ground::new("hostile-backing");
    let root = ground.fresh();
    let backend = dir_backend(&root);
    make(backend.as_ref(), &disk(100, 0, ImageFormat::Raw), RAW);
    make(backend.as_ref(), &volume("100/base-100-disk-0.raw"), RAW);
    std::fs::create_dir_all(root.join("images/101")).unwrap();
    std::fs::write(root.join("secret.raw"), vec![1; 4096]).unwrap();
    let victim = volume("101/vm-101-disk-0.qcow2");
    let path = root
        .join("images/101/vm-101-disk-0.qcow2")
        .display()
        .to_string();
    for (backing, format) in [
        ("/etc/shadow", "raw"),
        ("../100/vm-100-disk-0.raw", "raw"),
        ("../100/base-100-disk-0.raw", "raw"),
        ("../../secret.raw", "raw"),
        ("../100/../../secret.raw", "raw"),
        (
            "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}",
            "raw",
        ),
        ("nbd:127.0.0.1:10809", "raw"),
        ("https://example.org/x.raw", "raw"),
        ("vm-101-disk-0.qcow2", "qcow2"),
        ("vm-101-disk-9.qcow2", "qcow2"),
    ] {
        if !qemu_img(&[
            "create", "-q", "-f", "qcow2", "-u", "-b", backing, "-F", format, &path, "1M",
        ]) {
            return;
        }
        let error = backend.open(&victim, None, OpenMode::ReadWrite).err();
        let error = error.unwrap_or_else(|| panic!("'{backing}' was opened"));
        assert!(
            error.full_text().contains("vm-101-disk-0.qcow2"),
            "{}",
            error.full_text()
        );
        assert_eq!(backend.inventory().unwrap().volumes.len(), 3, "{backing}");
    }
    // Each the backing file of the other.
    for (own, other) in [("a", "b"), ("b", "a")] {
        let path = root
            .join(format!("images/101/{own}.qcow2"))
            .display()
            .to_string();
        qemu_img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-u",
            "-b",
            &format!("{other}.qcow2"),
            "-F",
            "qcow2",
            &path,
            "1M",
        ]);
    }
    let looped = backend.open(&volume("101/a.qcow2"), None, OpenMode::ReadOnly);
    assert!(
        looped
            .err()
            .unwrap()
            .full_text()
            .contains("leads back to itself")
    );
}

#[test]
fn wrong_files_are_listed_with_their_problem_and_lead_nowhere() {
    let ground = Ground::new("hostile-files");
    let root = ground.fresh();
    let backend = dir_backend(&root);
    let dir = root.join("images/100");
    std::fs::create_dir_all(dir.join("vm-100-disk-1.raw")).unwrap();
    std::fs::create_dir_all(root.join("elsewhere")).unwrap();
    let secret = root.join("elsewhere/vm-200-disk-0.raw");
    std::fs::write(&secret, vec![9; 4096]).unwrap();
    std::fs::write(dir.join("vm-100-disk-0.qcow2"), b"QFI\xfb garbage").unwrap();
    std::fs::write(dir.join("vm-100-disk-4.qcow2"), b"").unwrap();
    std::os::unix::fs::symlink(&secret, dir.join("vm-100-disk-2.raw")).unwrap();
    std::os::unix::fs::symlink(root.join("elsewhere"), root.join("images/200")).unwrap();
    let fifo = dir.join("vm-100-disk-3.raw");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let inventory = backend.inventory().unwrap();
    assert_eq!(inventory.volumes.len(), 5);
    for seen in &inventory.volumes {
        assert!(seen.problem.is_some() && seen.size.is_none(), "{seen:?}");
        for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
            assert!(
                backend.open(&seen.name, None, mode).is_err(),
                "{}",
                seen.name
            );
        }
        assert!(backend.resize(&seen.name, ByteCount(1 << 20)).is_err());
    }
    assert!(
        backend
            .open(&volume("200/vm-200-disk-0.raw"), None, OpenMode::ReadOnly)
            .is_err()
    );
    assert!(
        backend
            .create(
                &new_disk(&disk(200, 1, ImageFormat::Raw), RAW),
                &Notes::new("x")
            )
            .is_err()
    );
    // The link may be removed; what it leads to stays.
    backend
        .destroy(&volume("100/vm-100-disk-2.raw"), None)
        .unwrap();
    assert!(!dir.join("vm-100-disk-2.raw").exists());
    assert_eq!(std::fs::read(&secret).unwrap(), vec![9; 4096]);
}

#[test]
fn a_thousand_images_are_listed_without_a_program() {
    let ground = Ground::new("hostile-many");
    let root = ground.fresh();
    let backend = dir_backend(&root);
    make(backend.as_ref(), &disk(100, 0, ImageFormat::Qcow2), QCOW2);
    let image = root.join("images/100/vm-100-disk-0.qcow2");
    for number in 1..1000 {
        let owner = 100 + number / 10;
        let dir = root.join(format!("images/{owner}"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::copy(&image, dir.join(format!("vm-{owner}-disk-{number}.qcow2"))).unwrap();
    }
    let mut best = std::time::Duration::MAX;
    for _ in 0..5 {
        let begun = std::time::Instant::now();
        let inventory = backend.inventory().unwrap();
        best = best.min(begun.elapsed());
        assert_eq!(inventory.volumes.len(), 1000);
        assert!(inventory.volumes.iter().all(|v| v.problem.is_none()));
    }
    println!("1,000 qcow2 images listed in {best:?} (unoptimised build)");
    assert!(best.as_millis() < 500, "{best:?}");
}

#[test]
fn a_storage_that_is_not_there_is_offline() {
    let ground = Ground::new("hostile-gone");
    let root = ground.fresh();
    let backend = dir_backend(&root);
    let name = disk(100, 0, ImageFormat::Qcow2);
    assert!(backend.inventory().unwrap().volumes.is_empty());
    make(backend.as_ref(), &name, QCOW2);
    let aside = root.with_extension("aside");
    std::fs::rename(&root, &aside).unwrap();
    assert_eq!(kind(backend.inventory()), ErrorKind::Offline);
    assert_eq!(kind(backend.space()), ErrorKind::Offline);
    assert_eq!(kind(backend.destroy(&name, None)), ErrorKind::Offline);
    assert_eq!(
        kind(backend.snapshot(std::slice::from_ref(&name), &snap("one"), 1)),
        ErrorKind::Offline
    );
    assert_eq!(
        kind(backend.create(&new_disk(&name, QCOW2), &Notes::new("x"))),
        ErrorKind::Offline
    );
    assert!(
        !root.exists(),
        "nothing is made where a storage should be mounted"
    );
    std::fs::rename(&aside, &root).unwrap();
    assert!(info(backend.as_ref(), &name).is_some());
    let unmounted = section(&root, &[("is_mountpoint", "1")]);
    let unmounted = volvisor::backend::open(&unmounted).unwrap().unwrap();
    let error = unmounted.inventory().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Offline);
    assert!(
        error
            .message()
            .starts_with("storage 'store' is not online: "),
        "{error}"
    );
}

#[test]
fn a_full_disk_loses_nothing_and_leaves_nothing() {
    let Some(ground) = small_memory("hostile-full", 4 * MIB) else {
        return;
    };
    let root = ground.fresh();
    let backend = dir_backend(&root);
    let name = disk(100, 0, ImageFormat::Qcow2);
    make(backend.as_ref(), &name, QCOW2);
    write(backend.as_ref(), &name, 5);
    let before = read(backend.as_ref(), &name, None);
    let big = disk(100, 1, ImageFormat::Raw);
    let mut spec = new_disk(&big, RAW);
    for preallocation in [Preallocation::Falloc, Preallocation::Full] {
        spec.preallocation = preallocation;
        spec.size = ByteCount(64 * MIB);
        let notes = Notes::new("full");
        let error = backend.create(&spec, &notes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.full_text());
        assert!(error.message().contains("67108864 bytes needed"), "{error}");
        backend.withdraw(&big, &notes).unwrap();
        assert!(hidden_files(&root).is_empty());
    }
    // Less and less room: each verb fails at another write, or works.
    let ballast = std::fs::File::create(root.join("ballast")).unwrap();
    let (mut failed, mut worked) = (0, 0);
    let free = backend.space().unwrap().available.get();
    for left in (0..=120u64).map(|n| n * 4096) {
        let filled = vec![1u8; free.saturating_sub(left) as usize];
        ballast.set_len(0).unwrap();
        let _ = std::os::unix::fs::FileExt::write_all_at(&ballast, &filled, 0);
        let notes = Notes::new("op");
        let clone = CloneSpec {
            source: name.clone(),
            snapshot: None,
            target: disk(101, 0, ImageFormat::Qcow2),
            mode: CloneMode::Full,
            format: ImageFormat::Qcow2,
        };
        let made = disk(102, 0, ImageFormat::Qcow2);
        let one = snap("one");
        let results = [
            backend.create(&new_disk(&made, QCOW2), &notes),
            backend.clone_from(&clone, &notes),
            backend.snapshot(std::slice::from_ref(&name), &one, 1),
        ];
        for result in results {
            match result {
                Ok(_) => worked += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.full_text());
                    failed += 1;
                }
            }
        }
        ballast.set_len(0).unwrap();
        backend.withdraw(&made, &notes).unwrap();
        backend.withdraw(&clone.target, &notes).unwrap();
        backend.destroy_snapshots(&[(name.clone(), one)]).unwrap();
        backend.repair(&name).unwrap();
        assert!(hidden_files(&root).is_empty(), "{:?}", hidden_files(&root));
        assert_eq!(backend.inventory().unwrap().volumes.len(), 1);
        same(
            "the old volume",
            &before,
            &read(backend.as_ref(), &name, None),
        );
        let path = backend.path(&name, None).unwrap().display().to_string();
        qemu_img(&["check", "-q", "-f", "qcow2", &path]);
    }
    println!("full disk: {failed} refused, {worked} worked");
    assert!(failed > 0 && worked > 0);
}

#[test]
fn a_read_only_file_system_is_read_and_every_change_refused() {
    let Some(ground) = small_memory("hostile-ro", 8 * MIB) else {
        return;
    };
    let root = ground.fresh();
    let backend = dir_backend(&root);
    let name = disk(100, 0, ImageFormat::Qcow2);
    make(backend.as_ref(), &name, QCOW2);
    write(backend.as_ref(), &name, 6);
    let before = read(backend.as_ref(), &name, None);
    let remount = |how: &str| {
        let target = ground.path().display().to_string();
        let done = Command::new("mount").args(["-o", how, &target]).status();
        assert!(done.unwrap().success());
    };
    remount("remount,ro");
    assert_eq!(backend.inventory().unwrap().volumes.len(), 1);
    same("read-only", &before, &read(backend.as_ref(), &name, None));
    assert!(
        backend
            .create(
                &new_disk(&disk(100, 1, ImageFormat::Raw), RAW),
                &Notes::new("x")
            )
            .is_err()
    );
    assert!(backend.destroy(&name, None).is_err());
    assert!(backend.resize(&name, ByteCount(8 * MIB)).is_err());
    assert!(
        backend
            .snapshot(std::slice::from_ref(&name), &snap("one"), 1)
            .is_err()
    );
    assert!(
        backend
            .rename(&name, &disk(100, 1, ImageFormat::Qcow2))
            .is_err()
    );
    assert!(backend.protect(&name, true).is_err());
    remount("remount,rw");
    same("afterwards", &before, &read(backend.as_ref(), &name, None));
}
