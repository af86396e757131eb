//! The bulk query: what a directory storage holds, by names, statx and one small read per qcow2 image; starts no program and
//! decides no format by bytes.

use super::layout::{Layout, is_owner, place_of, snapshot_of, stat_entry};
use crate::format::qcow2::{SUMMARY_BYTES, snapshot_table, summary};
use crate::model::{
    ByteCount, Error, Identity, ImageFormat, Inventory, Result, SnapshotInfo, SnapshotMethod,
    VolumeInfo, VolumeName,
};
use rustix::fs::{Dir as ReadDir, FileType, Mode, OFlags, Statx, openat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Snapshot tables above this are not read for a listing.
const MAX_TABLE: u64 = 16 << 20;

/// What makes a file itself: its inode and when it was born (where the file system keeps that).
pub(super) fn identity_of(about: &Statx) -> Identity {
    let born = rustix::fs::StatxFlags::from_bits_retain(about.stx_mask)
        .contains(rustix::fs::StatxFlags::BTIME);
    Identity(if born {
        format!(
            "{}-{}.{:09}",
            about.stx_ino, about.stx_btime.tv_sec, about.stx_btime.tv_nsec
        )
    } else {
        about.stx_ino.to_string()
    })
}

fn born(about: &Statx) -> Option<u64> {
    let mask = rustix::fs::StatxFlags::from_bits_retain(about.stx_mask);
    let time = if mask.contains(rustix::fs::StatxFlags::BTIME) {
        about.stx_btime.tv_sec
    } else {
        about.stx_ctime.tv_sec
    };
    u64::try_from(time).ok()
}

/// Everything in the storage, sorted. A file that vanishes meanwhile is left out; one that cannot be read has `problem` set.
pub(super) fn inventory(layout: &Layout) -> Result<Inventory> {
    layout.check_online()?;
    let mut volumes = Vec::new();
    let Some(images) = layout.open_images()? else {
        return Ok(Inventory::default());
    };
    let broken = |what: &str, e: Errno| {
        Error::io(
            format!("storage '{}': cannot read {what}", layout.id),
            e.into(),
        )
    };
    let shown = layout.images().display().to_string();
    let entries = ReadDir::read_from(&images).map_err(|e| broken(&shown, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| broken(&shown, e))?;
        let Ok(owner) = entry.file_name().to_str() else {
            continue;
        };
        // Two digits at least, as Proxmox lists them.
        if owner.len() < 2 || !is_owner(owner) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(&images, owner, flags, Mode::empty()) {
            Ok(dir) => list_owner(owner, File::from(dir), &mut volumes)
                .map_err(|e| broken(&format!("{shown}/{owner}"), e))?,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(e) => return Err(broken(&format!("{shown}/{owner}"), e)),
        }
    }
    volumes.sort_by_cached_key(|v| (v.name.as_str().to_ascii_lowercase(), v.name.clone()));
    Ok(Inventory { volumes })
}

fn list_owner(
    owner: &str,
    dir: File,
    volumes: &mut Vec<VolumeInfo>,
) -> std::result::Result<(), Errno> {
    let first = volumes.len();
    let mut kept: HashMap<String, Vec<SnapshotInfo>> = HashMap::new();
    for entry in ReadDir::read_from(&dir)? {
        let entry = entry?;
        let Ok(leaf) = entry.file_name().to_str() else {
            continue;
        };
        if leaf.starts_with('.') {
            continue;
        }
        if let Some((of, snapshot)) = snapshot_of(leaf) {
            if let Some(info) = reflink_snapshot(&dir, leaf, snapshot.as_str()) {
                kept.entry(of.to_owned()).or_default().push(info);
            }
            continue;
        }
        let Ok(name) = VolumeName::parse(&format!("{owner}/{leaf}")) else {
            continue;
        };
        let Ok(place) = place_of(&name) else {
            continue;
        };
        match stat_entry(&dir, leaf.as_ref()) {
            Ok(about) => {
                let mut info = VolumeInfo {
                    name,
                    owner: owner.parse().ok(),
                    format: place.format,
                    size: None,
                    used: Some(ByteCount(about.stx_blocks.saturating_mul(512))),
                    parent: None,
                    created: born(&about),
                    is_base: place.is_base,
                    read_only: about.stx_mode & 0o222 == 0,
                    snapshots: Vec::new(),
                    identity: identity_of(&about),
                    problem: None,
                };
                fill(&dir, leaf, &about, &mut info);
                volumes.push(info);
            }
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    for volume in &mut volumes[first..] {
        let leaf = volume.name.as_str().rsplit('/').next().unwrap_or_default();
        if volume.format == ImageFormat::Raw
            && let Some(mut snapshots) = kept.remove(leaf)
        {
            snapshots.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
            volume.snapshots = snapshots;
        }
    }
    Ok(())
}

fn reflink_snapshot(dir: &File, leaf: &str, name: &str) -> Option<SnapshotInfo> {
    let about = stat_entry(dir, leaf.as_ref()).ok()?;
    FileType::from_raw_mode(about.stx_mode.into())
        .is_file()
        .then(|| SnapshotInfo {
            name: name.to_owned(),
            created: u64::try_from(about.stx_mtime.tv_sec).unwrap_or(0),
            method: SnapshotMethod::Reflink,
            id: identity_of(&about).0,
        })
}

/// Size, parent and snapshots, by the format the name says.
fn fill(dir: &File, leaf: &str, about: &Statx, info: &mut VolumeInfo) {
    let kind = FileType::from_raw_mode(about.stx_mode.into());
    if info.format == ImageFormat::Subvol {
        match kind {
            FileType::Directory => info.size = Some(ByteCount(0)),
            _ => info.problem = Some("is not a directory".to_owned()),
        }
        return;
    }
    if !kind.is_file() {
        info.problem = Some(match kind {
            FileType::Symlink => "is a symbolic link, which is not followed".to_owned(),
            _ => "is not a regular file".to_owned(),
        });
        return;
    }
    let outcome = match info.format {
        ImageFormat::Raw => {
            info.size = Some(ByteCount(about.stx_size));
            Ok(())
        }
        ImageFormat::Qcow2 => open_entry(dir, leaf).and_then(|file| read_qcow2(&file, info)),
        ImageFormat::Vmdk => open_entry(dir, leaf).and_then(|file| read_vmdk(&file, info)),
        ImageFormat::Subvol => Ok(()),
    };
    if let Err(error) = outcome {
        info.problem = Some(error.full_text());
    }
}

fn open_entry(dir: &File, leaf: &str) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    openat(dir, leaf, flags, Mode::empty())
        .map(File::from)
        .map_err(|e| Error::io("cannot be opened", e.into()))
}

/// Reads until the buffer is full or the file ends.
fn read_some(file: &File, offset: u64, into: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match file.read_at(&mut into[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(format!("cannot read at byte {offset}"), e)),
        }
    }
    Ok(done)
}

pub(super) fn read_qcow2(file: &File, info: &mut VolumeInfo) -> Result<()> {
    let mut head = [0u8; SUMMARY_BYTES];
    let got = read_some(file, 0, &mut head)?;
    let found = summary(&head[..got])?;
    info.size = Some(found.size);
    if let Some(parent) = found.backing_name {
        if let Some((base_owner, base)) = linked_parent(&parent)
            && info.name.as_str().matches('/').count() == 1
            && let Ok(full) = VolumeName::parse(&format!("{base_owner}/{base}/{}", info.name))
        {
            info.name = full;
        }
        info.parent = Some(parent);
    }
    if found.snapshot_count == 0 {
        return Ok(());
    }
    // A record is at least 40 bytes; most are below 128. The file's end bounds the rest.
    let mut want = u64::from(found.snapshot_count)
        .saturating_mul(128)
        .min(MAX_TABLE);
    loop {
        let mut table = vec![0u8; usize::try_from(want).unwrap_or(0)];
        let got = read_some(file, found.snapshot_offset, &mut table)?;
        let full = got == table.len();
        table.truncate(got);
        match snapshot_table(&table, found.snapshot_count) {
            Ok(snapshots) => {
                info.snapshots = snapshots;
                return Ok(());
            }
            Err(_) if full && want < MAX_TABLE => want = (want * 8).min(MAX_TABLE),
            Err(error) => return Err(error),
        }
    }
}

/// `../OWNER/NAME`, the only backing name that makes a linked clone.
pub(super) fn linked_parent(backing: &str) -> Option<(&str, &str)> {
    let (owner, leaf) = backing.strip_prefix("../")?.split_once('/')?;
    let name = VolumeName::parse(&format!("{owner}/{leaf}")).ok()?;
    let place = place_of(&name).ok()?;
    place.base.is_none().then_some((owner, leaf))
}

/// Capacity of a sparse VMDK extent (header field at byte 12, in 512-byte sectors).
fn read_vmdk(file: &File, info: &mut VolumeInfo) -> Result<()> {
    let mut head = [0u8; 20];
    let got = read_some(file, 0, &mut head)?;
    let sectors = head[12..20]
        .try_into()
        .map(u64::from_le_bytes)
        .ok()
        .filter(|_| got == head.len() && &head[..4] == b"KDMV");
    info.size = sectors.and_then(|n| n.checked_mul(512)).map(ByteCount);
    if info.size.is_none() {
        return Err(Error::integrity(
            "is not a sparse vmdk image (magic at byte 0)",
        ));
    }
    Ok(())
}
