//! Start, stop, shutdown and unlock: what must hold before, and the pending changes a start applies; never waits for anything.

use super::draft::{Draft, Edit};
use super::step::StopHow;
use super::{Intent, Plan, Step, World, check, settings};
use crate::format::drive::DriveFile;
use crate::format::vm_config::Section;
use crate::model::{Error, ErrorKind, Result, VmId};

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let draft = Draft::new(world, intent);
    match intent {
        Intent::VmUnlock { vmid } => unlock(draft, *vmid),
        Intent::VmStart {
            vmid,
            paused,
            skiplock,
        } => start(draft, *vmid, *paused, *skiplock),
        Intent::VmStop {
            vmid,
            timeout_s,
            skiplock,
        } => stop(draft, *vmid, StopHow::Stop, *timeout_s, *skiplock),
        Intent::VmShutdown {
            vmid,
            timeout_s,
            force_stop,
            skiplock,
        } => {
            let how = if *force_stop {
                StopHow::ShutdownThenStop
            } else {
                StopHow::Shutdown
            };
            stop(draft, *vmid, how, *timeout_s, *skiplock)
        }
        _ => Err(check::wrong_planner(intent)),
    }
}

fn unlock(mut draft: Draft<'_>, vmid: VmId) -> Result<Plan> {
    let mut edit = Edit::open(draft.world, vmid)?;
    match edit.config.get(&Section::Main, "lock").as_deref() {
        None => draft.note(format!("VM {vmid} has no lock")),
        Some("rollback") => draft.note(format!(
            "a rollback of VM {vmid} was interrupted and its disks may be of different times: roll back again before starting it"
        )),
        Some(lock) => draft.note(format!("VM {vmid} was locked ({lock})")),
    }
    for name in edit.config.snapshots() {
        if let Some(state) = edit
            .config
            .get(&Section::Snapshot(name.to_string()), "snapstate")
        {
            draft.note(format!(
                "snapshot '{name}' is incomplete (snapstate = {state}); remove it with: qm delsnapshot {vmid} {name}"
            ));
        }
    }
    edit.config.remove(&Section::Main, "lock");
    edit.save(&mut draft);
    Ok(draft.finish())
}

fn start(mut draft: Draft<'_>, vmid: VmId, paused: bool, skiplock: bool) -> Result<Plan> {
    let world = draft.world;
    let view = world.machine(vmid)?;
    if view.running.is_some() {
        return Err(Error::conflict(format!("VM {vmid} already running"))
            .hint(format!("see it with: qm status {vmid}")));
    }
    if !skiplock {
        check::unlocked(vmid, &view.config)?;
    }
    if check::is_template(&view.config) {
        return Err(
            Error::unsupported("you can't start a vm if it's a template")
                .hint(format!("make a machine of it: qm clone {vmid} NEWID")),
        );
    }
    check::drives(vmid, view, &Section::Main, &["lock", "template"])?;
    let mut edit = Edit::open(world, vmid)?;
    if edit.config.has_section(&Section::Pending) {
        check::drives(vmid, view, &Section::Pending, &["delete"])?;
        settings::apply_pending(&mut draft, &mut edit)?;
    }
    for (slot, drive) in check::section_drives(vmid, &edit.config, &Section::Main)? {
        let DriveFile::Volume(id) = &drive.file else {
            continue;
        };
        if slot.is_unused() || drive.is_cdrom() {
            continue;
        }
        let (_, info) = check::volume(world, id).map_err(|e| match e.kind() {
            ErrorKind::NotFound => e.hint(format!(
                "{slot} of VM {vmid} names it; take it out with: qm set {vmid} --delete {slot}"
            )),
            _ => e,
        })?;
        if let Some(problem) = &info.problem {
            return Err(Error::integrity(format!(
                "volume '{id}' ({slot}) cannot be read: {problem}"
            ))
            .hint("see details with: volvisor audit"));
        }
    }
    edit.save(&mut draft);
    draft.push(Step::StartMachine { vmid, paused });
    // What pending changes free is freed after this point, and never undone.
    draft.commit_here();
    Ok(draft.finish())
}

fn stop(
    mut draft: Draft<'_>,
    vmid: VmId,
    how: StopHow,
    timeout_s: u32,
    skiplock: bool,
) -> Result<Plan> {
    let view = draft.world.machine(vmid)?;
    if !skiplock {
        check::unlocked(vmid, &view.config)?;
    }
    if view.running.is_none() {
        draft.note(format!("VM {vmid} not running"));
        return Ok(draft.finish());
    }
    draft.push(Step::StopMachine {
        vmid,
        how,
        timeout_s,
    });
    // A guest that does not obey leaves nothing behind that a later command would have to finish.
    draft.commit_at_end();
    Ok(draft.finish())
}
