//! The loop: observe, plan, journal, apply, recover. It executes plans without choices of its own.

pub mod paths;
pub use paths::Paths;

use crate::backend::Backend;
use crate::format::storage_cfg::{StorageCfg, StorageSection};
use crate::format::vm_config::VmConfig;
use crate::model::{Error, OpId, Outcome, Result, StorageId, Text, VmId};
use crate::plan::{Intent, Plan, World};

/// Which part of the world to observe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// What planning this intent needs.
    For(Box<Intent>),
    /// Every storage and every machine (audit, rescan).
    Everything,
}

/// What one run did.
#[derive(Debug)]
pub struct Report {
    pub op: Option<OpId>,
    pub plan: Plan,
    pub outcome: Outcome,
    /// Facts measured while running (`pause_us`, `skew_us`, `consistency`), for people and JSON.
    pub measured: Vec<(String, String)>,
}

/// One finished or unfinished operation, from its journal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Task {
    pub op: OpId,
    pub verb: String,
    pub vmid: Option<VmId>,
    pub summary: String,
    pub started: u64,
    pub ended: Option<u64>,
    /// `running`, `interrupted`, `done`, `undone`, `failed: ...`
    pub status: String,
    pub pid: u32,
    pub steps: usize,
    pub steps_done: usize,
}

/// A machine process of ours that runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub pid: u32,
    /// Unix seconds.
    pub since: u64,
}

#[derive(Debug)]
pub struct Engine {
    paths: Paths,
}

impl Engine {
    pub fn open(paths: Paths) -> Self {
        Engine { paths }
    }
    pub fn paths(&self) -> &Paths {
        &self.paths
    }
    /// The file's text (`None`: no file) and its reading.
    pub fn storage_cfg(&self) -> Result<(Option<Text>, StorageCfg)> {
        Err(Error::unsupported("engine not written yet"))
    }
    pub fn section(&self, _id: &StorageId) -> Result<StorageSection> {
        Err(Error::unsupported("engine not written yet"))
    }
    /// `Unsupported` when there is no backend for its kind, `NotFound` when it is not configured, `Offline` when disabled.
    pub fn backend(&self, _id: &StorageId) -> Result<Box<dyn Backend>> {
        Err(Error::unsupported("engine not written yet"))
    }
    pub fn vmids(&self) -> Result<Vec<VmId>> {
        Err(Error::unsupported("engine not written yet"))
    }
    pub fn vm_config(&self, _vmid: VmId) -> Result<(Text, VmConfig)> {
        Err(Error::unsupported("engine not written yet"))
    }
    pub fn running(&self, _vmid: VmId) -> Option<Running> {
        None
    }
    /// One control command (QMP shape: `execute`, `arguments`) to a running machine; its `return` value.
    pub fn control(
        &self,
        _vmid: VmId,
        _execute: &str,
        _arguments: serde_json::Value,
    ) -> Result<serde_json::Value> {
        Err(Error::unsupported("engine not written yet"))
    }
    pub fn observe(&self, _look: &Look) -> Result<World> {
        Err(Error::unsupported("engine not written yet"))
    }
    /// Observe and plan; changes nothing.
    pub fn plan(&self, _intent: &Intent) -> Result<Plan> {
        Err(Error::unsupported("engine not written yet"))
    }
    /// Lease, recover what a dead owner left, observe, plan, journal, apply. `progress` gets one line per step.
    pub fn run(&self, _intent: &Intent, _progress: &mut dyn FnMut(&str)) -> Result<Report> {
        Err(Error::unsupported("engine not written yet"))
    }
    /// Apply a saved plan; `Conflict` naming what moved when the world is not as the plan saw it.
    pub fn apply(&self, _plan: Plan, _progress: &mut dyn FnMut(&str)) -> Result<Report> {
        Err(Error::unsupported("engine not written yet"))
    }
    /// Finish or undo every operation whose owner is dead; one line each. Nothing to do gives an empty list.
    pub fn recover(&self) -> Result<Vec<String>> {
        Err(Error::unsupported("engine not written yet"))
    }
    /// Newest first.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        Err(Error::unsupported("engine not written yet"))
    }
    /// Journal lines of one operation, as text.
    pub fn task_log(&self, _op: &OpId) -> Result<Vec<String>> {
        Err(Error::unsupported("engine not written yet"))
    }
}
