//! Growing a machine's disk: the volume first, then `size=` in its config; never shrinks.

use super::draft::{Draft, Edit};
use super::intent::SizeWish;
use super::{Intent, Plan, Step, World, check};
use crate::format::vm_config::Section;
use crate::model::{ByteCount, Error, ErrorKind, Facts, Result, VolumeId, VolumeInfo};

/// Sizes are multiples of this many bytes: a disk has whole sectors.
const SECTOR: u64 = 512;

pub(super) fn rounded(size: ByteCount) -> Result<ByteCount> {
    size.align_up(SECTOR)
        .filter(|s| s.get() <= i64::MAX as u64)
        .ok_or_else(|| Error::usage(format!("size {} is too large", size.get())))
}

pub(super) fn shrinking(id: &VolumeId, from: ByteCount, to: ByteCount) -> Error {
    Error::unsupported("shrinking disks is not supported").hint(format!(
        "'{id}' has {from}, {to} was asked for: ask for at least {from}"
    ))
}

/// The size the volume has, if it can be grown.
pub(super) fn growable(id: &VolumeId, facts: &Facts, info: &VolumeInfo) -> Result<ByteCount> {
    if !facts.can_resize {
        return Err(Error::unsupported(format!(
            "storage '{}' cannot resize volumes",
            id.storage
        )));
    }
    if info.is_base {
        return Err(Error::conflict(format!(
            "volume '{id}' is a base image and is never changed"
        ))
        .hint("clone it and resize the clone"));
    }
    info.size.ok_or_else(|| {
        Error::new(
            ErrorKind::Integrity,
            format!(
                "the size of volume '{id}' cannot be read: {}",
                info.problem.as_deref().unwrap_or("unknown reason")
            ),
        )
    })
}

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::DiskResize {
        vmid,
        slot,
        change,
        digest,
    } = intent
    else {
        return Err(check::wrong_planner(intent));
    };
    let mut draft = Draft::new(world, intent);
    let view = world.machine(*vmid)?;
    check::same_digest(view, digest.as_deref())?;
    check::unlocked(*vmid, &view.config)?;
    let key = slot.to_string();
    check::readable(*vmid, view, &Section::Main, |k| k == key)?;
    let drives = view.config.drives(&Section::Main);
    let Some((_, drive)) = drives.iter().find(|(s, _)| s == slot && !slot.is_unused()) else {
        return Err(Error::not_found(format!("disk '{slot}' does not exist"))
            .hint(format!("see the drives of the machine: qm config {vmid}")));
    };
    if drive.is_cdrom() {
        return Err(Error::usage("you can't resize a cdrom"));
    }
    let Some(id) = drive.volume() else {
        return Err(Error::unsupported(format!(
            "disk '{slot}' is no managed volume and cannot be resized"
        )));
    };
    let (facts, info) = check::volume(world, id)?;
    let from = growable(id, facts, info)?;
    let to = match change {
        SizeWish::To(to) => *to,
        SizeWish::Plus(more) => from
            .get()
            .checked_add(more.get())
            .map(ByteCount)
            .ok_or_else(|| Error::usage(format!("size +{} is too large", more.get())))?,
    };
    let to = rounded(to)?;
    if to < from {
        return Err(shrinking(id, from, to));
    }
    if to > from {
        draft.push(Step::ResizeVolume {
            volume: check::listed(id, info),
            from,
            to,
            live: view.running.map(|_| *vmid),
        });
    }
    let mut edit = Edit::open(world, *vmid)?;
    if drive.size() != Some(to) {
        let mut drive = drive.clone();
        drive.set_option("size", Some(&to.to_string()));
        edit.config.set(&Section::Main, &key, &drive.to_string());
    }
    edit.save(&mut draft);
    // A grown volume is never shrunk again, so the size line always follows.
    Ok(draft.finish())
}
