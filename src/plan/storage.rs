//! storage.cfg: add, change and remove one section; never touches what a storage holds.

use super::draft::Draft;
use super::{Intent, Plan, Step, World, check};
use crate::format::storage_cfg::{StorageCfg, digest};
use crate::model::{Error, Result, Text};

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let mut draft = Draft::new(world, intent);
    let (before, mut cfg) = match &world.storage_cfg {
        Some((text, cfg)) => (Some(text.clone()), cfg.clone()),
        None => (None, StorageCfg::parse(b"")),
    };
    match intent {
        Intent::StorageAdd {
            id,
            kind,
            properties,
        } => {
            // The implied `local` may be written down; every other known id is taken.
            let written = world
                .storage_cfg
                .as_ref()
                .is_some_and(|(_, cfg)| cfg.find(id).is_some());
            if written && id.as_str() != "local" {
                return Err(
                    Error::conflict(format!("storage ID '{id}' already defined"))
                        .hint(format!("change it with: pvesm set {id}")),
                );
            }
            cfg.add(id, *kind, properties)?;
            draft.note(format!("storage '{id}' of type '{kind}' is added"));
        }
        Intent::StorageSet {
            id,
            properties,
            delete,
            digest: wanted,
        } => {
            let found = digest(before.as_ref().map_or(&[][..], |t| &t.0));
            if wanted
                .as_ref()
                .is_some_and(|w| !w.eq_ignore_ascii_case(&found))
            {
                return Err(Error::conflict(
                    "detected modified configuration - file changed by other user? Try again.",
                )
                .hint(format!("the digest is {found} now")));
            }
            if let Some((key, _)) = properties.iter().find(|(k, _)| delete.contains(k)) {
                return Err(Error::usage(format!(
                    "you can't use '-{key}' and '-delete {key}' at the same time"
                )));
            }
            cfg.set(id, properties, delete)?;
        }
        Intent::StorageRemove { id } => {
            if let Some(user) = cfg
                .sections()
                .iter()
                .find(|s| {
                    s.id != *id
                        && s.get("base")
                            .is_some_and(|b| b.split(':').next() == Some(id.as_str()))
                })
                .map(|s| s.id.clone())
            {
                return Err(Error::conflict(format!(
                    "can't remove storage - storage is used as base of another storage: '{user}'"
                ))
                .hint(format!("remove that one first: pvesm remove {user}")));
            }
            let used: Vec<String> = world
                .machines
                .iter()
                .filter(|(_, view)| view.bytes.lossy().contains(&format!("{id}:")))
                .map(|(vmid, _)| vmid.to_string())
                .collect();
            if !used.is_empty() {
                draft.note(format!(
                    "machines that name volumes of '{id}': {} (data and configs stay)",
                    used.join(", ")
                ));
            }
            cfg.remove(id)?;
        }
        _ => return Err(check::wrong_planner(intent)),
    }
    let after = Text(cfg.to_bytes());
    if before.as_ref() != Some(&after) {
        draft.push(Step::WriteStorageCfg { before, after });
        draft.commit_at_end();
    }
    Ok(draft.finish())
}
