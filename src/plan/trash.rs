//! The trash: a volume nobody names is renamed so that its name says until when it stays; restored by the opposite rename.

use super::draft::Draft;
use super::{Intent, Plan, Step, World, check, naming};
use crate::model::{Error, Result, VolumeId, VolumeName};

const DAY: u64 = 86_400;

/// One volume in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    pub volume: VolumeId,
    /// Its name before, and after a restore.
    pub original: VolumeName,
    /// Seconds since 1970.
    pub expires: u64,
}

/// Everything in the trash of the storages that could be asked, by volume id.
pub fn trashed(world: &World) -> Vec<Trashed> {
    let mut found: Vec<Trashed> = world
        .storages
        .iter()
        .filter_map(|(id, view)| Some((id, view.inventory.as_ref().ok()?)))
        .flat_map(|(storage, inventory)| {
            inventory.volumes.iter().filter_map(move |info| {
                let (original, expires) = naming::untrash_name(&info.name)?;
                Some(Trashed {
                    volume: VolumeId::new(storage.clone(), info.name.clone()),
                    original,
                    expires,
                })
            })
        })
        .collect();
    found.sort_by_key(|t| t.volume.to_string());
    found
}

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let draft = Draft::new(world, intent);
    match intent {
        Intent::Quarantine {
            volumes,
            expire_days,
        } => quarantine(draft, volumes, *expire_days),
        Intent::TrashRestore { volume } => restore(draft, volume),
        Intent::TrashEmpty { all } => empty(draft, *all),
        _ => Err(check::wrong_planner(intent)),
    }
}

fn quarantine(mut draft: Draft<'_>, volumes: &[VolumeId], days: u32) -> Result<Plan> {
    let world = draft.world;
    for id in volumes {
        let (_, info) = check::volume(world, id)?;
        let id = check::listed(id, info);
        if naming::untrash_name(&info.name).is_some() {
            draft.note(format!("'{id}' is in the trash already"));
            continue;
        }
        if let Some((vmid, place)) = check::user_of(world, &id) {
            return Err(
                Error::conflict(format!("volume '{id}' is used by VM {vmid} ({place})"))
                    .hint("only volumes that no config names go to the trash"),
            );
        }
        let inventory = world.inventory(&id.storage)?;
        check::no_dependants(&id, inventory, info)?;
        let mut expires = world.now + u64::from(days) * DAY;
        let name = loop {
            let name = naming::trash_name(&info.name, expires)?;
            if inventory.find(&name).is_none() {
                break name;
            }
            expires += 1;
        };
        draft.done(format!(
            "moved '{id}' to the trash as '{}:{name}' for {days} days",
            id.storage
        ));
        draft.push(Step::RenameVolume {
            storage: id.storage.clone(),
            from: info.name.clone(),
            to: name,
            identity: info.identity.clone(),
        });
    }
    draft.commit_at_end();
    Ok(draft.finish())
}

fn restore(mut draft: Draft<'_>, id: &VolumeId) -> Result<Plan> {
    let world = draft.world;
    let (_, info) = check::volume(world, id)?;
    let Some((original, _)) = naming::untrash_name(&info.name) else {
        return Err(Error::usage(format!("volume '{id}' is not in the trash"))
            .hint("list the trash with: volvisor trash list"));
    };
    let target = VolumeId::new(id.storage.clone(), original.clone());
    if check::find(world.inventory(&id.storage)?, &target).is_some() {
        return Err(Error::conflict(format!("volume '{target}' exists again"))
            .hint(format!("rename that one first, then restore '{id}'")));
    }
    draft.push(Step::RenameVolume {
        storage: id.storage.clone(),
        from: info.name.clone(),
        to: original,
        identity: info.identity.clone(),
    });
    draft.done(format!("restored '{target}'"));
    draft.commit_at_end();
    Ok(draft.finish())
}

fn empty(mut draft: Draft<'_>, all: bool) -> Result<Plan> {
    let world = draft.world;
    for item in trashed(world) {
        if !all && item.expires > world.now {
            continue;
        }
        let (_, info) = check::volume(world, &item.volume)?;
        if let Some((vmid, place)) = check::user_of(world, &item.volume) {
            draft.note(format!(
                "'{}' is used by VM {vmid} ({place}) and stays",
                item.volume
            ));
            continue;
        }
        draft.done(format!("Removed volume '{}'", item.volume));
        draft.push(Step::DestroyVolume {
            volume: item.volume,
            identity: info.identity.clone(),
        });
    }
    for (storage, view) in &world.storages {
        if let (Err(reason), true) = (&view.inventory, view.section.enabled()) {
            draft.note(format!("storage '{storage}' skipped: {reason}"));
        }
    }
    Ok(draft.finish())
}
