//! What was measured when a snapshot was taken (pause, skew, consistency), kept beside the machine's state; never needed to work.

use super::Engine;
use super::apply::Measured;
use crate::model::{Result, SnapshotName, VmId};
use crate::plan::{Intent, Plan};
use crate::sys::fs;
use serde_json::{Map, Value};
use std::path::PathBuf;

impl Engine {
    fn measured_path(&self, vmid: VmId, name: &SnapshotName) -> PathBuf {
        self.paths
            .state_dir()
            .join(format!("snapshots/{vmid}/{name}.json"))
    }

    /// Called when an operation is done: facts come with the snapshot and go with it.
    pub(super) fn remember_measured(&self, plan: &Plan, measured: &Measured) -> Result<()> {
        match &plan.intent {
            Intent::Snapshot { vmid, name, .. } if !measured.is_empty() => {
                let facts: Map<String, Value> = measured
                    .iter()
                    .map(|(key, value)| (key.clone(), Value::String(value.clone())))
                    .collect();
                let path = self.measured_path(*vmid, name);
                if let Some(dir) = path.parent() {
                    fs::create_dirs(dir)?;
                }
                fs::replace_file(&path, Value::Object(facts).to_string().as_bytes(), 0o644)
            }
            Intent::SnapshotDelete { vmid, name, .. } => {
                fs::remove_file(&self.measured_path(*vmid, name)).map(|_| ())
            }
            Intent::VmDestroy { vmid, .. } => {
                let dir = self.paths.state_dir().join(format!("snapshots/{vmid}"));
                if let Ok(entries) = std::fs::read_dir(&dir) {
                    for entry in entries.flatten() {
                        fs::remove_file(&entry.path())?;
                    }
                    fs::remove_dir_if_empty(&dir);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// `pause_us`, `skew_us`, `drain_us` (integers), `consistency` of a snapshot this program took; empty for others.
    pub fn measured(&self, vmid: VmId, name: &SnapshotName) -> Map<String, Value> {
        let text = std::fs::read(self.measured_path(vmid, name)).unwrap_or_default();
        let mut facts: Map<String, Value> = serde_json::from_slice(&text).unwrap_or_default();
        for value in facts.values_mut() {
            if let Some(number) = value.as_str().and_then(|text| text.parse::<u64>().ok()) {
                *value = number.into();
            }
        }
        facts
    }
}
