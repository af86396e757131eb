//! Looking at the world once, as much of it as an intent needs; an observation is never kept.

use super::{Engine, Look};
use crate::format::storage_cfg::StorageCfg;
use crate::format::vm_config::VmConfig;
use crate::model::{Result, StorageId, Text, VmId};
use crate::plan::{Intent, StorageView, VmView, World};
use crate::sys::clock;
use std::collections::BTreeMap;

impl Engine {
    /// One consistent-enough look: what changes afterwards is noticed by the steps, which carry what was seen.
    pub fn observe(&self, look: &Look) -> Result<World> {
        let (text, cfg) = self.storage_cfg()?;
        let vmids = self.vmids()?;
        let mut world = World {
            now: clock::now(),
            entropy: clock::entropy(),
            node: node_name(),
            storage_cfg: text.map(|text| (text, cfg.clone())),
            vmids: vmids.clone(),
            ..World::default()
        };
        match look {
            Look::Everything => {
                world.machines = self.look_at_machines(&vmids)?;
                world.storages = self.look_at_storages(&cfg, |_| true);
            }
            Look::For(intent) => {
                let wanted: Vec<VmId> = match **intent {
                    // Who else uses the volume? Only all configs together can tell.
                    Intent::Rescan { vmid: None }
                    | Intent::Quarantine { .. }
                    | Intent::VolumeFree { .. }
                    | Intent::VolumeResize { .. }
                    | Intent::VolumeRename { .. }
                    | Intent::VolumeForgetSnapshot { .. }
                    | Intent::VmDestroy { .. } => vmids,
                    _ => subjects(intent)
                        .into_iter()
                        .filter(|id| vmids.contains(id))
                        .collect(),
                };
                world.machines = self.look_at_machines(&wanted)?;
                let named = Names::of(intent, world.machines.values());
                world.storages = self.look_at_storages(&cfg, |id| named.mention(id));
            }
        }
        Ok(world)
    }

    fn look_at_machines(&self, vmids: &[VmId]) -> Result<BTreeMap<VmId, VmView>> {
        let mut machines = BTreeMap::new();
        for vmid in vmids {
            let (bytes, config) = match self.vm_config(*vmid) {
                Ok(read) => read,
                // Removed between the listing and the reading.
                Err(e) if e.kind() == crate::model::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let running = self.running(*vmid).map(|r| r.pid);
            machines.insert(
                *vmid,
                VmView {
                    bytes,
                    config,
                    running,
                },
            );
        }
        Ok(machines)
    }

    /// The inventory is asked only of storages that `wanted` names; the others are known by their section alone.
    fn look_at_storages(
        &self,
        cfg: &StorageCfg,
        wanted: impl Fn(&StorageId) -> bool,
    ) -> BTreeMap<StorageId, StorageView> {
        let mut storages = BTreeMap::new();
        for section in self.rooted(cfg) {
            let id = section.id.clone();
            let mut view = StorageView {
                facts: None,
                inventory: Err("not looked at".to_owned()),
                section,
            };
            if let Some(reason) = &view.section.broken {
                view.inventory = Err(format!("its section in storage.cfg is broken: {reason}"));
            } else if !view.section.enabled() {
                view.inventory = Err("it is disabled".to_owned());
            } else if wanted(&id) {
                match crate::backend::open(&view.section) {
                    Ok(Some(backend)) => {
                        view.facts = Some(backend.facts());
                        view.inventory = backend.inventory().map_err(|e| e.full_text());
                    }
                    Ok(None) => {
                        view.inventory = Err(format!(
                            "no backend for type '{}' yet",
                            view.section.type_word
                        ))
                    }
                    Err(e) => view.inventory = Err(e.full_text()),
                }
            }
            storages.insert(id, view);
        }
        storages
    }
}

/// Machines an intent is about.
fn subjects(intent: &Intent) -> Vec<VmId> {
    let mut all: Vec<VmId> = intent.vmid().into_iter().collect();
    if let Intent::VmClone { newid, .. } = intent {
        all.push(*newid);
    }
    all
}

/// Every text in which an intent or a config may name a storage; a superset is fine.
struct Names {
    text: String,
}

impl Names {
    fn of<'a>(intent: &Intent, machines: impl Iterator<Item = &'a VmView>) -> Self {
        let mut text = serde_json::to_string(intent).unwrap_or_default();
        // These look everywhere by nature.
        if matches!(
            intent,
            Intent::Rescan { .. }
                | Intent::Quarantine { .. }
                | Intent::TrashEmpty { .. }
                | Intent::VmDestroy { .. }
        ) {
            text = "*".to_owned();
        }
        for machine in machines {
            text.push('\n');
            text.push_str(&machine.bytes.lossy());
        }
        Names { text }
    }
    fn mention(&self, id: &StorageId) -> bool {
        self.text.starts_with('*')
            || self.text.contains(&format!("{id}:"))
            || self.text.contains(&format!("\"{id}\""))
            || self.text.contains(&format!(",{id}"))
            || self.text.contains(&format!("storage: {id}"))
    }
}

/// The host's name up to the first dot, as Proxmox names nodes.
pub fn node_name() -> String {
    let name = rustix::system::uname();
    let full = name.nodename().to_string_lossy().into_owned();
    full.split('.').next().unwrap_or("localhost").to_owned()
}

/// Reads a config text.
pub(super) fn read_config(bytes: Vec<u8>) -> (Text, VmConfig) {
    let config = VmConfig::parse(&bytes);
    (Text(bytes), config)
}
