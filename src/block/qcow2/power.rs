//! Power cuts: whatever was not synced reaches the disk in part and in any order, and still no image is corrupt; test only.

use super::store::Event;
use super::{NewImage, Qcow2, create};
use crate::block::BlockDevice;
use crate::model::{ByteCount, ByteOffset, Extent, Preallocation, Result, SnapshotName};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const SIZE: u64 = 200 << 10;
const SECTOR: usize = 512;

#[derive(Clone, PartialEq)]
struct World {
    active: Vec<u8>,
    snapshots: BTreeMap<String, Vec<u8>>,
}

fn open(path: &Path) -> Arc<Qcow2> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    Arc::new(Qcow2::open(file, path, true, None).unwrap())
}

fn bytes(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; device.geometry().size.get() as usize];
    device.read_at(0, &mut bytes).unwrap();
    bytes
}

fn world(image: &Arc<Qcow2>) -> World {
    let views = image.snapshots().unwrap().into_iter().map(|s| {
        let view = image
            .clone()
            .at_snapshot(&SnapshotName::parse(&s.name).unwrap())
            .unwrap();
        (s.name, bytes(&*view))
    });
    World {
        active: bytes(&**image),
        snapshots: views.collect(),
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % n
    }
}

/// One random durable step. True when it must be seen whole or not at all.
fn step(image: &Arc<Qcow2>, number: u64, dice: &mut Dice) -> Result<bool> {
    let name = |n: u64| SnapshotName::parse(&format!("s{n}")).unwrap();
    let names = image.snapshots()?;
    let pick = |dice: &mut Dice| {
        SnapshotName::parse(&names[dice.below(names.len() as u64) as usize].name).unwrap()
    };
    match dice.below(6) {
        0 => image.snapshot_create(&name(number + 10), number)?,
        1 if !names.is_empty() => drop(image.snapshot_delete(&pick(dice))?),
        2 if !names.is_empty() => image.snapshot_apply(&pick(dice))?,
        3 if number % 3 == 0 => image.resize(ByteCount(
            image.geometry().size.get() + dice.below(40) * 512,
        ))?,
        _ => {
            let size = image.geometry().size.get();
            for _ in 0..1 + dice.below(6) {
                let start = dice.below(size - 20_000);
                let length = 1 + dice.below(20_000);
                let extent = Extent::new(ByteOffset(start), ByteCount(length))?;
                match dice.below(4) {
                    0 => image.write_zeroes(extent, true)?,
                    1 => image.discard(extent)?,
                    _ => {
                        image.write_at(start, &vec![dice.below(255) as u8 + 1; length as usize])?
                    }
                }
            }
            image.flush()?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// The file after a cut behind `events[..cut]`: all up to the last sync, of the rest any sectors.
fn cut_file(start: &[u8], events: &[Event], cut: usize, dice: &mut Dice) -> Vec<u8> {
    let synced = events[..cut]
        .iter()
        .rposition(|e| matches!(e, Event::Sync))
        .unwrap_or(0);
    let mut file = start.to_vec();
    // A whole cut now and then loses or keeps everything.
    let mood = dice.below(4);
    for (number, event) in events[..cut].iter().enumerate() {
        let Event::Write(offset, bytes) = event else {
            if let Event::Punch(offset, length) = event
                && (number <= synced || dice.below(2) == 0)
            {
                let end = file.len().min((offset + length) as usize);
                file[(*offset as usize).min(end)..end].fill(0);
            }
            continue;
        };
        let mut at = *offset as usize;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = (SECTOR - at % SECTOR).min(rest.len());
            let lands = match mood {
                0 => dice.below(8) == 0,
                1 => dice.below(8) != 0,
                _ => dice.below(2) == 0,
            };
            if number <= synced || lands {
                file.resize(file.len().max(at + length), 0);
                file[at..at + length].copy_from_slice(&rest[..length]);
            }
            at += length;
            rest = &rest[length..];
        }
    }
    file
}

fn story(seed: u64, cluster_size: u32, cuts: u64) {
    println!("seed {seed} cluster {cluster_size}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.qcow2");
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let new = NewImage {
        size: ByteCount(SIZE),
        cluster_size,
        preallocation: Preallocation::Off,
        backing: None,
    };
    create(&file, &new).unwrap();
    let start = std::fs::read(&path).unwrap();
    let image = open(&path);
    image.lock().unwrap().store.trace = Some(Vec::new());
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    // The worlds, each with the number of events after which it was there.
    let mut worlds = vec![(0usize, true, world(&image))];
    for number in 0..25 {
        let whole = step(&image, number, &mut dice).unwrap();
        let events = image.lock().unwrap().store.trace.as_ref().unwrap().len();
        worlds.push((events, whole, world(&image)));
    }
    let events = image.lock().unwrap().store.trace.take().unwrap();
    let cut_path = dir.path().join("cut.qcow2");
    for _ in 0..cuts {
        let cut = dice.below(events.len() as u64) as usize + 1;
        std::fs::write(&cut_path, cut_file(&start, &events, cut, &mut dice)).unwrap();
        let done = Command::new("qemu-img")
            .args(["check", "-f", "qcow2"])
            .arg(&cut_path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        assert!(
            matches!(done.status.code(), Some(0 | 3)),
            "seed {seed} cut {cut}: {text}"
        );
        let done = worlds
            .iter()
            .rposition(|(at, _, _)| *at <= cut)
            .unwrap_or(0);
        let before = &worlds[done].2;
        let (_, whole, after) = worlds.get(done + 1).unwrap_or(&worlds[done]);
        let cut_image = open(&cut_path);
        let seen = world(&cut_image);
        if *whole {
            assert!(
                seen == *before || seen == *after,
                "seed {seed} cut {cut}: neither before nor after"
            );
        } else {
            assert!(
                seen.snapshots == before.snapshots,
                "seed {seed} cut {cut}: snapshots"
            );
            assert_eq!(seen.active.len(), before.active.len());
        }
        cut_image.repair().unwrap();
        assert!(
            world(&cut_image) == seen,
            "seed {seed} cut {cut}: repair changed bytes"
        );
    }
}

#[test]
fn a_power_cut_at_any_moment_leaves_no_corruption_and_every_finished_step() {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        return println!("SKIPPED: qemu-img is not installed");
    }
    for seed in 1..=12 {
        story(seed, [512, 4096, 65536][seed as usize % 3], 15);
    }
}
