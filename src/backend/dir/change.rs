//! Verbs on a volume that is there: destroy, resize, rename, protect; none touches another volume than the one named.

use super::layout::{Place, place_of};
use super::list::{identity_of, linked_parent};
use super::make::check_size;
use super::{Backend, Dir};
use crate::block::BlockDevice;
use crate::model::{
    ByteCount, Error, ErrorKind, Identity, ImageFormat, Outcome, Result, VolumeName,
};
use crate::sys::fs;
use std::fs::File;
use std::path::Path;

const MODE_WRITABLE: u32 = 0o640;
const MODE_PROTECTED: u32 = 0o444;

impl Dir {
    /// Volumes that have this one as their backing file.
    fn dependents(&self, place: &Place) -> Result<Vec<VolumeName>> {
        let all = self.inventory()?;
        Ok(all
            .volumes
            .into_iter()
            .filter(|volume| {
                let Ok(own) = place_of(&volume.name) else {
                    return false;
                };
                let Some(parent) = volume.parent.as_deref() else {
                    return false;
                };
                match linked_parent(parent) {
                    Some((owner, leaf)) => owner == place.owner && leaf == place.leaf,
                    None => own.owner == place.owner && parent == place.leaf,
                }
            })
            .map(|volume| volume.name)
            .collect())
    }

    fn check_no_dependents(&self, place: &Place) -> Result<()> {
        let clones = self.dependents(place)?;
        let Some(first) = clones.first() else {
            return Ok(());
        };
        Err(Error::conflict(format!(
            "base volume '{}' is still in use by linked clones",
            place.plain()
        ))
        .hint(format!(
            "remove its {} clone(s) first, for example '{}'",
            clones.len(),
            self.shown(first)
        )))
    }

    /// `Busy` when anybody has the image open; the answer holds as long as the file lives.
    fn check_free(&self, place: &Place) -> Result<File> {
        let path = self.layout.file(place);
        let file = File::open(&path)
            .map_err(|e| Error::io(format!("cannot open '{}'", path.display()), e))?;
        // The locks of a writer need no right to write, so base images are covered too.
        crate::block::lock::take(&file, &path, true)?;
        Ok(file)
    }

    pub(super) fn clear_immutable(&self, path: &Path) {
        // Best effort: where the flag cannot be read there is none, and where it cannot be cleared the next call says so.
        if let Ok(file) = File::open(path) {
            let _ = fs::set_immutable(&file, false);
        }
    }

    pub(super) fn destroy_volume(
        &self,
        name: &VolumeName,
        identity: Option<&Identity>,
    ) -> Result<Outcome> {
        let place = place_of(name)?;
        self.served(name, place.format)?;
        self.layout.check_online()?;
        self.mend_renames(&place)?;
        let mut changed = false;
        if let Some(about) = self.look_to_destroy(&place)? {
            if identity.is_some_and(|wanted| *wanted != identity_of(&about)) {
                return Err(Error::conflict(format!(
                    "volume '{}' is not the one that was planned for",
                    self.shown(name)
                ))
                .hint("somebody replaced it meanwhile; look at it and give the command again"));
            }
            self.check_no_dependents(&place)?;
            self.check_no_chain(&place)?;
            let is_file = rustix::fs::FileType::from_raw_mode(about.stx_mode.into()).is_file();
            let _held = is_file.then(|| self.check_free(&place)).transpose()?;
            let path = self.layout.file(&place);
            if is_file {
                self.clear_immutable(&path);
            }
            // From here on the volume is gone; a repeat removes what is left of it.
            changed |= fs::remove_file(&path)?;
        }
        changed |= self.remove_remains(&place)?;
        fs::remove_dir_if_empty(&self.layout.owner_dir(&place.owner));
        Ok(if changed {
            Outcome::Changed
        } else {
            Outcome::AlreadySo
        })
    }

    /// A symbolic link in a volume's place may be removed (the link, not what it leads to).
    fn look_to_destroy(&self, place: &Place) -> Result<Option<rustix::fs::Statx>> {
        match self.layout.look(place) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                let dir = self.layout.owner_dir(&place.owner);
                let link = self.layout.file(place);
                let is_link = dir.symlink_metadata().is_ok_and(|d| d.is_dir())
                    && link.symlink_metadata().is_ok_and(|f| f.is_symlink());
                if !is_link {
                    return Err(error);
                }
                let looked = File::open(&dir)
                    .ok()
                    .and_then(|dir| super::layout::stat_entry(&dir, place.leaf.as_ref()).ok());
                looked.map(Some).ok_or(error)
            }
            other => other,
        }
    }

    /// Snapshots kept as files that back each other belong to the volume; without knowing them we leave it alone.
    fn check_no_chain(&self, place: &Place) -> Result<()> {
        let tail = format!("-{}", place.leaf);
        let names = self.layout.names_of(&place.owner)?;
        let link = names
            .iter()
            .find(|name| name.starts_with("snap-") && name.ends_with(&tail));
        match link {
            None => Ok(()),
            Some(link) => Err(Error::unsupported(format!(
                "volume '{}' has a snapshot kept as a volume chain ('{link}'), which is not supported",
                self.shown(&place.name)
            ))
            .hint("delete the snapshots with Proxmox VE first")),
        }
    }

    /// Reflink snapshots and temporary files of a volume that is gone.
    fn remove_remains(&self, place: &Place) -> Result<bool> {
        let mut changed = self.remove_temporaries(place)?;
        if place.format == ImageFormat::Raw {
            for snapshot in self.layout.snapshot_names(place)? {
                changed |= fs::remove_file(&self.layout.snapshot_file(place, &snapshot))?;
            }
        }
        Ok(changed)
    }

    pub(super) fn resize_volume(&self, name: &VolumeName, size: ByteCount) -> Result<Outcome> {
        let place = place_of(name)?;
        let shown = self.shown(name);
        self.served(name, place.format)?;
        let about = self.layout.require(&place)?;
        check_size(&shown, size)?;
        if about.stx_mode & 0o222 == 0 {
            return Err(Error::unsupported(format!(
                "volume '{shown}' is write-protected and cannot be resized"
            )));
        }
        let doing = format!("to resize '{name}'");
        let check = |now: ByteCount| {
            if size < now {
                return Err(
                    Error::unsupported("shrinking disks is not supported").hint(format!(
                        "volume '{shown}' has {} bytes; name a larger size",
                        now.get()
                    )),
                );
            }
            Ok(size == now)
        };
        let done = if place.format == ImageFormat::Raw {
            let file = self.locked(&place, true)?;
            let io = |e| Error::io(format!("cannot resize volume '{shown}'"), e);
            let now = file.metadata().map_err(io)?.len();
            if check(ByteCount(now))? {
                return Ok(Outcome::AlreadySo);
            }
            fs::set_len(&file, size.get())
                .and_then(|()| fs::sync_all(&file))
                .map_err(io)
        } else {
            let image = self.open_qcow2(&place, true)?;
            if check(image.geometry().size)? {
                return Ok(Outcome::AlreadySo);
            }
            image.resize(size).and_then(|()| image.flush())
        };
        done.map_err(|e| self.explain_space(e, &doing, 1 << 20))?;
        Ok(Outcome::Changed)
    }

    pub(super) fn rename_volume(&self, from: &VolumeName, to: &VolumeName) -> Result<Outcome> {
        let (old, new) = (place_of(from)?, place_of(to)?);
        self.served(from, old.format)?;
        new.check_new()?;
        if old.format != new.format {
            return Err(Error::usage(format!(
                "cannot rename '{from}' to '{to}': the extension decides the format"
            )));
        }
        self.layout.check_online()?;
        self.mend_renames(&old)?;
        self.mend_renames(&new)?;
        if old.same_file(&new) {
            self.layout.require(&old)?;
            return Ok(Outcome::AlreadySo);
        }
        let (there, taken) = (self.layout.look(&old)?, self.layout.look(&new)?);
        if there.is_none() {
            return match taken {
                Some(_) => Ok(Outcome::AlreadySo),
                None => Err(self.layout.missing(&old)),
            };
        }
        if taken.is_some() || !self.layout.snapshot_names(&new)?.is_empty() {
            return Err(Error::conflict(format!(
                "target image '{}' already exists",
                self.shown(to)
            )));
        }
        self.check_no_dependents(&old)?;
        self.check_no_chain(&old)?;
        let held = self.check_free(&old)?;
        let protected = fs::set_immutable(&held, false).unwrap_or(false);
        fs::create_dirs(&self.layout.owner_dir(&new.owner))?;
        let done = self.move_volume(&old, &new);
        if protected {
            let _ = fs::set_immutable(&held, true);
        }
        if done.is_err() {
            fs::remove_dir_if_empty(&self.layout.owner_dir(&new.owner));
        }
        done?;
        fs::remove_dir_if_empty(&self.layout.owner_dir(&old.owner));
        Ok(Outcome::Changed)
    }

    pub(super) fn protect_volume(&self, name: &VolumeName, read_only: bool) -> Result<Outcome> {
        let place = place_of(name)?;
        self.served(name, place.format)?;
        let about = self.layout.require(&place)?;
        let path = self.layout.file(&place);
        let io = |e| Error::io(format!("cannot change the mode of '{}'", path.display()), e);
        let file = File::open(&path).map_err(io)?;
        let mode = u32::from(about.stx_mode) & 0o777;
        if read_only {
            let mut changed = false;
            if mode & 0o222 != 0 {
                drop(self.check_free(&place)?);
                fs::set_mode(&file, MODE_PROTECTED).map_err(io)?;
                fs::sync_all(&file).map_err(io)?;
                changed = true;
            }
            // Only an addition: many file systems and processes cannot.
            let _ = fs::set_immutable(&file, true);
            return Ok(if changed {
                Outcome::Changed
            } else {
                Outcome::AlreadySo
            });
        }
        let _ = fs::set_immutable(&file, false);
        if mode & 0o200 != 0 {
            return Ok(Outcome::AlreadySo);
        }
        self.check_no_dependents(&place)?;
        fs::set_mode(&file, MODE_WRITABLE).map_err(io)?;
        fs::sync_all(&file).map_err(io)?;
        Ok(Outcome::Changed)
    }
}
