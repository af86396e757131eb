//! Everything a planner may know: storages and machines as observed once, plus time and names chosen by the shell; never re-read.

use crate::format::storage_cfg::{StorageCfg, StorageSection};
use crate::format::vm_config::VmConfig;
use crate::model::{Error, Facts, Inventory, Result, StorageId, Text, VmId, VolumeId, VolumeInfo};
use std::collections::BTreeMap;

/// One storage as observed.
#[derive(Debug, Clone)]
pub struct StorageView {
    pub section: StorageSection,
    /// `None`: this program has no backend for the kind.
    pub facts: Option<Facts>,
    /// `Err(reason)`: offline, disabled or no backend.
    pub inventory: std::result::Result<Inventory, String>,
}

/// One machine as observed.
#[derive(Debug, Clone)]
pub struct VmView {
    pub bytes: Text,
    pub config: VmConfig,
    /// Process id of our own machine process, when it runs.
    pub running: Option<u32>,
}

#[derive(Debug, Clone, Default)]
pub struct World {
    /// Seconds since 1970 UTC.
    pub now: u64,
    /// Fresh random bytes for MACs, uuids and trash names.
    pub entropy: [u8; 32],
    pub node: String,
    pub storage_cfg: Option<(Text, StorageCfg)>,
    pub storages: BTreeMap<StorageId, StorageView>,
    /// Only the machines that were asked for, or all for whole-world intents.
    pub machines: BTreeMap<VmId, VmView>,
    /// Every VM id that has a config on this node (also those not in `machines`).
    pub vmids: Vec<VmId>,
}

impl World {
    pub fn storage(&self, id: &StorageId) -> Result<&StorageView> {
        self.storages.get(id).ok_or_else(|| {
            Error::not_found(format!("storage '{id}' does not exist"))
                .hint("list storages with: volvisor storage list")
        })
    }
    pub fn machine(&self, vmid: VmId) -> Result<&VmView> {
        self.machines.get(&vmid).ok_or_else(|| {
            Error::not_found(format!(
                "Configuration file 'nodes/{}/qemu-server/{vmid}.conf' does not exist",
                self.node
            ))
            .hint("list machines with: qm list")
        })
    }
    pub fn inventory(&self, id: &StorageId) -> Result<&Inventory> {
        self.storage(id)?.inventory.as_ref().map_err(|reason| {
            Error::new(
                crate::model::ErrorKind::Offline,
                format!("storage '{id}' is not available: {reason}"),
            )
        })
    }
    pub fn facts(&self, id: &StorageId) -> Result<&Facts> {
        let view = self.storage(id)?;
        view.facts.as_ref().ok_or_else(|| {
            Error::unsupported(format!(
                "storage '{id}' has type '{}', for which there is no backend",
                view.section.type_word
            ))
        })
    }
    pub fn volume(&self, id: &VolumeId) -> Result<&VolumeInfo> {
        self.inventory(&id.storage)?.find(&id.name).ok_or_else(|| {
            Error::not_found(format!("volume '{id}' does not exist"))
                .hint(format!("list volumes with: pvesm list {}", id.storage))
        })
    }
}
