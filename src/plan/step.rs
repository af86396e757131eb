//! A plan: steps with nothing left to choose, readable as text and as JSON; never applies itself.

use super::Intent;
use crate::model::{
    ByteCount, CloneSpec, CreateSpec, Identity, OpId, SnapshotName, StorageId, Text, VmId,
    VolumeId, VolumeName,
};
use serde::{Deserialize, Serialize};

/// One change. Applying a step twice gives `AlreadySo`; what a step expects to find is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Step {
    /// Replace `qemu-server/<vmid>.conf`; `before: None` creates it, `after: None` removes it. Undo swaps the two.
    WriteConfig {
        vmid: VmId,
        before: Option<Text>,
        after: Option<Text>,
    },
    /// Replace storage.cfg. Undo swaps the two.
    WriteStorageCfg { before: Option<Text>, after: Text },
    /// Undo: withdraw (removes it only if this operation made it).
    CreateVolume {
        storage: StorageId,
        spec: CreateSpec,
    },
    /// Undo: withdraw.
    CloneVolume { storage: StorageId, spec: CloneSpec },
    /// Copy the whole content (at a snapshot if named) into a new volume, maybe of another storage and format. Undo: withdraw.
    CopyVolume {
        source: VolumeId,
        snapshot: Option<SnapshotName>,
        storage: StorageId,
        spec: CreateSpec,
    },
    /// Not undone. `identity` is what was seen: another volume of that name is refused.
    DestroyVolume {
        volume: VolumeId,
        identity: Identity,
    },
    /// Growing only. Not undone. When the machine runs, through its control socket.
    ResizeVolume {
        volume: VolumeId,
        from: ByteCount,
        to: ByteCount,
        live: Option<VmId>,
    },
    /// Undo: the opposite rename.
    RenameVolume {
        storage: StorageId,
        from: VolumeName,
        to: VolumeName,
        identity: Identity,
    },
    /// Set or clear write protection of a base image. Undo: the opposite.
    ProtectVolume { volume: VolumeId, read_only: bool },
    /// All volumes at one instant; `live`: the running machine drains, snapshots what it holds open and resumes.
    /// Undo: delete the snapshot from every volume that has it.
    SnapshotGroup {
        volumes: Vec<VolumeId>,
        name: SnapshotName,
        live: Option<VmId>,
        created: u64,
    },
    /// Deletes the snapshot where it exists. Not undone. `live` as above.
    DestroySnapshots {
        volumes: Vec<VolumeId>,
        name: SnapshotName,
        live: Option<VmId>,
    },
    /// Not undone; repeating it gives the same bytes.
    RollbackVolume {
        volume: VolumeId,
        name: SnapshotName,
        identity: Identity,
    },
    /// Spawn the machine of this VM and wait until its control socket answers. Undo: stop it.
    StartMachine { vmid: VmId, paused: bool },
    /// Ask, wait `timeout_s`, then kill. Not undone.
    StopMachine {
        vmid: VmId,
        how: StopHow,
        timeout_s: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopHow {
    /// ACPI power button; error when the guest does not obey in time.
    Shutdown,
    /// Power button, then hard stop.
    ShutdownThenStop,
    /// Drain, flush, quit.
    Stop,
}

/// How an interrupted plan is brought to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    Undo,
    Forward,
}

/// Immutable once made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub schema: u32,
    pub intent: Intent,
    /// Machines whose configs and disks are touched: leased and flocked while the plan runs.
    pub machines: Vec<VmId>,
    /// Storages whose name space is touched (create, destroy, rename).
    pub storages: Vec<StorageId>,
    pub steps: Vec<Step>,
    /// An operation interrupted before step `commit` has begun is undone, afterwards it is finished. `commit == 0`: always
    /// forward; `commit == steps.len()`: undone unless every step is done.
    pub commit: usize,
    /// What the plan saw of every object it touches, as (object, fingerprint); a saved plan is refused when one has moved.
    #[serde(default)]
    pub seen: Vec<(String, String)>,
    /// Lines for the user before work starts (method chosen per volume and why, what becomes unused).
    pub notes: Vec<String>,
    /// Lines on success, in the words scripts match.
    pub done: Vec<String>,
}

impl Plan {
    pub const SCHEMA: u32 = 1;

    pub fn new(intent: Intent) -> Self {
        Plan {
            schema: Self::SCHEMA,
            intent,
            machines: Vec::new(),
            storages: Vec::new(),
            steps: Vec::new(),
            commit: 0,
            seen: Vec::new(),
            notes: Vec::new(),
            done: Vec::new(),
        }
    }
    /// Nothing to do: the world already is as wanted.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
    pub fn direction_at(&self, begun: usize) -> Direction {
        if begun > self.commit {
            Direction::Forward
        } else {
            Direction::Undo
        }
    }
}

/// An operation id for places that need one without an engine (dry runs).
pub fn dry_run_id() -> OpId {
    OpId::parse("dry-run").expect("a valid literal")
}
