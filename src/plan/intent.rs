//! What somebody wants to be true, in words a planner can take; carries no ids invented later.

use crate::model::{
    ByteCount, CloneMode, ImageFormat, Slot, SnapshotName, StorageId, StorageKind, VmId, VolumeId,
    VolumeName,
};
use serde::{Deserialize, Serialize};

/// One changing command. Reading commands are not intents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Intent {
    // storages
    StorageAdd {
        id: StorageId,
        kind: StorageKind,
        properties: Vec<(String, String)>,
    },
    StorageSet {
        id: StorageId,
        properties: Vec<(String, String)>,
        delete: Vec<String>,
        digest: Option<String>,
    },
    StorageRemove {
        id: StorageId,
    },
    // volumes
    /// `leaf: None`: the next free name. `format: None`: from the leaf's extension, else the storage's default.
    VolumeAlloc {
        storage: StorageId,
        vmid: VmId,
        leaf: Option<String>,
        format: Option<ImageFormat>,
        size: ByteCount,
    },
    VolumeFree {
        volume: VolumeId,
    },
    VolumeResize {
        volume: VolumeId,
        to: ByteCount,
    },
    VolumeRename {
        volume: VolumeId,
        to: VolumeName,
    },
    /// A snapshot that no config records.
    VolumeForgetSnapshot {
        volume: VolumeId,
        name: SnapshotName,
    },
    // machines
    VmCreate {
        vmid: VmId,
        settings: Vec<(String, String)>,
        storage: Option<StorageId>,
        start: bool,
    },
    VmSet {
        vmid: VmId,
        settings: Vec<(String, String)>,
        delete: Vec<String>,
        revert: Vec<String>,
        force: bool,
        digest: Option<String>,
    },
    VmDestroy {
        vmid: VmId,
        purge: bool,
        destroy_unreferenced: bool,
        skiplock: bool,
    },
    VmClone {
        vmid: VmId,
        newid: VmId,
        name: Option<String>,
        description: Option<String>,
        mode: Option<CloneMode>,
        snapshot: Option<SnapshotName>,
        storage: Option<StorageId>,
        format: Option<ImageFormat>,
    },
    VmTemplate {
        vmid: VmId,
        disk: Option<Slot>,
    },
    VmUnlock {
        vmid: VmId,
    },
    VmStart {
        vmid: VmId,
        paused: bool,
        skiplock: bool,
    },
    VmStop {
        vmid: VmId,
        timeout_s: u32,
        skiplock: bool,
    },
    VmShutdown {
        vmid: VmId,
        timeout_s: u32,
        force_stop: bool,
        skiplock: bool,
    },
    DiskResize {
        vmid: VmId,
        slot: Slot,
        change: SizeWish,
        digest: Option<String>,
    },
    DiskUnlink {
        vmid: VmId,
        slots: Vec<Slot>,
        force: bool,
    },
    // snapshots
    Snapshot {
        vmid: VmId,
        name: SnapshotName,
        description: Option<String>,
        vmstate: bool,
    },
    Rollback {
        vmid: VmId,
        name: SnapshotName,
        start: bool,
    },
    SnapshotDelete {
        vmid: VmId,
        name: SnapshotName,
        force: bool,
    },
    /// Delete all snapshots but the newest ones by these rules (each `None` = rule not used).
    SnapshotPrune {
        vmid: VmId,
        keep: KeepRules,
        prefix: Option<String>,
    },
    // the whole world
    Rescan {
        vmid: Option<VmId>,
    },
    /// Move these volumes into the trash (rename), with an expiry.
    Quarantine {
        volumes: Vec<VolumeId>,
        expire_days: u32,
    },
    TrashRestore {
        volume: VolumeId,
    },
    /// Free trashed volumes whose time is over, or all.
    TrashEmpty {
        all: bool,
    },
}

/// `qm resize` wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizeWish {
    To(ByteCount),
    Plus(ByteCount),
}

/// Retention rules of Proxmox: keep-last, -hourly, -daily, -weekly, -monthly, -yearly, or all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepRules {
    pub all: bool,
    pub last: Option<u32>,
    pub hourly: Option<u32>,
    pub daily: Option<u32>,
    pub weekly: Option<u32>,
    pub monthly: Option<u32>,
    pub yearly: Option<u32>,
}

impl Intent {
    /// The verb as it stands in JSON and in `task list`: `snapshot`, `vm-create`.
    pub fn verb(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value
            .get("verb")
            .and_then(|v| v.as_str())
            .unwrap_or("unknown")
            .to_owned()
    }
    /// The machine the intent is about, if it is about one.
    pub fn vmid(&self) -> Option<VmId> {
        match self {
            Intent::VmCreate { vmid, .. }
            | Intent::VmSet { vmid, .. }
            | Intent::VmDestroy { vmid, .. }
            | Intent::VmClone { vmid, .. }
            | Intent::VmTemplate { vmid, .. }
            | Intent::VmUnlock { vmid }
            | Intent::VmStart { vmid, .. }
            | Intent::VmStop { vmid, .. }
            | Intent::VmShutdown { vmid, .. }
            | Intent::DiskResize { vmid, .. }
            | Intent::DiskUnlink { vmid, .. }
            | Intent::Snapshot { vmid, .. }
            | Intent::Rollback { vmid, .. }
            | Intent::SnapshotDelete { vmid, .. }
            | Intent::SnapshotPrune { vmid, .. } => Some(*vmid),
            Intent::Rescan { vmid } => *vmid,
            _ => None,
        }
    }
}

impl KeepRules {
    /// The counted rules in the order they are applied.
    pub fn counts(&self) -> [Option<u32>; 6] {
        [
            self.last,
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ]
    }
}
