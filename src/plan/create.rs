//! A new machine: its volumes first, then its config in one write, so that nobody ever sees half of it.

use super::draft::{Draft, Edit};
use super::settings::{self, Changes};
use super::{Intent, Plan, Step, World, check, naming};
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{Bus, Error, Result};

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::VmCreate {
        vmid,
        settings,
        storage,
        start,
    } = intent
    else {
        return Err(check::wrong_planner(intent));
    };
    check::vmid_free(world, *vmid)?;
    if *start && settings.iter().any(|(k, v)| k == "template" && v != "0") {
        return Err(Error::usage("a template cannot be started"));
    }
    let mut draft = Draft::new(world, intent);
    let mut edit = Edit::fresh(*vmid);
    let mut ordered = settings.clone();
    ordered.sort();
    let changes = Changes {
        settings: &ordered,
        delete: &[],
        revert: &[],
        force: false,
        storage: storage.as_ref(),
    };
    settings::apply(&mut draft, &mut edit, &changes, false)?;
    defaults(world, &mut edit.config);
    draft.commit_here();
    edit.save(&mut draft);
    if *start {
        draft.push(Step::StartMachine {
            vmid: *vmid,
            paused: false,
        });
    }
    Ok(draft.finish())
}

/// What every new machine has: a boot order, a uuid, a generation id and when it was made.
fn defaults(world: &World, config: &mut VmConfig) {
    let main = &Section::Main;
    if config.get(main, "boot").is_none() && config.get(main, "bootdisk").is_none() {
        let devices = bootable(config);
        if !devices.is_empty() {
            config.set(main, "boot", &format!("order={}", devices.join(";")));
        }
    }
    match config.get(main, "smbios1") {
        None => {
            let uuid = naming::uuid(world, "smbios1");
            config.set(main, "smbios1", &format!("uuid={uuid}"));
        }
        Some(value) if !value.split(',').any(|i| i.starts_with("uuid=")) => {
            let uuid = naming::uuid(world, "smbios1");
            config.set(main, "smbios1", &format!("{value},uuid={uuid}"));
        }
        Some(_) => {}
    }
    match config.get(main, "vmgenid").as_deref() {
        None | Some("1") => config.set(main, "vmgenid", &naming::uuid(world, "vmgenid")),
        Some("0") => {
            config.remove(main, "vmgenid");
        }
        Some(_) => {}
    }
    config.set(main, "meta", &format!("ctime={}", world.now));
}

/// The first disk, the first CD drive and the first network card.
fn bootable(config: &VmConfig) -> Vec<String> {
    let drives = config.drives(&Section::Main);
    let first = |cdrom: bool| {
        drives
            .iter()
            .find(|(slot, drive)| {
                !matches!(slot.bus(), Bus::Efidisk | Bus::Tpmstate | Bus::Unused)
                    && drive.is_cdrom() == cdrom
            })
            .map(|(slot, _)| slot.to_string())
    };
    let net = (0..32)
        .map(|n| format!("net{n}"))
        .find(|key| config.get(&Section::Main, key).is_some());
    [first(false), first(true), net]
        .into_iter()
        .flatten()
        .collect()
}
