//! The test guest under real QEMU: what it says about its disks is what stands in the image files; never uses our machine.

use crate::support::{Scratch, skip};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use volvisor::vmm::guest::client::{Direction, EVIL_KINDS, Guest, Waiting};
use volvisor::vmm::guest::{pattern, rom};

const PATIENCE: Duration = Duration::from_secs(60);

/// A QEMU that ends with the test.
struct Qemu {
    child: Child,
    serial: PathBuf,
    image: PathBuf,
    _scratch: Scratch,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU's own emulation with a disk of 64 MiB and a read-only one of 1 MiB; `None`, and a skip, when there is no QEMU.
fn qemu(name: &str) -> Option<Qemu> {
    let found = Command::new("qemu-system-x86_64").arg("--version").output();
    if found.is_err() {
        skip("qemu-system-x86_64 is not installed");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"));
        return None;
    }
    let scratch = Scratch::new(name);
    let at = |file: &str| scratch.path().join(file);
    std::fs::write(at("rom"), rom()).unwrap();
    let (image, locked, serial) = (at("disk"), at("locked"), at("serial"));
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    File::create(&locked).unwrap().set_len(1 << 20).unwrap();
    let drive = |id: &str, path: &Path, more: &str| {
        format!(
            "if=none,id={id},format=raw,file={}{more}",
            path.to_str().unwrap()
        )
    };
    let child = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-machine", "q35", "-m", "64"])
        .args(["-nographic", "-nodefaults", "-no-user-config"])
        .args(["-device", "isa-debug-exit,iobase=0xf4"])
        .arg("-bios")
        .arg(at("rom"))
        .arg("-serial")
        .arg(format!("unix:{},server=on,wait=off", serial.display()))
        .arg("-drive")
        .arg(drive("d0", &image, ",discard=unmap"))
        .args([
            "-device",
            "virtio-blk-pci,drive=d0,disable-legacy=on,serial=FIRST",
        ])
        .arg("-drive")
        .arg(drive("d1", &locked, ",read-only=on"))
        .args(["-device", "virtio-blk-pci,drive=d1,disable-legacy=on"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Some(Qemu {
        child,
        serial,
        image,
        _scratch: scratch,
    })
}

fn sectors_of(image: &Path, lba: usize, count: usize) -> Vec<u8> {
    std::fs::read(image).unwrap()[lba * 512..(lba + count) * 512].to_vec()
}

#[test]
fn what_the_guest_writes_stands_in_the_image() {
    let Some(vm) = qemu("guest-qemu-data") else {
        return;
    };
    let mut guest = Guest::connect(&vm.serial, PATIENCE).unwrap();
    let devices = guest.devices().unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[0].capacity, (64 << 20) / 512);
    assert_eq!(
        (devices[0].read_only(), devices[1].read_only()),
        (false, true)
    );
    assert_eq!(guest.id(0).unwrap(), "FIRST");

    for mask in [0xffff_ffff, !(1 << 28), !(1 << 29), 0] {
        guest.wants(mask).unwrap();
        guest.write(0, 1000, 600, u64::from(mask)).unwrap();
        assert_eq!(guest.verify(0, 1000, 600, u64::from(mask)).unwrap(), None);
        let expected = pattern::sectors(u64::from(mask), 1000, 600);
        assert_eq!(sectors_of(&vm.image, 1000, 600), expected);
        assert_eq!(
            guest.digest(0, 1000, 600).unwrap(),
            pattern::digest(&expected)
        );
    }
    guest.wants(u32::MAX).unwrap();
    guest.flush(0).unwrap();
    assert_eq!(guest.verify(0, 999, 2, 0).unwrap(), Some(999));
    guest.zero(0, 1001, 3, true).unwrap();
    guest.discard(0, 1100, 8).unwrap();
    assert_eq!(guest.verify(0, 1000, 600, 0).unwrap(), Some(1001));
    assert_eq!(sectors_of(&vm.image, 1001, 3), [0; 3 * 512]);
    assert!(guest.write(1, 0, 1, 1).is_err(), "the disk is read-only");
    assert!(guest.write(0, 131_072, 1, 1).is_err(), "beyond the end");
    assert!(guest.write(2, 0, 1, 1).is_err(), "no such disk");
}

#[test]
fn the_background_writer_leaves_one_instant_behind() {
    let Some(vm) = qemu("guest-qemu-loop") else {
        return;
    };
    let mut guest = Guest::connect(&vm.serial, PATIENCE).unwrap();
    guest.loop_start(0, 300, 77).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let last = guest.loop_stop().unwrap();
    let ring = sectors_of(&vm.image, 300, 64);
    assert!(last > 0);
    assert_eq!(pattern::loop_newest(&ring, 77, 300), Ok(last));
}

#[test]
fn hostile_requests_benches_and_resets_leave_a_working_guest() {
    let Some(mut vm) = qemu("guest-qemu-evil") else {
        return;
    };
    let mut guest = Guest::connect(&vm.serial, PATIENCE).unwrap();
    guest.write(0, 50, 10, 3).unwrap();
    for kind in EVIL_KINDS {
        let outcome = guest.evil(0, kind);
        assert!(outcome.is_ok(), "{kind}: {outcome:?}");
        assert_eq!(guest.verify(0, 50, 10, 3).unwrap(), None, "after {kind}");
    }
    assert_eq!(guest.evil(0, "type").unwrap().status, 2);
    for waiting in [Waiting::Poll, Waiting::Interrupt] {
        let run = guest
            .bench(0, Direction::Read, 16, 50, waiting, 1000)
            .unwrap();
        assert_eq!(run.requests, 800);
        assert_eq!(run.interrupts > 0, waiting == Waiting::Interrupt);
    }
    guest.reset().unwrap();
    assert_eq!(guest.verify(0, 50, 10, 3).unwrap(), None);
    assert!(!guest.power_button().unwrap());
    guest.exit(3).unwrap();
    assert_eq!(vm.child.wait().unwrap().code(), Some(7));
}
