//! The built-in test guest on the machine: real virtio driver, real interrupts, raw and qcow2 images, hostile requests, live snapshots.

use crate::machine::{Client, Memory, Running, drive, kvm_or_skip};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use volvisor::block::BlockDevice;
use volvisor::block::file::{FileOptions, RawFile};
use volvisor::block::qcow2::{self, NewImage, Qcow2};
use volvisor::model::{ByteCount, Preallocation};
use volvisor::vmm::guest::client::{Direction, EVIL_KINDS, Guest, Waiting};
use volvisor::vmm::guest::pattern;
use volvisor::vmm::{DriveSpec, Firmware};

type Talk = Guest<std::os::unix::net::UnixStream>;

const PATIENCE: Duration = Duration::from_secs(60);
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;
const UNTOUCHED: u8 = 0xff;
const NEEDS_RESET: u8 = 0x40;

fn boot(drives: Vec<DriveSpec>) -> (Running, Talk) {
    let running = Running::start_with(&[], drives, |spec| {
        spec.firmware = Firmware::TestGuest;
        spec.memory_mib = 32;
    });
    let guest = Guest::connect(&running.path("serial"), PATIENCE).unwrap();
    (running, guest)
}

fn generic(id: &str, device: Arc<dyn BlockDevice>) -> DriveSpec {
    DriveSpec {
        id: id.into(),
        device,
        serial: "serial".into(),
        read_only: false,
        write_cache: true,
    }
}

const WRITABLE: FileOptions = FileOptions {
    writable: true,
    direct: false,
};

fn raw(path: &Path, size: u64) -> Arc<RawFile> {
    std::fs::File::create(path).unwrap().set_len(size).unwrap();
    Arc::new(RawFile::open(path, WRITABLE).unwrap())
}

fn qcow2(path: &Path, size: u64) -> Arc<Qcow2> {
    let file = std::fs::File::create_new(path).unwrap();
    let new = NewImage {
        size: ByteCount(size),
        cluster_size: 65536,
        preallocation: Preallocation::Off,
        backing: None,
    };
    qcow2::create(&file, &new).unwrap();
    let file = volvisor::block::file::open_locked(path, WRITABLE).unwrap();
    Arc::new(Qcow2::open(file, path, true, None).unwrap())
}

fn bytes_of(device: &dyn BlockDevice, lba: u64, count: u64) -> Vec<u8> {
    let mut bytes = vec![0; count as usize * 512];
    device.read_at(lba * 512, &mut bytes).unwrap();
    bytes
}

fn quit(mut client: Client, running: Running) {
    client.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_guest_writes_reads_zeroes_and_discards_on_every_kind_of_volume() {
    if !kvm_or_skip() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let devices: Vec<Arc<dyn BlockDevice>> = vec![
        Memory::new(8 << 20),
        raw(&dir.path().join("raw"), 8 << 20),
        qcow2(&dir.path().join("qcow2"), 8 << 20),
    ];
    let drives = devices
        .iter()
        .enumerate()
        .map(|(index, device)| generic(&format!("scsi{index}"), Arc::clone(device)))
        .collect();
    let (running, mut guest) = boot(drives);
    let seen = guest.devices().unwrap();
    assert_eq!(seen.len(), 3);
    for (number, device) in (0u32..).zip(&devices) {
        assert_eq!(seen[number as usize].capacity, (8 << 20) / 512);
        assert_eq!(guest.id(number).unwrap(), "serial");
        guest.write(number, 7, 300, 42).unwrap();
        guest.flush(number).unwrap();
        assert_eq!(guest.verify(number, 7, 300, 42).unwrap(), None);
        assert_eq!(
            bytes_of(&**device, 7, 300),
            pattern::sectors(42, 7, 300),
            "device {number}"
        );
        guest.zero(number, 8, 16, true).unwrap();
        assert!(bytes_of(&**device, 8, 16).iter().all(|byte| *byte == 0));
        if device.geometry().can_discard {
            guest.discard(number, 128, 128).unwrap();
        }
        assert_eq!(guest.verify(number, 7, 1, 42).unwrap(), None);
    }
    let mut client = running.client();
    let stats = client.ok("query-blockstats", json!({}));
    assert!(stats[1]["stats"]["wr_bytes"].as_u64().unwrap() >= 300 * 512);
    assert!(stats[1]["stats"]["flush_operations"].as_u64().unwrap() >= 1);
    quit(client, running);
}

#[test]
fn interrupts_arrive_for_every_batch() {
    if !kvm_or_skip() {
        return;
    }
    let (running, mut guest) = boot(vec![drive("scsi0", Memory::new(8 << 20))]);
    for direction in [Direction::Read, Direction::Write] {
        let run = guest
            .bench(0, direction, 16, 20, Waiting::Interrupt, 1 << 13)
            .unwrap();
        assert_eq!(run.requests, 320);
        assert!(run.interrupts > 0);
    }
    guest.exit(3).unwrap();
    assert_eq!(running.end().0, 7);
}

#[test]
fn hostile_requests_hurt_only_their_own_device_and_only_until_it_is_reset() {
    if !kvm_or_skip() {
        return;
    }
    let drives = vec![
        drive("scsi0", Memory::new(8 << 20)),
        drive("scsi1", Memory::new(8 << 20)),
    ];
    let (running, mut guest) = boot(drives);
    guest.write(1, 0, 8, 1).unwrap();
    for kind in EVIL_KINDS {
        let outcome = guest.evil(0, kind).unwrap();
        let answered = (
            outcome.used,
            outcome.status,
            outcome.device_status & NEEDS_RESET,
        );
        let expected = match kind {
            "type" => (1, UNSUPPORTED, 0),
            "beyond" => (1, IO_ERROR, 0),
            "notready" => (0, UNTOUCHED, 0),
            // The last part is writable status; a read without data is refused.
            "ro" => (1, IO_ERROR, 0),
            _ => (0, UNTOUCHED, NEEDS_RESET),
        };
        assert_eq!(answered, expected, "{kind}");
        guest.write(0, 5, 1, 9).unwrap();
        assert_eq!(guest.verify(0, 5, 1, 9).unwrap(), None, "after {kind}");
    }
    assert_eq!(guest.verify(1, 0, 8, 1).unwrap(), None);
    let _ = OK;
    quit(running.client(), running);
}

#[test]
fn a_live_snapshot_is_one_instant_of_all_volumes() {
    if !kvm_or_skip() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = qcow2(&dir.path().join("image"), 8 << 20);
    let drives = vec![generic("scsi0", image.clone() as Arc<dyn BlockDevice>)];
    let (running, mut guest) = boot(drives);
    let mut client = running.client();
    guest.loop_start(0, 64, 77).unwrap();
    for round in 0..5 {
        std::thread::sleep(Duration::from_millis(50));
        client.ok("x-snapshot-begin", json!({"timeout_ms": 10000}));
        let now = pattern::loop_newest(&bytes_of(&*image, 64, 64), 77, 64).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let later = pattern::loop_newest(&bytes_of(&*image, 64, 64), 77, 64).unwrap();
        assert_eq!(now, later, "nothing is written between begin and end");
        let name = format!("s{round}");
        client.ok(
            "x-snapshot-volume",
            json!({"device": "scsi0", "name": name, "created": 1}),
        );
        client.ok("x-snapshot-end", json!({}));
    }
    let newest = guest.loop_stop().unwrap();
    assert!(newest > 5, "the guest worked all the time: {newest}");
    let names = client.ok("x-snapshot-names", json!({"device": "scsi0"}));
    assert_eq!(names.as_array().unwrap().len(), 5);
    client.ok(
        "x-snapshot-delete",
        json!({"device": "scsi0", "name": "s2"}),
    );
    assert_eq!(
        client
            .ok("x-snapshot-names", json!({"device": "scsi0"}))
            .as_array()
            .unwrap()
            .len(),
        4
    );
    quit(client, running);
}

#[test]
fn a_running_guest_sees_its_volume_grow() {
    if !kvm_or_skip() {
        return;
    }
    let (running, mut guest) = boot(vec![drive("scsi0", Memory::new(1 << 20))]);
    let mut client = running.client();
    client.ok("block_resize", json!({"device": "scsi0", "size": 4 << 20}));
    guest.write(0, 8000, 8, 5).unwrap();
    assert_eq!(guest.verify(0, 8000, 8, 5).unwrap(), None);
    assert_eq!(guest.devices().unwrap()[0].capacity, (4 << 20) / 512);
    quit(client, running);
}

#[test]
fn without_a_write_cache_every_write_is_flushed() {
    if !kvm_or_skip() {
        return;
    }
    let device = Memory::new(1 << 20);
    let mut through = drive("scsi0", Arc::clone(&device));
    through.write_cache = false;
    let (running, mut guest) = boot(vec![through]);
    let before = device.flushes.load(Ordering::Relaxed);
    guest.write(0, 0, 1, 1).unwrap();
    assert!(device.flushes.load(Ordering::Relaxed) > before);
    quit(running.client(), running);
}

#[test]
fn a_read_only_drive_cannot_be_written() {
    if !kvm_or_skip() {
        return;
    }
    let device = Memory::new(1 << 20);
    let mut fixed = drive("scsi0", Arc::clone(&device));
    fixed.read_only = true;
    let (running, mut guest) = boot(vec![fixed]);
    assert!(guest.devices().unwrap()[0].read_only());
    assert!(guest.write(0, 0, 1, 1).is_err());
    assert!(guest.zero(0, 0, 1, false).is_err());
    assert!(bytes_of(&*device, 0, 8).iter().all(|byte| *byte == 0));
    quit(running.client(), running);
}

#[test]
fn resets_power_button_and_switching_off_work_from_a_real_guest() {
    if !kvm_or_skip() {
        return;
    }
    let (running, mut guest) = boot(vec![drive("scsi0", Memory::new(1 << 20))]);
    let mut client = running.client();
    guest.write(0, 1, 1, 3).unwrap();
    guest.reset().unwrap();
    assert_eq!(guest.verify(0, 1, 1, 3).unwrap(), None);
    client.ok("system_reset", json!({}));
    guest.sync().unwrap();
    assert_eq!(guest.verify(0, 1, 1, 3).unwrap(), None);
    assert!(!guest.power_button().unwrap());
    client.ok("system_powerdown", json!({}));
    // The guest switches itself off when it next looks.
    let _ = guest.power_button();
    let _ = guest.off();
    assert_eq!(running.end().0, 0);
}
