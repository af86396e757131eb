//! One volume by itself: alloc, free, resize, rename; never edits a VM config.

use super::draft::{Draft, NewVolume, kind_of};
use super::sections::Sections;
use super::{Intent, Plan, Step, World, check, naming};
use crate::format::vm_config::Section;
use crate::format::volname;
use crate::model::{ByteCount, Error, Result, SnapshotName, StorageId, VmId, VolumeId, VolumeName};

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let draft = Draft::new(world, intent);
    match intent {
        Intent::VolumeAlloc {
            storage,
            vmid,
            leaf,
            format,
            size,
        } => {
            let leaf = leaf.as_deref().filter(|l| !l.is_empty());
            let wish = NewVolume {
                vmid: *vmid,
                leaf,
                format: *format,
                size: *size,
            };
            alloc(draft, storage, wish)
        }
        Intent::VolumeFree { volume } => free(draft, volume),
        Intent::VolumeResize { volume, to } => resize(draft, volume, *to),
        Intent::VolumeRename { volume, to } => rename(draft, volume, to),
        Intent::VolumeForgetSnapshot { volume, name } => forget_snapshot(draft, volume, name),
        _ => Err(check::wrong_planner(intent)),
    }
}

fn alloc(mut draft: Draft<'_>, storage: &StorageId, wish: NewVolume<'_>) -> Result<Plan> {
    if let (Some(format), Some(named)) = (
        wish.format,
        wish.leaf.and_then(super::draft::format_of_leaf),
    ) && format != named
    {
        return Err(Error::usage(format!(
            "different storage formats specified: name says '{named}', --format says '{format}'"
        )));
    }
    let (id, _) = draft.create_volume(storage, wish)?;
    draft.commit_at_end();
    draft.done(format!("successfully created '{id}'"));
    Ok(draft.finish())
}

/// A running machine that has the volume among its drives.
fn running_user(world: &World, id: &VolumeId) -> Option<(VmId, String)> {
    check::user_of(world, id).filter(|(vmid, _)| {
        world
            .machines
            .get(vmid)
            .is_some_and(|m| m.running.is_some())
    })
}

fn free(mut draft: Draft<'_>, id: &VolumeId) -> Result<Plan> {
    let world = draft.world;
    let (_, info) = check::volume(world, id)?;
    let id = check::listed(id, info);
    check::no_dependants(&id, world.inventory(&id.storage)?, info)?;
    if let Some((vmid, place)) = running_user(world, &id) {
        return Err(Error::busy(format!(
            "volume '{id}' is in use by running VM {vmid} ({place})"
        ))
        .hint(format!("stop it first: qm stop {vmid}")));
    }
    if let Some((vmid, place)) = check::user_of(world, &id) {
        draft.note(format!("VM {vmid} still names '{id}' ({place})"));
    }
    draft.push(Step::DestroyVolume {
        volume: id.clone(),
        identity: info.identity.clone(),
    });
    draft.done(format!("Removed volume '{id}'"));
    Ok(draft.finish())
}

fn resize(mut draft: Draft<'_>, id: &VolumeId, to: ByteCount) -> Result<Plan> {
    let world = draft.world;
    let (facts, info) = check::volume(world, id)?;
    let id = check::listed(id, info);
    let from = super::resize::growable(&id, facts, info)?;
    let to = super::resize::rounded(to)?;
    if to < from {
        return Err(super::resize::shrinking(&id, from, to));
    }
    if to > from {
        draft.push(Step::ResizeVolume {
            live: running_user(world, &id).map(|(vmid, _)| vmid),
            volume: id,
            from,
            to,
        });
    }
    Ok(draft.finish())
}

fn rename(mut draft: Draft<'_>, id: &VolumeId, to: &VolumeName) -> Result<Plan> {
    let world = draft.world;
    let (_, info) = check::volume(world, id)?;
    let id = check::listed(id, info);
    if *to == id.name {
        return Ok(draft.finish());
    }
    let section = &world.storage(&id.storage)?.section;
    let parts = volname::parse(kind_of(section)?, to.as_str())?;
    if parts.content != crate::model::ContentType::Images
        || parts.image_format().is_some_and(|f| f != info.format)
    {
        return Err(Error::usage(format!(
            "'{to}' is no name for '{id}', an image of format '{}'",
            info.format
        )));
    }
    let inventory = world.inventory(&id.storage)?;
    let target = VolumeId::new(id.storage.clone(), to.clone());
    if check::find(inventory, &target).is_some_and(|v| v.name != info.name) {
        return Err(Error::conflict(format!("volume '{target}' already exists")));
    }
    check::no_dependants(&id, inventory, info)?;
    if let Some((vmid, place)) = check::user_of(world, &id) {
        return Err(
            Error::conflict(format!("volume '{id}' is used by VM {vmid} ({place})")).hint(format!(
                "detach it first: qm set {vmid} --delete {}",
                place.split([',', ' ']).next().unwrap_or("scsi0")
            )),
        );
    }
    if naming::tail(to.as_str()) != to.as_str() && info.parent.is_none() {
        return Err(Error::usage(format!(
            "'{to}' names a base, but '{id}' is no linked clone"
        )));
    }
    draft.push(Step::RenameVolume {
        storage: id.storage.clone(),
        from: info.name.clone(),
        to: to.clone(),
        identity: info.identity.clone(),
    });
    draft.commit_at_end();
    Ok(draft.finish())
}

/// Deletes what an audit calls a storage snapshot without section; one that a config records belongs to `qm delsnapshot`.
fn forget_snapshot(mut draft: Draft<'_>, id: &VolumeId, name: &SnapshotName) -> Result<Plan> {
    let world = draft.world;
    let (_, info) = check::volume(world, id)?;
    let id = check::listed(id, info);
    if !info.snapshots.iter().any(|s| s.name == name.as_str()) {
        return Err(
            Error::not_found(format!("volume '{id}' has no snapshot '{name}'"))
                .hint(format!("see its snapshots with: volvisor volume show {id}")),
        );
    }
    for (vmid, view) in &world.machines {
        let recorded = Sections::read(&view.bytes.0)
            .drives()
            .any(|(section, _, drive)| {
                *section == Section::Snapshot(name.to_string())
                    && drive.volume().is_some_and(|v| {
                        v.storage == id.storage
                            && naming::tail(v.name.as_str()) == naming::tail(id.name.as_str())
                    })
            });
        if recorded {
            return Err(Error::conflict(format!(
                "snapshot '{name}' of volume '{id}' is recorded by VM {vmid}"
            ))
            .hint(format!(
                "delete it from all disks with: qm delsnapshot {vmid} {name}"
            )));
        }
    }
    draft.push(Step::DestroySnapshots {
        live: running_user(world, &id).map(|(vmid, _)| vmid),
        volumes: vec![id.clone()],
        name: name.clone(),
    });
    draft.done(format!("Removed snapshot '{name}' of volume '{id}'"));
    Ok(draft.finish())
}
