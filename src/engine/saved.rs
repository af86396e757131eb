//! Fingerprints of what a plan saw, so that a saved plan is refused when the world has moved; they say nothing about why.

use super::apply::touched;
use super::{Engine, Look};
use crate::model::{Error, Result, StorageId, VolumeName};
use crate::plan::{Plan, World};
use std::collections::BTreeSet;

/// One line per machine config, storage.cfg and volume that the plan's steps touch.
pub(super) fn fingerprints(plan: &Plan, world: &World) -> Vec<(String, String)> {
    let mut seen: Vec<(String, String)> = plan
        .machines
        .iter()
        .map(|vmid| {
            let digest = world
                .machines
                .get(vmid)
                .map(|m| crate::format::vm_config::digest(&m.bytes.0));
            (
                format!("config of VM {vmid}"),
                digest.unwrap_or_else(|| "absent".to_owned()),
            )
        })
        .collect();
    for vmid in &plan.machines {
        let runs = world
            .machines
            .get(vmid)
            .is_some_and(|m| m.running.is_some());
        let state = if runs { "running" } else { "stopped" };
        seen.push((format!("state of VM {vmid}"), state.to_owned()));
    }
    if plan
        .steps
        .iter()
        .any(|s| matches!(s, crate::plan::Step::WriteStorageCfg { .. }))
    {
        let digest = world
            .storage_cfg
            .as_ref()
            .map(|(text, _)| crate::format::storage_cfg::digest(&text.0));
        seen.push((
            "storage.cfg".to_owned(),
            digest.unwrap_or_else(|| "absent".to_owned()),
        ));
    }
    let volumes: BTreeSet<(StorageId, VolumeName)> = plan.steps.iter().flat_map(touched).collect();
    for (storage, name) in volumes {
        let inventory = world
            .storages
            .get(&storage)
            .and_then(|s| s.inventory.as_ref().ok());
        let print = match inventory.map(|i| i.find(&name)) {
            None => "not observable".to_owned(),
            Some(None) => "absent".to_owned(),
            Some(Some(volume)) => {
                let snapshots: Vec<&str> =
                    volume.snapshots.iter().map(|s| s.name.as_str()).collect();
                let size = volume.size.map_or(0, |s| s.get());
                format!("{} {size} [{}]", volume.identity, snapshots.join(","))
            }
        };
        seen.push((format!("volume '{storage}:{name}'"), print));
    }
    seen
}

impl Engine {
    pub(super) fn refuse_if_moved(&self, plan: &Plan) -> Result<()> {
        let world = self.observe(&Look::For(Box::new(plan.intent.clone())))?;
        let now = fingerprints(plan, &world);
        for (object, was) in &plan.seen {
            let is = now
                .iter()
                .find(|(o, _)| o == object)
                .map_or("not observable", |(_, f)| f.as_str());
            if is != was {
                return Err(Error::conflict(format!(
                    "the plan is out of date: {object} has changed since it was made"
                ))
                .hint("nothing was done; make the plan again and look at it"));
            }
        }
        Ok(())
    }
}
