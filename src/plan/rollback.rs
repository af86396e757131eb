//! Rollback: every volume as at the snapshot, then the config of then; refuses before anything is touched when one volume cannot.

use super::draft::{Draft, Edit};
use super::step::StopHow;
use super::{Intent, Plan, Step, World, check, naming};
use crate::format::drive::Drive;
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{Error, Result, Slot, SnapshotName, VmId, VolumeId, VolumeInfo};

/// Keys of a snapshot section that describe the snapshot, not the machine.
const OF_SNAPSHOT: &[&str] = &[
    "snapstate",
    "snaptime",
    "vmstate",
    "parent",
    "lock",
    "digest",
    "runningmachine",
    "runningcpu",
    "running-nets-host-mtu",
];

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::Rollback { vmid, name, start } = intent else {
        return Err(check::wrong_planner(intent));
    };
    let vmid = *vmid;
    let mut draft = Draft::new(world, intent);
    let view = world.machine(vmid)?;
    let section = Section::Snapshot(name.to_string());
    check_snapshot(vmid, &view.config, name, &section)?;
    let drives = check::drives(vmid, view, &section, &["snapstate", "vmstate"])?;
    check::drives(vmid, view, &Section::Main, &["lock", "template"])?;
    let mut targets = Vec::new();
    for (slot, drive) in check::disks(&drives) {
        let (id, info) = target(world, *slot, drive, name)?;
        draft.note(format!("{slot} ({id}) goes back to snapshot '{name}'"));
        targets.push((id, info));
    }
    if view.config.get(&section, "vmstate").is_some() {
        draft.note(
            "the memory state of this snapshot is kept but not loaded: the guest starts cold",
        );
    }

    let mut edit = Edit::open(world, vmid)?;
    if view.running.is_some() {
        draft.note(format!("VM {vmid} runs and is stopped hard first"));
    }
    if !targets.is_empty() || view.running.is_some() {
        edit.config.set(&Section::Main, "lock", "rollback");
        edit.save(&mut draft);
    }
    if view.running.is_some() {
        draft.push(Step::StopMachine {
            vmid,
            how: StopHow::Stop,
            timeout_s: 5,
        });
    }
    draft.commit_here();
    for (id, info) in &targets {
        draft.push(Step::RollbackVolume {
            volume: id.clone(),
            name: name.clone(),
            identity: info.identity.clone(),
        });
    }
    restore_config(&mut draft, &mut edit, name, &section, &drives)?;
    edit.save(&mut draft);
    if *start {
        draft.push(Step::StartMachine {
            vmid,
            paused: false,
        });
    }
    Ok(draft.finish())
}

fn check_snapshot(
    vmid: VmId,
    config: &VmConfig,
    name: &SnapshotName,
    section: &Section,
) -> Result<()> {
    if check::is_template(config) {
        return Err(Error::unsupported("you can't rollback if vm is a template"));
    }
    if !config.has_section(section) {
        return Err(
            Error::not_found(format!("snapshot '{name}' does not exist"))
                .hint(format!("list snapshots with: qm listsnapshot {vmid}")),
        );
    }
    if let Some(state) = config.get(section, "snapstate") {
        return Err(Error::conflict(format!(
            "unable to rollback to incomplete snapshot (snapstate = {state})"
        ))
        .hint(format!("remove it with: qm delsnapshot {vmid} {name}")));
    }
    check::unlocked(vmid, config)
}

/// The volume a drive of the snapshot names, when it can go back to it.
fn target<'w>(
    world: &'w World,
    slot: Slot,
    drive: &Drive,
    name: &SnapshotName,
) -> Result<(VolumeId, &'w VolumeInfo)> {
    let id = drive.volume().ok_or_else(|| {
        Error::unsupported(format!(
            "{slot} of snapshot '{name}' is no managed volume and cannot be rolled back"
        ))
    })?;
    let (facts, info) = check::volume(world, id)?;
    let id = check::listed(id, info);
    if let Some(problem) = &info.problem {
        return Err(Error::integrity(format!(
            "volume '{id}' ({slot}) cannot be read: {problem}"
        )));
    }
    let Some(at) = info.snapshots.iter().find(|s| s.name == name.as_str()) else {
        return Err(Error::not_found(format!(
            "can't rollback, snapshot '{name}' does not exist on '{id}'"
        ))
        .hint("nothing was touched; compare sections and storage with: volvisor audit"));
    };
    if facts.newest_only_rollback {
        let later: Vec<&str> = info
            .snapshots
            .iter()
            .skip_while(|s| s.name != name.as_str())
            .skip(1)
            .chain(info.snapshots.iter().filter(|s| s.created > at.created))
            .map(|s| s.name.as_str())
            .collect();
        if let Some(newest) = later.last() {
            return Err(Error::unsupported(format!(
                "can't rollback, '{name}' is not most recent snapshot on '{id}'"
            ))
            .hint(format!("delete the later ones first, newest: '{newest}'")));
        }
    }
    Ok((id, info))
}

/// Turns the main section into the snapshot's, keeping the description, the unused entries and every snapshot.
fn restore_config(
    draft: &mut Draft<'_>,
    edit: &mut Edit,
    name: &SnapshotName,
    section: &Section,
    drives: &[(Slot, Drive)],
) -> Result<()> {
    let config = &mut edit.config;
    let before: Vec<Drive> = config
        .drives(&Section::Main)
        .into_iter()
        .filter(|(slot, _)| !slot.is_unused())
        .map(|(_, drive)| drive)
        .collect();
    let wanted: Vec<(String, String)> = config
        .entries(section)
        .into_iter()
        .filter(|(key, _)| !OF_SNAPSHOT.contains(&key.as_str()))
        .collect();
    for (key, _) in config.entries(&Section::Main) {
        let unused = Slot::parse(&key).is_ok_and(Slot::is_unused);
        if !unused && !wanted.iter().any(|(k, _)| *k == key) {
            config.remove(&Section::Main, &key);
        }
    }
    for (key, value) in &wanted {
        if config.get(&Section::Main, key).as_ref() != Some(value) {
            config.set(&Section::Main, key, value);
        }
    }
    if config.get(&Section::Main, "vmgenid").is_some() {
        let fresh = naming::uuid(draft.world, "vmgenid");
        config.set(&Section::Main, "vmgenid", &fresh);
    }
    config.set(&Section::Main, "parent", name.as_str());
    config.remove_section(&Section::Pending);
    config.remove_section(&Section::Special("cloudinit".to_owned()));
    for (_, drive) in drives {
        if let Some(id) = drive.volume() {
            naming::drop_unused(config, id);
        }
    }
    for drive in before {
        let Some(id) = drive.volume() else { continue };
        if drives.iter().any(|(_, d)| d.volume() == Some(id)) {
            continue;
        }
        if drive.is_cloudinit() {
            if let Ok((_, info)) = check::volume(draft.world, id) {
                draft.push_last(Step::DestroyVolume {
                    volume: check::listed(id, info),
                    identity: info.identity.clone(),
                });
            }
        } else if !drive.is_cdrom()
            && let Some(slot) = naming::add_unused(config, id)?
        {
            draft.note(format!(
                "volume '{id}' is not in the snapshot and becomes {slot}"
            ));
        }
    }
    Ok(())
}
