//! Deleting snapshots, one or many in one plan: mark, delete in the storages, relink the tree; works also when some are gone already.

use super::draft::{Draft, Edit};
use super::sections::Sections;
use super::world::VmView;
use super::{Intent, Plan, Step, World, check, naming};
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{Error, ErrorKind, Result, Slot, SnapshotName, VmId, VolumeId, VolumeInfo};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::SnapshotDelete { vmid, name, force } = intent else {
        return Err(check::wrong_planner(intent));
    };
    let mut draft = Draft::new(world, intent);
    let view = world.machine(*vmid)?;
    if !view
        .config
        .has_section(&Section::Snapshot(name.to_string()))
    {
        return Err(
            Error::not_found(format!("snapshot '{name}' does not exist"))
                .hint(format!("list snapshots with: qm listsnapshot {vmid}")),
        );
    }
    let sections = Sections::read(&view.bytes.0);
    remove_snapshots(
        &mut draft,
        *vmid,
        view,
        sections,
        std::slice::from_ref(name),
        *force,
    )?;
    Ok(draft.finish())
}

/// A volume of a doomed snapshot, looked up once however many snapshots name it.
struct Known<'w> {
    id: VolumeId,
    info: &'w VolumeInfo,
    snapshots: HashSet<&'w str>,
}

/// Pushes all steps that delete these snapshots of one machine. `force`: storages that cannot be reached are passed over.
pub(super) fn remove_snapshots(
    draft: &mut Draft<'_>,
    vmid: VmId,
    view: &VmView,
    mut sections: Sections,
    doomed: &[SnapshotName],
    force: bool,
) -> Result<()> {
    if check::is_template(&view.config) {
        return Err(Error::unsupported(
            "you can't delete a snapshot if vm is a template",
        ));
    }
    check::unlocked(vmid, &view.config)?;
    check::drives(vmid, view, &Section::Main, &["lock", "template", "parent"])?;
    let unread = check::unread(view);
    let mut known: HashMap<VolumeId, Option<Known<'_>>> = HashMap::new();
    let mut disks: HashMap<String, Vec<VolumeId>> = HashMap::new();
    let mut work: Vec<(SnapshotName, Vec<VolumeId>)> = Vec::new();
    let mut named: Vec<VolumeId> = Vec::new();
    let mut states = Vec::new();
    for name in doomed {
        let section = Section::Snapshot(name.to_string());
        if unread.iter().any(|u| u.section == section) {
            check::drives(vmid, view, &section, &["parent", "vmstate", "snapstate"])?;
        }
        let Some((document, _)) = sections.document(name) else {
            continue;
        };
        let mut volumes = Vec::new();
        // Sections copy each other's drives: equal texts are read once.
        let mut texts = String::new();
        for (key, value) in document.pairs(&section) {
            if Slot::from_key(key).is_some() {
                texts.extend([key, ":", value, "\n"]);
            }
        }
        let ids = match disks.entry(texts) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let drives = check::section_drives(vmid, document, &section)?;
                let ids = check::disks(&drives).filter_map(|(_, drive)| drive.volume().cloned());
                new.insert(ids.collect::<Vec<VolumeId>>())
            }
        };
        for id in ids.iter() {
            if !known.contains_key(id) {
                let found = look_up(draft, id, force)?;
                named.push(id.clone());
                known.insert(id.clone(), found);
            }
            if let Some(Some(seen)) = known.get(id)
                && seen.snapshots.contains(name.as_str())
            {
                volumes.push(seen.id.clone());
            }
        }
        states.extend(state_volume(draft.world, vmid, document, &section));
        work.push((name.clone(), volumes));
    }

    let mut edit = Edit::open(draft.world, vmid)?;
    let touches_storage = !states.is_empty() || work.iter().any(|(_, v)| !v.is_empty());
    if touches_storage {
        sections.main.set(&Section::Main, "lock", "snapshot-delete");
        for name in doomed {
            sections.set(name, "snapstate", Some("delete"));
        }
        edit.save_text(draft, sections.to_bytes());
    }
    draft.commit_here();
    let live = view.running.map(|_| vmid);
    for (name, volumes) in work {
        if !volumes.is_empty() {
            draft.push(Step::DestroySnapshots {
                volumes,
                name,
                live,
            });
        }
    }
    for (volume, info) in states {
        draft.push(Step::DestroyVolume {
            volume,
            identity: info.identity.clone(),
        });
    }
    sections.main.remove(&Section::Main, "lock");
    relink(&mut sections, doomed);
    for name in doomed {
        sections.drop_snapshot(name);
    }
    for id in named {
        let owned = known
            .get(&id)
            .and_then(Option::as_ref)
            .is_some_and(|k| k.info.owner == Some(vmid.get()));
        if owned && let Some(slot) = naming::add_unused(&mut sections.main, &id)? {
            draft.note(format!(
                "volume '{id}' was only in the snapshot and becomes {slot}"
            ));
        }
    }
    edit.save_text(draft, sections.to_bytes());
    Ok(())
}

/// `None`: the volume is gone (or, with `force`, out of reach), so there is nothing of it to delete.
fn look_up<'w>(draft: &mut Draft<'w>, id: &VolumeId, force: bool) -> Result<Option<Known<'w>>> {
    match check::volume(draft.world, id) {
        Ok((_, info)) => {
            if let (Some(problem), false) = (&info.problem, force) {
                return Err(
                    Error::integrity(format!("volume '{id}' cannot be read: {problem}")).hint(
                        "with --force the section is removed and the volume is left as it is",
                    ),
                );
            }
            Ok(Some(Known {
                id: check::listed(id, info),
                snapshots: info.snapshots.iter().map(|s| s.name.as_str()).collect(),
                info,
            }))
        }
        Err(error)
            if error.kind() == ErrorKind::NotFound && draft.world.storage(&id.storage).is_ok() =>
        {
            draft.note(format!("volume '{id}' does not exist any more"));
            Ok(None)
        }
        Err(error) if force => {
            draft.note(format!(
                "{error}: a snapshot may stay behind on '{id}' (volvisor audit finds it)"
            ));
            Ok(None)
        }
        Err(error) => {
            Err(error.hint("bring the storage back, or leave its snapshots behind with --force"))
        }
    }
}

/// The saved memory of a snapshot, when it exists and belongs to the machine.
fn state_volume<'w>(
    world: &'w World,
    vmid: VmId,
    document: &VmConfig,
    section: &Section,
) -> Option<(VolumeId, &'w VolumeInfo)> {
    let id = VolumeId::parse(&document.get(section, "vmstate")?).ok()?;
    let (_, info) = check::volume(world, &id).ok()?;
    (info.owner == Some(vmid.get())).then(|| (check::listed(&id, info), info))
}

/// Children of doomed snapshots, and the main section, hang on the nearest ancestor that stays.
fn relink(sections: &mut Sections, doomed: &[SnapshotName]) {
    let gone: HashSet<&str> = doomed.iter().map(SnapshotName::as_str).collect();
    let mut children: Vec<(SnapshotName, Option<String>)> = Vec::new();
    let mut answers: HashMap<String, Option<String>> = HashMap::new();
    for name in sections.names().filter(|n| !gone.contains(n.as_str())) {
        if let Some(parent) = sections
            .get(name, "parent")
            .filter(|p| gone.contains(p.as_str()))
        {
            children.push((
                name.clone(),
                survivor(sections, &gone, &mut answers, parent),
            ));
        }
    }
    for (name, next) in children {
        sections.set(&name, "parent", next.as_deref());
    }
    let Some(parent) = sections.main.get(&Section::Main, "parent") else {
        return;
    };
    if gone.contains(parent.as_str()) {
        match survivor(sections, &gone, &mut answers, parent) {
            Some(next) => sections.main.set(&Section::Main, "parent", &next),
            None => {
                sections.main.remove(&Section::Main, "parent");
            }
        }
    }
}

/// The nearest ancestor, `start` included, that stays. Answers are remembered: a chain of thousands is walked once.
fn survivor(
    sections: &Sections,
    gone: &HashSet<&str>,
    answers: &mut HashMap<String, Option<String>>,
    start: String,
) -> Option<String> {
    let mut at = Some(start);
    let mut walked = Vec::new();
    // A cycle in a file edited by hand is longer than all that is gone.
    while let Some(name) =
        at.take_if(|name| gone.contains(name.as_str()) && walked.len() <= gone.len())
    {
        if let Some(known) = answers.get(&name) {
            at = known.clone();
            break;
        }
        at = SnapshotName::parse(&name)
            .ok()
            .and_then(|name| sections.get(&name, "parent"));
        walked.push(name);
    }
    let found = at.filter(|name| !gone.contains(name.as_str()));
    answers.extend(walked.into_iter().map(|name| (name, found.clone())));
    found
}
