//! `qm rescan`: sizes in configs follow the storages, orphan volumes become unused entries; a locked machine or dead storage is skipped.

use super::draft::{Draft, Edit};
use super::{Intent, Plan, Step, World, check, naming};
use crate::format::vm_config::Section;
use crate::model::{ByteCount, Error, Identity, Result, VmId, VolumeId, VolumeInfo};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The volumes of all storages that could be asked, by id and by owner.
struct Seen<'w> {
    by_id: HashMap<VolumeId, &'w VolumeInfo>,
    /// In the order of volume ids.
    by_owner: BTreeMap<u32, Vec<(VolumeId, &'w VolumeInfo)>>,
}

impl<'w> Seen<'w> {
    fn of(draft: &mut Draft<'w>) -> Self {
        let world = draft.world;
        let mut seen = Seen {
            by_id: HashMap::new(),
            by_owner: BTreeMap::new(),
        };
        for (storage, view) in &world.storages {
            let inventory = match &view.inventory {
                Ok(inventory) => inventory,
                Err(reason) => {
                    if view.section.enabled() {
                        draft.note(format!("storage '{storage}' skipped: {reason}"));
                    }
                    continue;
                }
            };
            for info in &inventory.volumes {
                let id = VolumeId::new(storage.clone(), info.name.clone());
                if let Some(owner) = info.owner {
                    seen.by_owner
                        .entry(owner)
                        .or_default()
                        .push((id.clone(), info));
                }
                // Configs may name a linked clone without its base.
                let own = naming::tail(info.name.as_str());
                if own != info.name.as_str()
                    && let Ok(short) = crate::model::VolumeName::parse(own)
                {
                    seen.by_id
                        .insert(VolumeId::new(storage.clone(), short), info);
                }
                seen.by_id.insert(id, info);
            }
        }
        for volumes in seen.by_owner.values_mut() {
            volumes.sort_by_cached_key(|(id, _)| id.to_string());
        }
        seen
    }
}

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::Rescan { vmid } = intent else {
        return Err(check::wrong_planner(intent));
    };
    if let Some(vmid) = vmid {
        world.machine(*vmid)?;
    }
    let mut draft = Draft::new(world, intent);
    draft.done("rescan volumes...");
    let seen = Seen::of(&mut draft);
    for (id, view) in &world.machines {
        if vmid.is_some_and(|wanted| wanted != *id) {
            continue;
        }
        if let Some(lock) = view.config.get(&Section::Main, "lock") {
            draft.note(format!("VM {id} skipped: VM is locked ({lock})"));
            continue;
        }
        let checked = check::drives(*id, view, &Section::Main, &["lock"])
            .and_then(|_| check::drives(*id, view, &Section::Pending, &[]));
        if let Err(error) = checked {
            draft.note(format!("VM {id} skipped: {error}"));
            continue;
        }
        machine(&mut draft, &seen, *id)?;
    }
    Ok(draft.finish())
}

fn machine(draft: &mut Draft<'_>, seen: &Seen<'_>, vmid: VmId) -> Result<()> {
    let mut edit = Edit::open(draft.world, vmid)?;
    let mut used: HashSet<VolumeId> = HashSet::new();
    // The same volume under another storage id has the same identity.
    let mut same: HashSet<&Identity> = HashSet::new();
    let all = edit.config.drives(&Section::Main);
    let mut lines = Vec::new();
    for (slot, drive) in all.iter().filter(|(slot, _)| !slot.is_unused()) {
        let Some(id) = drive.volume() else { continue };
        used.insert(id.clone());
        let Some(info) = seen.by_id.get(id) else {
            continue;
        };
        used.insert(check::listed(id, info));
        same.insert(&info.identity);
        // A machine only uses a foreign volume: its owner keeps book of the size.
        if drive.is_cdrom() || info.owner != Some(vmid.get()) {
            continue;
        }
        let written = drive.size().unwrap_or(ByteCount(0));
        if let Some(size) = info.size.filter(|s| *s != written) {
            lines.push(format!(
                "VM {vmid} ({slot}): size of disk '{id}' updated from {written} to {size}"
            ));
            let mut drive = drive.clone();
            drive.set_option("size", Some(&size.to_string()));
            edit.config
                .set(&Section::Main, &slot.to_string(), &drive.to_string());
        }
    }
    let mut listed: HashSet<VolumeId> = HashSet::new();
    for (slot, drive) in all.iter().filter(|(slot, _)| slot.is_unused()) {
        let Some(id) = drive.volume() else { continue };
        let info = seen.by_id.get(id);
        if used.contains(id) || info.is_some_and(|i| same.contains(&i.identity)) {
            lines.push(format!(
                "VM {vmid} remove entry '{slot}', its volume '{id}' is in use"
            ));
            edit.config.remove(&Section::Main, &slot.to_string());
            continue;
        }
        listed.insert(id.clone());
        if let Some(info) = info {
            listed.insert(check::listed(id, info));
            same.insert(&info.identity);
        }
    }
    // A pending drive is a reference too: the writer would take the entry out again at once.
    for (_, drive) in edit.config.drives(&Section::Pending) {
        let Some(id) = drive.volume() else { continue };
        used.insert(id.clone());
        if let Some(info) = seen.by_id.get(id) {
            used.insert(check::listed(id, info));
            same.insert(&info.identity);
        }
    }
    let recorded = fleecing(&edit);
    let owned = seen
        .by_owner
        .get(&vmid.get())
        .map_or(&[][..], Vec::as_slice);
    for (id, info) in owned {
        let known = used.contains(id)
            || listed.contains(id)
            || same.contains(&info.identity)
            || recorded.contains(&id.to_string());
        if known
            || naming::is_state(&info.name, info.owner)
            || naming::untrash_name(&info.name).is_some()
        {
            continue;
        }
        if naming::is_cloudinit(&info.name) {
            if check::snapshot_using(&edit.config, id).is_some() {
                continue;
            }
            lines.push(format!("found unused cloudinit disk '{id}', removing it"));
            draft.push_last(Step::DestroyVolume {
                volume: id.clone(),
                identity: info.identity.clone(),
            });
            continue;
        }
        match naming::add_unused(&mut edit.config, id) {
            Ok(Some(slot)) => {
                lines.push(format!(
                    "VM {vmid} add unreferenced volume '{id}' as '{slot}' to config"
                ));
                same.insert(&info.identity);
            }
            Ok(None) => {}
            Err(full) => {
                draft.note(format!(
                    "VM {vmid}: {full} ('{id}' and later ones are not added)"
                ));
                break;
            }
        }
    }
    for line in lines {
        draft.done(line);
    }
    edit.save(draft);
    Ok(())
}

/// Backup images that `[special:fleecing]` records: in use or left over, never unused disks.
fn fleecing(edit: &Edit) -> HashSet<String> {
    edit.config
        .get(&Section::Special("fleecing".to_owned()), "fleecing-images")
        .unwrap_or_default()
        .split([',', ';', ' '])
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
        .collect()
}

/// For callers that print a whole rescan: nothing was wrong with any machine or storage.
pub fn complete(plan: &Plan) -> std::result::Result<(), Error> {
    match plan.notes.first() {
        None => Ok(()),
        Some(first) => Err(Error::failed(format!("rescan is incomplete: {first}"))),
    }
}
