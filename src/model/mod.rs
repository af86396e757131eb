//! The nouns of the project: always valid, made by one door (`parse` or a checked constructor); never does I/O.

pub mod calendar;
pub mod error;
pub mod id;
pub mod slot;
pub mod spec;
pub mod storage;
pub mod text;
pub mod units;
pub mod volume;

pub use error::{Error, ErrorKind, Result};
pub use id::{OpId, SnapshotName, StorageId, VmId, VolumeId, VolumeName};
pub use slot::{Bus, Slot};
pub use spec::{CloneMode, CloneSpec, CreateSpec, Outcome, Preallocation};
pub use storage::{ContentType, StorageKind};
pub use text::Text;
pub use units::{ByteCount, ByteOffset, Extent};
pub use volume::{
    Facts, Identity, ImageFormat, Inventory, SnapshotInfo, SnapshotMethod, Space, VolumeInfo,
};
