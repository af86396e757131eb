//! Making a template: every disk becomes a write-protected base image, then the config says `template: 1`.

use super::draft::{Draft, Edit};
use super::{Intent, Plan, Step, World, check, naming};
use crate::format::drive::DriveFile;
use crate::format::vm_config::Section;
use crate::model::{Error, Result, VolumeId};

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::VmTemplate { vmid, disk } = intent else {
        return Err(check::wrong_planner(intent));
    };
    let vmid = *vmid;
    let mut draft = Draft::new(world, intent);
    let view = world.machine(vmid)?;
    check::unlocked(vmid, &view.config)?;
    if !view.config.snapshots().is_empty() {
        return Err(
            Error::conflict("unable to create template, because VM contains snapshots")
                .hint(format!("delete them first: qm listsnapshot {vmid}")),
        );
    }
    if check::is_template(&view.config) && disk.is_none() {
        return Err(Error::conflict(
            "you can't convert a template to a template",
        ));
    }
    if view.running.is_some() {
        return Err(
            Error::busy("you can't convert a VM to template if VM is running")
                .hint(format!("stop it first: qm stop {vmid}")),
        );
    }
    let drives = check::drives(vmid, view, &Section::Main, &["template", "lock"])?;
    if let Some(slot) = disk
        && !check::disks(&drives).any(|(s, _)| s == slot)
    {
        return Err(Error::not_found(format!("disk '{slot}' does not exist")));
    }
    let mut edit = Edit::open(world, vmid)?;
    for (slot, drive) in check::disks(&drives) {
        if disk.is_some_and(|d| d != *slot) {
            continue;
        }
        let id = drive.volume().ok_or_else(|| {
            Error::unsupported(format!(
                "{slot} is no managed volume and cannot become a base"
            ))
        })?;
        let (facts, info) = check::volume(world, id)?;
        if info.is_base {
            continue;
        }
        if facts.linked_clone_formats.is_empty() || info.owner != Some(vmid.get()) {
            return Err(Error::unsupported(format!(
                "template feature is not available for '{id}' ({slot})"
            )));
        }
        let base = naming::base_name(&info.name).ok_or_else(|| {
            Error::unsupported(format!(
                "'{id}' ({slot}) has no name of the form vm-{vmid}-..."
            ))
            .hint("rename it first: volvisor volume rename")
        })?;
        let target = VolumeId::new(id.storage.clone(), base.clone());
        if check::find(world.inventory(&id.storage)?, &target).is_some() {
            return Err(Error::conflict(format!("volume '{target}' already exists")));
        }
        draft.push(Step::RenameVolume {
            storage: id.storage.clone(),
            from: info.name.clone(),
            to: base,
            identity: info.identity.clone(),
        });
        draft.push(Step::ProtectVolume {
            volume: target.clone(),
            read_only: true,
        });
        let mut drive = drive.clone();
        drive.file = DriveFile::Volume(target);
        edit.config
            .set(&Section::Main, &slot.to_string(), &drive.to_string());
    }
    if !check::is_template(&view.config) {
        edit.config.set(&Section::Main, "template", "1");
    }
    edit.save(&mut draft);
    draft.commit_at_end();
    Ok(draft.finish())
}
