//! Snapshots of a directory storage: inside a qcow2 image, or a reflink copy beside a raw one; never a full copy of the data.

use super::layout::{Layout, Place, place_of};
use super::{Dir, Scope};
use crate::block::file::reflink;
use crate::model::{Error, ErrorKind, ImageFormat, Outcome, Result, SnapshotName, VolumeName};
use crate::sys::fs;
use std::fs::File;
use std::path::Path;

/// Snapshots are never written to.
const SNAPSHOT_MODE: u32 = 0o440;

fn read_only(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| Error::io(format!("cannot open '{}'", path.display()), e))
}

/// Makes `target` a new file that shares all blocks with `source`; whole or not at all once it is renamed.
fn share_to(source: &Path, target: &Path, mode: u32, modified: Option<u64>) -> Result<()> {
    let from = read_only(source)?;
    fs::remove_file(target)?;
    let file = fs::create_new(target, mode)?;
    let io = |e| Error::io(format!("cannot write '{}'", target.display()), e);
    let done = reflink(&from, &file)
        .and_then(|()| fs::set_mode(&file, mode).map_err(io))
        .and_then(|()| modified.map_or(Ok(()), |time| fs::set_modified(&file, time).map_err(io)))
        .and_then(|()| fs::sync_all(&file).map_err(io));
    if done.is_err() {
        let _ = fs::remove_file(target);
    }
    done
}

/// The caller holds the volume still (drained and flushed, or open by nobody).
pub(super) fn take_reflink_snapshot(
    layout: &Layout,
    place: &Place,
    snapshot: &SnapshotName,
    created: u64,
) -> Result<Outcome> {
    let target = layout.snapshot_file(place, snapshot);
    if layout.look_at(place, &target)?.is_some() {
        return Ok(Outcome::AlreadySo);
    }
    let temporary = layout.snapshot_temporary(place, snapshot);
    share_to(
        &layout.file(place),
        &temporary,
        SNAPSHOT_MODE,
        Some(created),
    )?;
    if let Err(error) = fs::rename_new(&temporary, &target) {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(Outcome::Changed)
}

/// False when there was none.
pub(super) fn drop_reflink_snapshot(
    layout: &Layout,
    place: &Place,
    snapshot: &SnapshotName,
) -> Result<bool> {
    fs::remove_file(&layout.snapshot_temporary(place, snapshot))?;
    fs::remove_file(&layout.snapshot_file(place, snapshot))
}

impl Dir {
    fn check_snapshot_method(&self, place: &Place) -> Result<()> {
        let shown = self.shown(&place.name);
        let error = match place.format {
            ImageFormat::Qcow2 if self.chains => Error::unsupported(format!(
                "volume '{shown}': storage '{}' keeps snapshots as volume chains, which is not supported",
                self.layout.id
            )),
            ImageFormat::Qcow2 => return Ok(()),
            ImageFormat::Raw if self.can_reflink() => return Ok(()),
            ImageFormat::Raw => Error::unsupported(format!(
                "volume '{shown}': raw images on storage '{}' cannot be snapshotted, its file system does not share blocks between files",
                self.layout.id
            ))
            .hint("move the disk to format qcow2, or use a storage on btrfs or xfs"),
            ImageFormat::Vmdk | ImageFormat::Subvol => {
                Error::unsupported(format!("volume '{shown}': can't snapshot this image format"))
            }
        };
        Err(error)
    }

    pub(super) fn snapshot_volumes(
        &self,
        names: &[VolumeName],
        snapshot: &SnapshotName,
        created: u64,
    ) -> Result<Outcome> {
        let mut places = Vec::new();
        // Everything that can be refused is refused before the first change.
        for name in names {
            let place = place_of(name)?;
            self.check_snapshot_method(&place)?;
            if self.layout.require(&place)?.stx_mode & 0o222 == 0 {
                return Err(Error::unsupported(format!(
                    "volume '{}' is write-protected and cannot be snapshotted",
                    self.shown(name)
                )));
            }
            places.push(place);
        }
        let mut outcome = Outcome::AlreadySo;
        for place in &places {
            let doing = format!("to snapshot '{}'", place.name);
            let done = self
                .snapshot_one(place, snapshot, created)
                .map_err(|e| self.explain_space(e, &doing, 1 << 20))?;
            if done == Outcome::Changed {
                outcome = Outcome::Changed;
            }
        }
        Ok(outcome)
    }

    fn snapshot_one(
        &self,
        place: &Place,
        snapshot: &SnapshotName,
        created: u64,
    ) -> Result<Outcome> {
        if place.format == ImageFormat::Raw {
            // Nobody writes while the clone is taken.
            let _held = self.locked(place, true)?;
            return take_reflink_snapshot(&self.layout, place, snapshot, created);
        }
        let image = self.open_qcow2(place, true)?;
        let known = image.snapshots()?;
        if known.iter().any(|s| s.name == snapshot.as_str()) {
            return Ok(Outcome::AlreadySo);
        }
        image.snapshot_create(snapshot, created)?;
        Ok(Outcome::Changed)
    }

    /// False when there was none; a volume that is not there has none.
    pub(super) fn destroy_snapshot(
        &self,
        name: &VolumeName,
        snapshot: &SnapshotName,
    ) -> Result<bool> {
        let place = place_of(name)?;
        self.served(name, place.format)?;
        let there = self.layout.look(&place)?.is_some();
        if place.format == ImageFormat::Raw {
            return drop_reflink_snapshot(&self.layout, &place, snapshot);
        }
        if !there {
            return Ok(false);
        }
        // Looked at read-only first: a volume without the snapshot need not be writable.
        let known = self.open_qcow2(&place, false)?.snapshots()?;
        if !known.iter().any(|s| s.name == snapshot.as_str()) {
            return Ok(false);
        }
        let doing = format!("to delete a snapshot of '{name}'");
        self.open_qcow2(&place, true)?
            .snapshot_delete(snapshot)
            .map_err(|e| self.explain_space(e, &doing, 1 << 20))
    }

    pub(super) fn rollback_volume(
        &self,
        name: &VolumeName,
        snapshot: &SnapshotName,
        scope: &dyn Scope,
    ) -> Result<Outcome> {
        let place = place_of(name)?;
        self.served(name, place.format)?;
        let about = self.layout.require(&place)?;
        let doing = format!("to roll back '{name}'");
        if place.format == ImageFormat::Qcow2 {
            let image = self.open_qcow2(&place, true)?;
            let known = image.snapshots()?;
            if !known.iter().any(|s| s.name == snapshot.as_str()) {
                return Err(self.no_snapshot(name, snapshot));
            }
            image
                .snapshot_apply(snapshot)
                .map_err(|e| self.explain_space(e, &doing, 1 << 20))?;
            return Ok(Outcome::Changed);
        }
        let kept = self.layout.snapshot_file(&place, snapshot);
        if self.layout.look_at(&place, &kept)?.is_none() {
            return Err(self.no_snapshot(name, snapshot));
        }
        // Held until the new file has the name, so that nobody starts writing to the old one.
        let _held = self.locked(&place, true)?;
        let temporary = self.layout.temporary(&place, scope.op());
        let mode = u32::from(about.stx_mode) & 0o777;
        let done = share_to(&kept, &temporary, mode, None)
            .and_then(|()| fs::rename(&temporary, &self.layout.file(&place)));
        if let Err(error) = done {
            let _ = fs::remove_file(&temporary);
            return Err(match error.kind() {
                ErrorKind::Unsupported => error.hint("this file system does not share blocks between files any more; was the storage moved?"),
                _ => self.explain_space(error, &doing, 1 << 20),
            });
        }
        Ok(Outcome::Changed)
    }
}
