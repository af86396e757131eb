//! Destroying a machine: a visible lock, its volumes one by one, its config last, so that a dying worker leaves all names.

use super::draft::{Draft, Edit};
use super::sections::Sections;
use super::world::VmView;
use super::{Intent, Plan, Step, World, check, naming};
use crate::format::vm_config::Section;
use crate::model::{Error, ErrorKind, Result, VmId, VolumeId};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::VmDestroy {
        vmid,
        purge: _,
        destroy_unreferenced,
        skiplock,
    } = intent
    else {
        return Err(check::wrong_planner(intent));
    };
    let vmid = *vmid;
    let mut draft = Draft::new(world, intent);
    let view = world.machine(vmid)?;
    check::unprotected(&view.config, vmid, &format!("can't remove VM {vmid}"))?;
    if view.running.is_some() {
        return Err(
            Error::busy(format!("VM {vmid} is running - destroy failed"))
                .hint(format!("stop it first: qm stop {vmid}")),
        );
    }
    let lock = view.config.get(&Section::Main, "lock");
    let tolerated = matches!(lock.as_deref(), Some("suspended" | "destroyed"));
    if !skiplock && !tolerated {
        check::unlocked(vmid, &view.config)?;
    }
    let mut doomed = BTreeMap::new();
    for id in named_volumes(vmid, view)? {
        match check::volume(world, &id) {
            Ok((_, info)) if info.owner == Some(vmid.get()) => {
                doomed.insert(check::listed(&id, info), info);
            }
            Ok(_) => draft.note(format!("volume '{id}' belongs to another VM and stays")),
            Err(e) if e.kind() == ErrorKind::Offline => {
                return Err(e.hint(format!(
                    "volume '{id}' would be left behind: bring the storage back, or detach it first"
                )));
            }
            Err(e) => draft.note(format!("volume '{id}' is not freed: {e}")),
        }
    }
    if *destroy_unreferenced {
        for (storage, seen) in &world.storages {
            let Ok(inventory) = &seen.inventory else {
                draft.note(format!("storage '{storage}' was not searched for volumes"));
                continue;
            };
            for info in &inventory.volumes {
                if info.owner != Some(vmid.get()) {
                    continue;
                }
                let id = VolumeId::new(storage.clone(), info.name.clone());
                if naming::untrash_name(&info.name).is_some() {
                    draft.note(format!("'{id}' stays in the trash until it expires"));
                } else {
                    doomed.insert(id, info);
                }
            }
        }
    }
    // One volume that two storages list is destroyed once.
    let mut seen = BTreeSet::new();
    let mut edit = Edit::open(world, vmid)?;
    edit.config.set(&Section::Main, "lock", "destroyed");
    edit.save(&mut draft);
    draft.commit_here();
    for (id, info) in doomed {
        check::no_dependants(&id, world.inventory(&id.storage)?, info)?;
        not_used_elsewhere(world, vmid, &id)?;
        if seen.insert(&info.identity) {
            draft.push(Step::DestroyVolume {
                volume: id,
                identity: info.identity.clone(),
            });
        }
    }
    edit.remove_file(&mut draft);
    Ok(draft.finish())
}

/// Every volume the config names: drives, unused entries and memory states of now, of pending changes and of all snapshots.
fn named_volumes(vmid: VmId, view: &VmView) -> Result<Vec<VolumeId>> {
    check::readable_anywhere(vmid, view)?;
    let sections = Sections::read(&view.bytes.0);
    let mut found = BTreeSet::new();
    for (section, document) in sections.all() {
        for (_, drive) in check::section_drives(vmid, document, section)? {
            if drive.is_cdrom() && !drive.is_cloudinit() {
                continue;
            }
            found.extend(drive.volume().cloned());
        }
        if let Some(state) = document.get(section, "vmstate") {
            found.extend(VolumeId::parse(&state));
        }
    }
    Ok(found.into_iter().collect())
}

fn not_used_elsewhere(world: &World, vmid: VmId, id: &VolumeId) -> Result<()> {
    let text = id.to_string();
    for (other, view) in &world.machines {
        if *other == vmid || !view.bytes.lossy().contains(&text) {
            continue;
        }
        let used = view
            .config
            .drives(&Section::Main)
            .iter()
            .any(|(_, d)| d.volume() == Some(id));
        if used {
            return Err(Error::conflict(format!(
                "volume '{id}' of VM {vmid} is used by VM {other}"
            ))
            .hint(format!(
                "detach it there first: qm set {other} --delete SLOT"
            )));
        }
    }
    Ok(())
}
