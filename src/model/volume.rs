//! What a storage holds, as observed: volumes, their snapshots, their identities; an observation is never kept beyond one run.

use super::storage::words;
use super::{ByteCount, SnapshotName, VmId, VolumeName};
use serde::{Deserialize, Serialize};
use std::fmt;

words! {
    /// How the bytes of a volume are laid out; decided by name and config, never by probing.
    ImageFormat { Raw = "raw", Qcow2 = "qcow2", Vmdk = "vmdk", Subvol = "subvol" }
}

words! {
    /// What takes a snapshot of a volume.
    SnapshotMethod { Qcow2Internal = "qcow2-internal", Reflink = "reflink", Zfs = "zfs", Thin = "lvm-thin", Btrfs = "btrfs", Memory = "memory" }
}

impl SnapshotMethod {
    /// Why this method is the one, in half a sentence for people.
    pub fn reason(self) -> &'static str {
        match self {
            SnapshotMethod::Qcow2Internal => {
                "the image is qcow2: metadata only, kept inside the file, readable by qemu-img"
            }
            SnapshotMethod::Reflink => {
                "the file system shares blocks between files (FICLONE), so a raw image is cloned without copying"
            }
            SnapshotMethod::Zfs => "zvols snapshot natively and atomically per pool",
            SnapshotMethod::Thin => "thin volumes share blocks in their pool",
            SnapshotMethod::Btrfs => "the volume is a btrfs subvolume",
            SnapshotMethod::Memory => "the volume lives in memory",
        }
    }
}

/// What makes a volume itself even if its name is reused (inode and creation time, ZFS guid, LVM uuid). Compared, never parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identity(pub String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One snapshot as the storage reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    pub name: String,
    /// Seconds since 1970 UTC.
    pub created: u64,
    pub method: SnapshotMethod,
    /// Kind-specific id (qcow2 snapshot id, guid).
    pub id: String,
}

/// One volume as observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// For a linked clone the name carries the base: `100/base-100-disk-0.raw/101/vm-101-disk-0.qcow2`.
    pub name: VolumeName,
    /// The VM number inside the name (or directory); may be below 100 for foreign names, hence no `VmId`.
    pub owner: Option<u32>,
    pub format: ImageFormat,
    /// Virtual size; `None` when the image cannot be read (see `problem`).
    pub size: Option<ByteCount>,
    /// Bytes really allocated.
    pub used: Option<ByteCount>,
    /// Backing file as written in the image, if any.
    pub parent: Option<String>,
    pub created: Option<u64>,
    /// Base image of a template (`base-`).
    pub is_base: bool,
    pub read_only: bool,
    pub snapshots: Vec<SnapshotInfo>,
    pub identity: Identity,
    /// Why `size` or `snapshots` could not be read, naming offset or field.
    pub problem: Option<String>,
}

impl VolumeInfo {
    pub fn owner_vm(&self) -> Option<VmId> {
        self.owner.and_then(|n| VmId::new(n).ok())
    }
    pub fn has_snapshot(&self, name: &SnapshotName) -> bool {
        self.snapshots.iter().any(|s| s.name == name.as_str())
    }
}

/// What one storage holds right now, sorted by name (case-insensitive).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    pub volumes: Vec<VolumeInfo>,
}

impl Inventory {
    /// By exact name, or by the last component of a linked clone's name.
    pub fn find(&self, name: &VolumeName) -> Option<&VolumeInfo> {
        self.volumes.iter().find(|v| v.name == *name)
    }
}

/// Room on a storage, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    pub total: ByteCount,
    pub used: ByteCount,
    pub available: ByteCount,
}

/// What a backend can do, as data; fixed while the storage is configured as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How a volume of each format would be snapshotted; a format that is absent cannot be.
    pub snapshot_methods: Vec<(ImageFormat, SnapshotMethod)>,
    pub formats: Vec<ImageFormat>,
    pub default_format: ImageFormat,
    /// Rollback only to the newest snapshot.
    pub newest_only_rollback: bool,
    /// Formats a linked clone may have; empty when there are none.
    pub linked_clone_formats: Vec<ImageFormat>,
    /// Whether names carry the owner as a directory (`100/vm-...`) and an extension.
    pub path_names: bool,
    pub can_resize: bool,
}

impl Facts {
    pub fn snapshot_method(&self, format: ImageFormat) -> Option<SnapshotMethod> {
        self.snapshot_methods
            .iter()
            .find(|(f, _)| *f == format)
            .map(|(_, m)| *m)
    }
}
