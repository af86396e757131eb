//! A VM config as a lossless document (pve-vm 1.1-1.4): keys, sections and lines we do not understand stay in place; changing
//! one key changes one line. It never checks whether a change makes sense.

use super::drive::Drive;
pub use super::storage_cfg::{Problem, digest};
use crate::model::{Slot, SnapshotName};

/// A part of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    Main,
    Pending,
    /// `[special:cloudinit]`, `[special:fleecing]`.
    Special(String),
    Snapshot(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    bytes: Vec<u8>,
}

impl VmConfig {
    /// Never fails: see `problems` for what was not understood (kept all the same).
    pub fn parse(bytes: &[u8]) -> Self {
        VmConfig {
            bytes: bytes.to_vec(),
        }
    }
    pub fn problems(&self) -> &[Problem] {
        &[]
    }
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }
    /// Effective value (last duplicate wins).
    pub fn get(&self, _section: &Section, _key: &str) -> Option<String> {
        None
    }
    /// Effective keys, sorted bytewise, without `description`.
    pub fn entries(&self, _section: &Section) -> Vec<(String, String)> {
        Vec::new()
    }
    /// Replaces the line of `key` or inserts it where the writer would put it; creates the section when missing.
    /// `value` must not hold a newline.
    pub fn set(&mut self, _section: &Section, _key: &str, _value: &str) {}
    /// True when there was such a key.
    pub fn remove(&mut self, _section: &Section, _key: &str) -> bool {
        false
    }
    pub fn description(&self, _section: &Section) -> Option<String> {
        None
    }
    pub fn set_description(&mut self, _section: &Section, _text: Option<&str>) {}
    pub fn has_section(&self, _section: &Section) -> bool {
        false
    }
    pub fn remove_section(&mut self, _section: &Section) -> bool {
        false
    }
    /// Valid snapshot names in file order; names that are no `SnapshotName` are in `problems` and stay in the file.
    pub fn snapshots(&self) -> Vec<SnapshotName> {
        Vec::new()
    }
    /// Drives that parse, in iteration order (ide, scsi, virtio, sata, efidisk, tpmstate, unused).
    pub fn drives(&self, _section: &Section) -> Vec<(Slot, Drive)> {
        Vec::new()
    }
    /// What Proxmox itself would write for this content (used to compare with the observed cases).
    pub fn canonical(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}
