//! The `dir` backend: raw and qcow2 images as files below `PATH/images/<owner>/`; keeps no state but what the file system can do.

mod change;
mod layout;
mod list;
mod make;
mod mend;
mod open;
mod raw_live;
mod snapshot;

use super::{Backend, OpenMode, Scope};
use crate::block::BlockDevice;
use crate::format::storage_cfg::StorageSection;
use crate::model::{
    ByteCount, CloneSpec, CreateSpec, Error, ErrorKind, Facts, Identity, ImageFormat, Inventory,
    Outcome, Result, SnapshotMethod, SnapshotName, Space, StorageId, VolumeName,
};
use crate::sys::fs;
use layout::{Layout, place_of};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// One directory storage.
pub struct Dir {
    layout: Layout,
    default_format: ImageFormat,
    /// The storage keeps qcow2 snapshots as files that back each other (snapshot-as-volume-chain); those are not taken here.
    chains: bool,
    /// Whether the file system shares blocks between files; asked once, by doing it.
    reflinks: OnceLock<bool>,
}

impl Dir {
    /// Reads the section only; whether the storage is there is asked by each verb.
    pub fn new(section: &StorageSection) -> Result<Self> {
        if let Some(why) = &section.broken {
            return Err(Error::usage(format!(
                "storage '{}' cannot be used: {why}",
                section.id
            )));
        }
        Ok(Dir {
            layout: Layout::new(section)?,
            default_format: section
                .get("format")
                .and_then(ImageFormat::parse)
                .unwrap_or(ImageFormat::Raw),
            chains: section.flag("snapshot-as-volume-chain"),
            reflinks: OnceLock::new(),
        })
    }

    /// `storage:name`.
    fn shown(&self, name: &VolumeName) -> String {
        format!("{}:{name}", self.layout.id)
    }

    fn can_reflink(&self) -> bool {
        if self.layout.check_online().is_err() {
            return false;
        }
        *self
            .reflinks
            .get_or_init(|| try_reflink(&self.layout.root).unwrap_or(false))
    }

    fn served(&self, name: &VolumeName, format: ImageFormat) -> Result<()> {
        match format {
            ImageFormat::Raw | ImageFormat::Qcow2 => Ok(()),
            ImageFormat::Vmdk | ImageFormat::Subvol => Err(Error::unsupported(format!(
                "volume '{}': format '{format}' is listed but not served",
                self.shown(name)
            ))
            .hint("convert it: qemu-img convert -O qcow2 SOURCE TARGET")),
        }
    }

    /// Adds to an out-of-space error how much was wanted and how much there is.
    fn explain_space(&self, error: Error, doing: &str, needed: u64) -> Error {
        if error.kind() != ErrorKind::NoSpace {
            return error;
        }
        let available = self.space().map_or(0, |space| space.available.get());
        Error::new(
            ErrorKind::NoSpace,
            format!(
                "no room on storage '{}' {doing}: up to {needed} bytes needed, {available} available",
                self.layout.id
            ),
        )
        .with_source(error)
        .hint("nothing was changed; make room on that file system and try again")
    }
}

/// Two files without names, one made a clone of the other. File systems known never to do it are not written to.
fn try_reflink(root: &Path) -> std::io::Result<bool> {
    const EXT: i64 = 0xEF53;
    const TMPFS: i64 = 0x0102_1994;
    let about = rustix::fs::statfs(root)?;
    if matches!(about.f_type, EXT | TMPFS) {
        return Ok(false);
    }
    let (source, target) = (fs::nameless(root)?, fs::nameless(root)?);
    std::os::unix::fs::FileExt::write_all_at(&source, &[1u8; 4096], 0)?;
    Ok(rustix::fs::ioctl_ficlone(&target, &source).is_ok())
}

impl Backend for Dir {
    fn id(&self) -> &StorageId {
        &self.layout.id
    }

    fn facts(&self) -> Facts {
        let mut snapshot_methods = Vec::new();
        if !self.chains {
            snapshot_methods.push((ImageFormat::Qcow2, SnapshotMethod::Qcow2Internal));
        }
        if self.can_reflink() {
            snapshot_methods.push((ImageFormat::Raw, SnapshotMethod::Reflink));
        }
        Facts {
            snapshot_methods,
            formats: vec![ImageFormat::Raw, ImageFormat::Qcow2],
            default_format: self.default_format,
            newest_only_rollback: false,
            linked_clone_formats: vec![ImageFormat::Qcow2],
            path_names: true,
            can_resize: true,
        }
    }

    fn space(&self) -> Result<Space> {
        self.layout.check_online()?;
        let about = rustix::fs::statvfs(&self.layout.root).map_err(|e| {
            Error::io(
                format!("cannot ask for the space of storage '{}'", self.layout.id),
                e.into(),
            )
        })?;
        let bytes = |blocks: u64| ByteCount(blocks.saturating_mul(about.f_frsize));
        Ok(Space {
            total: bytes(about.f_blocks),
            used: bytes(about.f_blocks.saturating_sub(about.f_bfree)),
            available: bytes(about.f_bavail),
        })
    }

    fn inventory(&self) -> Result<Inventory> {
        list::inventory(&self.layout)
    }

    fn path(&self, name: &VolumeName, snapshot: Option<&SnapshotName>) -> Result<PathBuf> {
        let place = place_of(name)?;
        match (snapshot, place.format) {
            (None, _) => Ok(self.layout.file(&place)),
            (Some(_), ImageFormat::Qcow2) => Ok(self.layout.file(&place)),
            (Some(snapshot), ImageFormat::Raw) => Ok(self.layout.snapshot_file(&place, snapshot)),
            (Some(_), _) => Err(Error::unsupported("can't snapshot this image format")),
        }
    }

    fn create(&self, spec: &CreateSpec, scope: &dyn Scope) -> Result<Outcome> {
        self.create_volume(spec, scope)
    }
    fn clone_from(&self, spec: &CloneSpec, scope: &dyn Scope) -> Result<Outcome> {
        self.clone_volume(spec, scope)
    }
    fn withdraw(&self, name: &VolumeName, scope: &dyn Scope) -> Result<Outcome> {
        self.withdraw_volume(name, scope)
    }
    fn destroy(&self, name: &VolumeName, identity: Option<&Identity>) -> Result<Outcome> {
        self.destroy_volume(name, identity)
    }
    fn resize(&self, name: &VolumeName, size: ByteCount) -> Result<Outcome> {
        self.resize_volume(name, size)
    }
    fn snapshot(
        &self,
        names: &[VolumeName],
        snapshot: &SnapshotName,
        created: u64,
    ) -> Result<Outcome> {
        self.snapshot_volumes(names, snapshot, created)
    }
    fn destroy_snapshots(&self, what: &[(VolumeName, SnapshotName)]) -> Result<Outcome> {
        let mut outcome = Outcome::AlreadySo;
        for (name, snapshot) in what {
            if self.destroy_snapshot(name, snapshot)? {
                outcome = Outcome::Changed;
            }
        }
        Ok(outcome)
    }
    fn rollback(
        &self,
        name: &VolumeName,
        snapshot: &SnapshotName,
        scope: &dyn Scope,
    ) -> Result<Outcome> {
        self.rollback_volume(name, snapshot, scope)
    }
    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<Outcome> {
        self.rename_volume(from, to)
    }
    fn protect(&self, name: &VolumeName, read_only: bool) -> Result<Outcome> {
        self.protect_volume(name, read_only)
    }
    fn open(
        &self,
        name: &VolumeName,
        snapshot: Option<&SnapshotName>,
        mode: OpenMode,
    ) -> Result<Arc<dyn BlockDevice>> {
        self.open_volume(name, snapshot, mode)
    }
    fn repair(&self, name: &VolumeName) -> Result<Outcome> {
        self.repair_volume(name)
    }
}

#[cfg(test)]
mod tests;
