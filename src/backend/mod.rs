//! The control plane of one storage: what it holds and the verbs that change it. Backends choose nothing and keep no state
//! between calls; names and policies come from the plan.

pub mod dir;
pub mod mem;

use crate::block::BlockDevice;
use crate::format::storage_cfg::StorageSection;
use crate::model::{
    ByteCount, CloneSpec, CreateSpec, Facts, Identity, Inventory, OpId, Outcome, Result,
    SnapshotName, Space, StorageId, StorageKind, VolumeName,
};
use std::path::PathBuf;
use std::sync::Arc;

/// What a changing verb may tell the journal while it works, and what an earlier, interrupted run told it.
pub trait Scope {
    fn op(&self) -> &OpId;
    /// Durable before it returns. Used to record the identity of an object before it gets its name.
    fn note(&self, key: &str, value: &str) -> Result<()>;
    /// The last note of that key in this operation, also from before a crash.
    fn noted(&self, key: &str) -> Option<String>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    ReadOnly,
    ReadWrite,
}

/// Control of one storage.
///
/// Every changing verb is atomic for an observer that comes after `kill -9` and a repeat of the same call (or `withdraw`):
/// the world is as before or as wanted. It is durable when it returns. Called again it answers `AlreadySo`. The caller holds
/// the lease of the storage; names were checked by the planner, and are checked again here where they become paths.
pub trait Backend: Send + Sync {
    fn id(&self) -> &StorageId;
    fn facts(&self) -> Facts;
    /// `Offline` when the storage cannot be reached.
    fn space(&self) -> Result<Space>;
    /// Everything there is, by one bulk query, sorted; runs no program per volume, probes no format.
    fn inventory(&self) -> Result<Inventory>;
    /// Host path of a volume or of its snapshot; does not check that it exists.
    fn path(&self, name: &VolumeName, snapshot: Option<&SnapshotName>) -> Result<PathBuf>;
    /// A new volume of zeros. `Conflict` when the name exists and this operation (see `Scope`) did not make it.
    fn create(&self, spec: &CreateSpec, scope: &dyn Scope) -> Result<Outcome>;
    /// A new volume with the content of another one (at a snapshot).
    fn clone_from(&self, spec: &CloneSpec, scope: &dyn Scope) -> Result<Outcome>;
    /// Undo of `create`/`clone_from`, by the identity they noted: removes what this operation made under that name, finished or not; never anything else.
    fn withdraw(&self, name: &VolumeName, scope: &dyn Scope) -> Result<Outcome>;
    /// With its snapshots. `Conflict` when the volume is not the one of `identity`, or others depend on it.
    fn destroy(&self, name: &VolumeName, identity: Option<&Identity>) -> Result<Outcome>;
    /// Grow only, by whole sectors of 512 bytes; the new part reads as zeros. `Busy` when the volume is open.
    fn resize(&self, name: &VolumeName, size: ByteCount) -> Result<Outcome>;
    /// All of these volumes under one name; a volume that has it already is left alone. What can be refused (missing volume,
    /// no method for its format) is refused before the first is taken; each volume is all or nothing, the group is not: after
    /// an error the caller removes what was taken. `Busy` when a volume is open for writing. `created`: seconds since 1970.
    fn snapshot(
        &self,
        names: &[VolumeName],
        snapshot: &SnapshotName,
        created: u64,
    ) -> Result<Outcome>;
    /// Absent snapshots are fine.
    fn destroy_snapshots(&self, what: &[(VolumeName, SnapshotName)]) -> Result<Outcome>;
    /// The volume reads as at the snapshot afterwards, its size too; later snapshots stay. The identity may be a new one.
    fn rollback(
        &self,
        name: &VolumeName,
        snapshot: &SnapshotName,
        scope: &dyn Scope,
    ) -> Result<Outcome>;
    /// With its snapshots; the identity stays. `Conflict` when the target exists or linked clones name the old one. A repeat (or
    /// `repair` of either name) finishes a rename that was interrupted; the extension, and so the format, never changes.
    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<Outcome>;
    /// Write protection of base images.
    fn protect(&self, name: &VolumeName, read_only: bool) -> Result<Outcome>;
    /// `Busy` when somebody else has it open for writing. At a snapshot, and when protected, only read-only (`Unsupported`).
    /// `Integrity` when the image names a backing file that the volume's name does not allow.
    fn open(
        &self,
        name: &VolumeName,
        snapshot: Option<&SnapshotName>,
        mode: OpenMode,
    ) -> Result<Arc<dyn BlockDevice>>;
    /// After a crash inside a verb: make the volume's own metadata clean again (leaked clusters, temporary files).
    fn repair(&self, name: &VolumeName) -> Result<Outcome>;
}

/// The backend of a configured storage; `None`: no backend for this kind yet.
pub fn open(section: &StorageSection) -> Result<Option<Box<dyn Backend>>> {
    match section.kind {
        Some(StorageKind::Dir) => Ok(Some(Box::new(dir::Dir::new(section)?))),
        _ => Ok(None),
    }
}
