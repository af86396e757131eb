//! Opening a volume's bytes: the format is what the name says, and a backing file is opened only when the volume's own name
//! allows that very file.

use super::layout::{Place, place_of};
use super::raw_live::RawLive;
use super::{Dir, OpenMode};
use crate::block::BlockDevice;
use crate::block::file::{FileOptions, RawFile, open_locked};
use crate::block::qcow2::Qcow2;
use crate::format::qcow2::{SUMMARY_BYTES, summary};
use crate::model::{Error, ImageFormat, Result, SnapshotName, VolumeName};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Images below one another; Proxmox makes two or three.
const MAX_DEPTH: usize = 16;

/// A raw image file, locked.
pub(super) fn raw_device(path: &Path, writable: bool) -> Result<Arc<dyn BlockDevice>> {
    let options = FileOptions {
        writable,
        direct: false,
    };
    RawFile::open(path, options).map(|device| Arc::new(device) as Arc<dyn BlockDevice>)
}

fn refused(shown: &str, backing: &str, why: &str) -> Error {
    let backing: String = backing.chars().take(120).collect();
    Error::integrity(format!(
        "image '{shown}' names the backing file '{}', which {why}",
        backing.escape_debug()
    ))
    .hint("only a base image of the same storage that the volume's own name carries is opened; look at it with: qemu-img info")
}

impl Dir {
    pub(super) fn open_volume(
        &self,
        name: &VolumeName,
        snapshot: Option<&SnapshotName>,
        mode: OpenMode,
    ) -> Result<Arc<dyn BlockDevice>> {
        let place = place_of(name)?;
        self.served(name, place.format)?;
        let about = self.layout.require(&place)?;
        let writable = mode == OpenMode::ReadWrite;
        if writable && snapshot.is_some() {
            return Err(Error::unsupported(format!(
                "snapshots of volume '{}' are read-only",
                self.shown(name)
            )));
        }
        if writable && about.stx_mode & 0o222 == 0 {
            return Err(Error::unsupported(format!(
                "volume '{}' is write-protected",
                self.shown(name)
            ))
            .hint("it is the base image of a template; make a clone and change that"));
        }
        match (place.format, snapshot) {
            (ImageFormat::Raw, None) => {
                let path = self.layout.file(&place);
                let device = raw_device(&path, writable)?;
                if !writable || !self.can_reflink() {
                    return Ok(device);
                }
                Ok(Arc::new(RawLive::new(device, self.layout.clone(), place)))
            }
            (ImageFormat::Raw, Some(snapshot)) => {
                let path = self.layout.snapshot_file(&place, snapshot);
                if self.layout.look_at(&place, &path)?.is_none() {
                    return Err(self.no_snapshot(name, snapshot));
                }
                raw_device(&path, false)
            }
            (_, snapshot) => {
                let image = Arc::new(self.open_qcow2(&place, writable)?);
                match snapshot {
                    None => Ok(image),
                    Some(snapshot) => {
                        let known = image.snapshots()?;
                        if !known.iter().any(|s| s.name == snapshot.as_str()) {
                            return Err(self.no_snapshot(name, snapshot));
                        }
                        image.at_snapshot(snapshot)
                    }
                }
            }
        }
    }

    pub(super) fn no_snapshot(&self, name: &VolumeName, snapshot: &SnapshotName) -> Error {
        Error::not_found(format!(
            "snapshot '{snapshot}' does not exist on '{}'",
            self.shown(name)
        ))
    }

    /// The volume's file, open and locked as needed; the caller has looked that it is a plain file.
    pub(super) fn locked(&self, place: &Place, writable: bool) -> Result<File> {
        open_locked(
            &self.layout.file(place),
            FileOptions {
                writable,
                direct: false,
            },
        )
    }

    /// The image with what its name allows below it. The caller has looked that it is a plain file.
    pub(super) fn open_qcow2(&self, place: &Place, writable: bool) -> Result<Qcow2> {
        let mut above = Vec::new();
        self.open_chain(place, writable, &mut above)
    }

    fn open_chain(&self, place: &Place, writable: bool, above: &mut Vec<String>) -> Result<Qcow2> {
        let path = self.layout.file(place);
        let file = self.locked(place, writable)?;
        let shown = self.shown(&place.name);
        let backing = match backing_name(&file, &path)? {
            None => None,
            Some((name, format)) => {
                above.push(place.plain());
                let below = self.allowed_backing(place, &shown, &name, format, above)?;
                Some(self.open_below(&below, &shown, &name, above)?)
            }
        };
        Qcow2::open(file, &path, writable, backing)
    }

    fn open_below(
        &self,
        below: &Place,
        shown: &str,
        name: &str,
        above: &mut Vec<String>,
    ) -> Result<Arc<dyn BlockDevice>> {
        if above.contains(&below.plain()) {
            return Err(refused(shown, name, "leads back to itself"));
        }
        if above.len() >= MAX_DEPTH {
            return Err(refused(
                shown,
                name,
                &format!("is more than {MAX_DEPTH} images deep"),
            ));
        }
        if self.layout.look(below)?.is_none() {
            return Err(Error::not_found(format!(
                "the backing file '{}' of image '{shown}' does not exist",
                self.layout.file(below).display()
            )));
        }
        match below.format {
            ImageFormat::Raw => {
                let path = self.layout.file(below);
                raw_device(&path, false)
            }
            ImageFormat::Qcow2 => Ok(Arc::new(self.open_chain(below, false, above)?)),
            ImageFormat::Vmdk | ImageFormat::Subvol => {
                Err(refused(shown, name, "is not a raw or qcow2 image"))
            }
        }
    }

    /// The volume a backing name stands for, if `place` may have it below: the base its own name carries (any base image
    /// once below a base image, because only templates are made so), or another image in the same directory.
    fn allowed_backing(
        &self,
        place: &Place,
        shown: &str,
        backing: &str,
        format: Option<ImageFormat>,
        above: &[String],
    ) -> Result<Place> {
        let (owner, leaf) = match backing.strip_prefix("../").and_then(|b| b.split_once('/')) {
            Some((owner, leaf)) => (owner, leaf),
            None if !backing.contains('/') && !backing.contains(':') => {
                (place.owner.as_str(), backing)
            }
            None => return Err(refused(shown, backing, "is not of the form ../OWNER/NAME")),
        };
        let below = VolumeName::parse(&format!("{owner}/{leaf}"))
            .and_then(|name| place_of(&name))
            .ok()
            .filter(|below| below.base.is_none())
            .ok_or_else(|| refused(shown, backing, "is not a volume of this storage"))?;
        if let Some(format) = format
            && format != below.format
        {
            return Err(refused(
                shown,
                backing,
                &format!("is declared as {format} but named as {}", below.format),
            ));
        }
        let named = place
            .base
            .as_ref()
            .is_some_and(|(owner, leaf)| *owner == below.owner && *leaf == below.leaf);
        let sibling = place.base.is_none() && below.owner == place.owner;
        let of_template = above.len() > 1 && place.is_base && below.is_base;
        if (named && below.is_base) || sibling || of_template {
            return Ok(below);
        }
        let full = format!("{}/{}", below.plain(), place.plain());
        let error = refused(shown, backing, "the volume's name does not allow");
        Err(if below.is_base && place.base.is_none() {
            error.hint(format!(
                "if it is a linked clone of that base, use its full name '{}:{full}'",
                self.layout.id
            ))
        } else {
            error
        })
    }
}

/// Backing name and format as the header has them.
fn backing_name(file: &File, path: &Path) -> Result<Option<(String, Option<ImageFormat>)>> {
    let mut head = [0u8; SUMMARY_BYTES];
    let mut done = 0;
    while done < head.len() {
        match file.read_at(&mut head[done..], done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(format!("cannot read '{}'", path.display()), e)),
        }
    }
    let found = summary(&head[..done]).map_err(|e| {
        Error::new(
            e.kind(),
            format!("image '{}': {}", path.display(), e.message()),
        )
    })?;
    Ok(found.backing_name.map(|name| (name, found.backing_format)))
}
