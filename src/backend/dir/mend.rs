//! What a crash can leave in a directory storage, and its end: hidden temporary files, half a rename, leaked clusters.
//!
//! A rename of a volume with reflink snapshots is several renames. A note (a symbolic link whose text is the new name) stands
//! beside the volume from before the first until after the last of them. The volume itself moves first: before that the note
//! means nothing, afterwards every snapshot left behind belongs to the new name.

use super::Dir;
use super::layout::{Place, is_owner, place_of};
use crate::model::{ErrorKind, ImageFormat, Outcome, Result, VolumeName};
use crate::sys::fs;

impl Dir {
    /// The caller has checked that nothing stands in the way.
    pub(super) fn move_volume(&self, old: &Place, new: &Place) -> Result<()> {
        let (from, to) = (self.layout.file(old), self.layout.file(new));
        if self.layout.snapshot_names(old)?.is_empty() {
            return fs::rename_new(&from, &to);
        }
        let note = self.layout.rename_note(old);
        fs::symlink_note(&new.plain(), &note)?;
        if let Err(error) = fs::rename_new(&from, &to) {
            let _ = fs::remove_file(&note);
            return Err(error);
        }
        self.move_snapshots(old, new)?;
        fs::remove_file(&note)?;
        Ok(())
    }

    fn move_snapshots(&self, old: &Place, new: &Place) -> Result<()> {
        for snapshot in self.layout.snapshot_names(old)? {
            fs::rename_new(
                &self.layout.snapshot_file(old, &snapshot),
                &self.layout.snapshot_file(new, &snapshot),
            )?;
        }
        Ok(())
    }

    /// Every note of a rename under way in this storage: (old, new).
    fn rename_notes(&self) -> Result<Vec<(Place, Place)>> {
        let mut found = Vec::new();
        let Ok(entries) = std::fs::read_dir(self.layout.images()) else {
            return Ok(found);
        };
        for entry in entries.flatten() {
            let Ok(owner) = entry.file_name().into_string() else {
                continue;
            };
            if !is_owner(&owner) || !entry.file_type().is_ok_and(|t| t.is_dir()) {
                continue;
            }
            for name in self.layout.names_of(&owner)? {
                let Some(leaf) = name
                    .strip_prefix('.')
                    .and_then(|n| n.strip_suffix(".renamed-to"))
                else {
                    continue;
                };
                let text = std::fs::read_link(entry.path().join(&name))
                    .ok()
                    .and_then(|text| text.to_str().map(str::to_owned));
                let read = |text: String| VolumeName::parse(&text).and_then(|n| place_of(&n)).ok();
                if let (Some(old), Some(new)) =
                    (read(format!("{owner}/{leaf}")), text.and_then(read))
                {
                    found.push((old, new));
                }
            }
        }
        Ok(found)
    }

    /// Ends every interrupted rename that has this volume on either side. True when something was changed.
    pub(super) fn mend_renames(&self, place: &Place) -> Result<bool> {
        let mut changed = false;
        if place.format != ImageFormat::Raw {
            return Ok(changed);
        }
        for (old, new) in self.rename_notes()? {
            if !old.same_file(place) && !new.same_file(place) {
                continue;
            }
            if self.layout.look(&old)?.is_none() && self.layout.look(&new)?.is_some() {
                self.move_snapshots(&old, &new)?;
            }
            changed |= fs::remove_file(&self.layout.rename_note(&old))?;
            fs::remove_dir_if_empty(&self.layout.owner_dir(&old.owner));
        }
        Ok(changed)
    }

    /// Hidden files an operation on this volume may have left: `.LEAF.OP.tmp` and `.LEAF@SNAPSHOT.tmp`.
    pub(super) fn remove_temporaries(&self, place: &Place) -> Result<bool> {
        let mut changed = false;
        for name in self.layout.names_of(&place.owner)? {
            let middle = name
                .strip_prefix('.')
                .and_then(|n| n.strip_prefix(place.leaf.as_str()))
                .and_then(|n| n.strip_suffix(".tmp"))
                .and_then(|n| n.strip_prefix(['.', '@']));
            // Neither operation ids nor snapshot names hold a dot, so no longer volume name fits by accident.
            if middle.is_some_and(|m| !m.is_empty() && !m.contains('.')) {
                changed |= fs::remove_file(&self.layout.owner_dir(&place.owner).join(&name))?;
            }
        }
        Ok(changed)
    }

    pub(super) fn repair_volume(&self, name: &VolumeName) -> Result<Outcome> {
        let place = place_of(name)?;
        self.layout.check_online()?;
        let mut changed = self.mend_renames(&place)?;
        changed |= self.remove_temporaries(&place)?;
        fs::remove_dir_if_empty(&self.layout.owner_dir(&place.owner));
        let about = self.layout.require(&place)?;
        if place.format == ImageFormat::Qcow2 && about.stx_mode & 0o222 != 0 {
            // Behind an image whose header cannot be read there is nothing a crash of ours could have left.
            match self.open_qcow2(&place, true) {
                Ok(image) => changed |= image.repair()?,
                Err(e) if e.kind() == ErrorKind::Integrity => {}
                Err(e) => return Err(e),
            }
        }
        Ok(if changed {
            Outcome::Changed
        } else {
            Outcome::AlreadySo
        })
    }
}
