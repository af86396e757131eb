//! New volumes: each is built under a hidden name, made durable, noted, and only then gets its name; removes only what it made.

use super::layout::{Place, place_of};
use super::list::identity_of;
use super::{Dir, OpenMode, Scope};
use crate::block::file::{FileOptions, open_locked, reflink};
use crate::block::qcow2::{self, NewImage};
use crate::block::{BlockDevice, copy_range};
use crate::model::{
    ByteCount, CloneMode, CloneSpec, CreateSpec, Error, ErrorKind, Identity, ImageFormat, Outcome,
    Preallocation, Result, SnapshotName, VolumeName,
};
use crate::sys::fs;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Proxmox's mode of image files.
const MODE: u32 = 0o640;
const CLUSTER: u32 = 65_536;
/// Sizes end on a sector.
const SECTOR: u64 = 512;
const ZEROS: usize = 1 << 20;

fn key(name: &VolumeName) -> String {
    format!("created:{name}")
}

pub(super) fn check_size(shown: &str, size: ByteCount) -> Result<()> {
    if size.get() % SECTOR != 0 || size.get() > i64::MAX as u64 {
        return Err(Error::usage(format!(
            "volume '{shown}': size {} is not a multiple of {SECTOR} bytes or too large",
            size.get()
        )));
    }
    Ok(())
}

pub(super) fn identity_of_file(path: &Path) -> Result<Option<Identity>> {
    let (dir, leaf) = (path.parent(), path.file_name());
    let (Some(dir), Some(leaf)) = (dir, leaf) else {
        return Ok(None);
    };
    let looked = File::open(dir)
        .map_err(|_| rustix::io::Errno::NOENT)
        .and_then(|dir| super::layout::stat_entry(&dir, leaf));
    match looked {
        Ok(about) => Ok(Some(identity_of(&about))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(Error::io(
            format!("cannot look at '{}'", path.display()),
            e.into(),
        )),
    }
}

impl Dir {
    pub(super) fn create_volume(&self, spec: &CreateSpec, scope: &dyn Scope) -> Result<Outcome> {
        let place = place_of(&spec.name)?;
        place.check_new()?;
        if place.base.is_some() {
            return Err(Error::usage(format!(
                "'{}' is the name of a linked clone, not of a new volume",
                spec.name
            )));
        }
        self.fits_name(&place, spec.format)?;
        check_size(&self.shown(&spec.name), spec.size)?;
        let needed = match spec.preallocation {
            Preallocation::Off | Preallocation::Metadata => 1 << 20,
            Preallocation::Falloc | Preallocation::Full => spec.size.get(),
        };
        let doing = format!("to create '{}'", spec.name);
        self.build(&place, scope, (&doing, needed), |file, _| {
            match spec.format {
                ImageFormat::Qcow2 => qcow2::create(
                    file,
                    &NewImage {
                        size: spec.size,
                        cluster_size: CLUSTER,
                        preallocation: spec.preallocation,
                        backing: None,
                    },
                ),
                _ => fill_raw(file, spec.size, spec.preallocation)
                    .map_err(|e| Error::io(format!("cannot write volume '{}'", spec.name), e)),
            }
        })
    }

    /// The format asked for is the one the name says, and one that can be made.
    fn fits_name(&self, place: &Place, format: ImageFormat) -> Result<()> {
        if place.format != format {
            return Err(Error::usage(format!(
                "illegal name '{}' - wrong extension for format ('{}' != '{format}')",
                place.leaf, place.format
            )));
        }
        self.served(&place.name, format)
    }

    /// Builds `place` with `work` under a hidden name. `AlreadySo` when this operation had finished it before.
    fn build(
        &self,
        place: &Place,
        scope: &dyn Scope,
        (doing, needed): (&str, u64),
        work: impl FnOnce(&File, &Path) -> Result<()>,
    ) -> Result<Outcome> {
        self.mend_renames(place)?;
        let target = self.layout.file(place);
        if let Some(about) = self.layout.look(place)? {
            let noted = scope.noted(&key(&place.name));
            if noted.as_deref() == Some(&identity_of(&about).0) {
                return Ok(Outcome::AlreadySo);
            }
            return Err(Error::conflict(format!(
                "disk image '{}' already exists",
                target.display()
            ))
            .hint("choose another name, or let one be chosen"));
        }
        if !self.layout.snapshot_names(place)?.is_empty() {
            return Err(Error::conflict(format!(
                "snapshots of an earlier volume '{}' are still there",
                self.shown(&place.name)
            ))
            .hint(format!(
                "finish its removal: pvesm free {}",
                self.shown(&place.name)
            )));
        }
        let temporary = self.layout.temporary(place, scope.op());
        let built = self
            .build_at(place, scope, &temporary, work)
            .and_then(|()| fs::rename_new(&temporary, &target));
        if let Err(error) = built {
            let _ = fs::remove_file(&temporary);
            fs::remove_dir_if_empty(&self.layout.owner_dir(&place.owner));
            return Err(self.explain_space(error, doing, needed));
        }
        Ok(Outcome::Changed)
    }

    fn build_at(
        &self,
        place: &Place,
        scope: &dyn Scope,
        temporary: &Path,
        work: impl FnOnce(&File, &Path) -> Result<()>,
    ) -> Result<()> {
        let owner = self.layout.owner_dir(&place.owner);
        let fresh = !owner.is_dir();
        fs::create_dirs(&owner)?;
        if fresh {
            for dir in [
                Some(self.layout.images().as_path()),
                self.layout.images().parent(),
            ] {
                dir.map_or(Ok(()), fs::sync_dir)?;
            }
        }
        fs::remove_file(temporary)?;
        let file = fs::create_new(temporary, MODE)?;
        let io = |e| Error::io(format!("cannot write '{}'", temporary.display()), e);
        fs::set_mode(&file, MODE).map_err(io)?;
        work(&file, temporary)?;
        fs::sync_all(&file).map_err(io)?;
        let identity = identity_of_file(temporary)?
            .ok_or_else(|| Error::not_found(format!("'{}' vanished", temporary.display())))?;
        scope.note(&key(&place.name), &identity.0)
    }

    pub(super) fn withdraw_volume(&self, name: &VolumeName, scope: &dyn Scope) -> Result<Outcome> {
        let place = place_of(name)?;
        self.layout.check_online()?;
        let mut changed = fs::remove_file(&self.layout.temporary(&place, scope.op()))?;
        let target = self.layout.file(&place);
        if let Some(noted) = scope.noted(&key(name))
            && self
                .layout
                .look(&place)?
                .is_some_and(|about| identity_of(&about).0 == noted)
        {
            self.clear_immutable(&target);
            changed |= fs::remove_file(&target)?;
        }
        fs::remove_dir_if_empty(&self.layout.owner_dir(&place.owner));
        Ok(if changed {
            Outcome::Changed
        } else {
            Outcome::AlreadySo
        })
    }

    pub(super) fn clone_volume(&self, spec: &CloneSpec, scope: &dyn Scope) -> Result<Outcome> {
        let source = place_of(&spec.source)?;
        let target = place_of(&spec.target)?;
        target.check_new()?;
        self.fits_name(&target, spec.format)?;
        self.served(&spec.source, source.format)?;
        self.layout.require(&source)?;
        match spec.mode {
            CloneMode::Linked => self.clone_linked(spec, &source, &target, scope),
            CloneMode::Full => self.clone_full(spec, &source, &target, scope),
        }
    }

    fn clone_linked(
        &self,
        spec: &CloneSpec,
        source: &Place,
        target: &Place,
        scope: &dyn Scope,
    ) -> Result<Outcome> {
        if !source.is_base || spec.snapshot.is_some() {
            return Err(Error::unsupported(format!(
                "volume '{}' is not a base image, only those can have linked clones",
                self.shown(&spec.source)
            ))
            .hint("make the VM a template first, or clone with --full"));
        }
        if target.format != ImageFormat::Qcow2 {
            return Err(Error::unsupported(format!(
                "a linked clone on storage '{}' has format qcow2, not {}",
                self.layout.id, target.format
            )));
        }
        let wanted = (source.owner.clone(), source.leaf.clone());
        if target.base.as_ref() != Some(&wanted) {
            return Err(Error::usage(format!(
                "'{}' does not name its base '{}'",
                spec.target,
                source.plain()
            ))
            .hint(format!(
                "the name is '{}/{}'",
                source.plain(),
                target.plain()
            )));
        }
        // Held open while the clone is made, so that the base cannot be opened for writing meanwhile.
        let base = self.open_volume(&spec.source, None, OpenMode::ReadOnly)?;
        let new = NewImage {
            size: base.geometry().size,
            cluster_size: CLUSTER,
            preallocation: Preallocation::Off,
            backing: Some((format!("../{}", source.plain()), source.format)),
        };
        let doing = format!("to clone '{}'", spec.source);
        self.build(target, scope, (&doing, 1 << 20), |file, _| {
            qcow2::create(file, &new)
        })
    }

    fn clone_full(
        &self,
        spec: &CloneSpec,
        source: &Place,
        target: &Place,
        scope: &dyn Scope,
    ) -> Result<Outcome> {
        if target.base.is_some() {
            return Err(Error::usage(format!(
                "'{}' is the name of a linked clone, but a full one is to be made",
                spec.target
            )));
        }
        let from = self.open_volume(&spec.source, spec.snapshot.as_ref(), OpenMode::ReadOnly)?;
        let size = from.geometry().size;
        let doing = format!("to clone '{}'", spec.source);
        self.build(target, scope, (&doing, size.get()), |file, path| {
            if target.format == ImageFormat::Raw {
                if source.format == ImageFormat::Raw
                    && self.share_blocks(source, spec.snapshot.as_ref(), file)?
                {
                    return Ok(());
                }
                fill_raw(file, size, Preallocation::Off)
                    .map_err(|e| Error::io(format!("cannot write '{}'", path.display()), e))?;
            } else {
                let new = NewImage {
                    size,
                    cluster_size: CLUSTER,
                    preallocation: Preallocation::Metadata,
                    backing: None,
                };
                qcow2::create(file, &new)?;
            }
            let options = FileOptions {
                writable: true,
                direct: false,
            };
            let to: Arc<dyn BlockDevice> = match target.format {
                ImageFormat::Qcow2 => Arc::new(qcow2::Qcow2::open(
                    open_locked(path, options)?,
                    path,
                    true,
                    None,
                )?),
                _ => super::open::raw_device(path, true)?,
            };
            copy_range(from.as_ref(), to.as_ref(), &mut |_, _| {})?;
            to.flush()
        })
    }

    /// True when the target now shares all blocks of the source; false where the file system cannot.
    fn share_blocks(
        &self,
        source: &Place,
        snapshot: Option<&SnapshotName>,
        target: &File,
    ) -> Result<bool> {
        if !self.can_reflink() {
            return Ok(false);
        }
        let path = match snapshot {
            None => self.layout.file(source),
            Some(snapshot) => self.layout.snapshot_file(source, snapshot),
        };
        let from = File::open(&path)
            .map_err(|e| Error::io(format!("cannot open '{}'", path.display()), e))?;
        match reflink(&from, target) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::Unsupported => Ok(false),
            Err(e) => Err(e),
        }
    }
}

fn fill_raw(file: &File, size: ByteCount, preallocation: Preallocation) -> std::io::Result<()> {
    fs::set_len(file, size.get())?;
    if size.get() == 0 {
        return Ok(());
    }
    match preallocation {
        // A raw image has no metadata of its own.
        Preallocation::Off | Preallocation::Metadata => Ok(()),
        Preallocation::Falloc => {
            fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size.get())
        }
        Preallocation::Full => {
            // Reserved first where that can be done, so that a full disk is noticed at once.
            match fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size.get()) {
                Err(e) if e.kind() == std::io::ErrorKind::Unsupported => {}
                other => other?,
            }
            let zeros = vec![0u8; ZEROS];
            let mut at = 0;
            while at < size.get() {
                let part = (size.get() - at).min(ZEROS as u64);
                let part = usize::try_from(part).unwrap_or(ZEROS);
                fs::write_at(file, at, &zeros[..part])?;
                at += part as u64;
            }
            Ok(())
        }
    }
}
