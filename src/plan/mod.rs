//! Intent and observed world to a plan or a refusal. Pure: no I/O, no clock, no environment, no randomness of its own.

pub mod audit;
mod check;
mod clone;
mod create;
mod destroy;
mod draft;
mod drive_wish;
pub mod intent;
mod lifecycle;
pub mod naming;
pub mod pending;
pub mod predict;
pub mod prune;
pub mod render;
pub mod rescan;
mod resize;
mod rollback;
mod sections;
mod settings;
mod snapshot;
mod snapshot_delete;
pub mod step;
mod storage;
mod template;
pub mod testing;
pub mod trash;
pub mod tree;
mod unlink;
mod volume;
pub mod world;

pub use audit::{Finding, FindingKind, audit};
pub use intent::Intent;
pub use render::render;
pub use step::{Direction, Plan, Step};
pub use world::{StorageView, VmView, World};

use crate::model::Result;

/// The one door: what has to be done to make `intent` true in `world`, or why it cannot be.
///
/// An `Err` is a refusal: it names the object, who holds it and the next command.
pub fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    match intent {
        Intent::StorageAdd { .. } | Intent::StorageSet { .. } | Intent::StorageRemove { .. } => {
            storage::plan(intent, world)
        }
        Intent::VolumeAlloc { .. }
        | Intent::VolumeFree { .. }
        | Intent::VolumeResize { .. }
        | Intent::VolumeRename { .. }
        | Intent::VolumeForgetSnapshot { .. } => volume::plan(intent, world),
        Intent::VmCreate { .. } => create::plan(intent, world),
        Intent::VmSet { .. } => settings::plan(intent, world),
        Intent::VmDestroy { .. } => destroy::plan(intent, world),
        Intent::VmClone { .. } => clone::plan(intent, world),
        Intent::VmTemplate { .. } => template::plan(intent, world),
        Intent::VmUnlock { .. }
        | Intent::VmStart { .. }
        | Intent::VmStop { .. }
        | Intent::VmShutdown { .. } => lifecycle::plan(intent, world),
        Intent::DiskResize { .. } => resize::plan(intent, world),
        Intent::DiskUnlink { .. } => unlink::plan(intent, world),
        Intent::Snapshot { .. } => snapshot::plan(intent, world),
        Intent::Rollback { .. } => rollback::plan(intent, world),
        Intent::SnapshotDelete { .. } => snapshot_delete::plan(intent, world),
        Intent::SnapshotPrune { .. } => prune::plan(intent, world),
        Intent::Rescan { .. } => rescan::plan(intent, world),
        Intent::Quarantine { .. } | Intent::TrashRestore { .. } | Intent::TrashEmpty { .. } => {
            trash::plan(intent, world)
        }
    }
}
