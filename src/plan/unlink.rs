//! `qm unlink`: takes drives out of a machine, or frees them with force; the same rules as `qm set --delete`.

use super::draft::{Draft, Edit};
use super::{Intent, Plan, World, check, settings};
use crate::format::vm_config::Section;
use crate::model::Result;

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::DiskUnlink { vmid, slots, force } = intent else {
        return Err(check::wrong_planner(intent));
    };
    let mut draft = Draft::new(world, intent);
    let view = world.machine(*vmid)?;
    check::unlocked(*vmid, &view.config)?;
    let keys: Vec<String> = slots.iter().map(ToString::to_string).collect();
    check::readable(*vmid, view, &Section::Main, |k| {
        keys.iter().any(|key| key == k)
    })?;
    let mut edit = Edit::open(world, *vmid)?;
    let changes = settings::Changes {
        settings: &[],
        delete: &keys,
        revert: &[],
        force: *force,
        storage: None,
    };
    settings::apply(&mut draft, &mut edit, &changes, view.running.is_some())?;
    edit.save(&mut draft);
    let mut words = format!("update VM {vmid}: -delete {}", keys.join(","));
    if *force {
        words.push_str(" -force 1");
    }
    draft.done(words);
    Ok(draft.finish())
}
