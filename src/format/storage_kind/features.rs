//! What volumes of each kind and format can do (pve-storage 3.1) and how they are allocated; says nothing about one disk's state.

use crate::model::storage::words;
use crate::model::{Error, ImageFormat, Preallocation, Result, StorageKind};
use serde::{Deserialize, Serialize};
use std::fmt;

words! {
    /// What an upper layer may ask a volume for.
    Feature {
        Snapshot = "snapshot", Clone = "clone", Template = "template", Copy = "copy", SparseInit = "sparseinit",
        Rename = "rename", Replicate = "replicate",
    }
}

words! {
    /// Who takes a snapshot of a running machine's volume.
    QemuSnapshotMethod { Qemu = "qemu", Storage = "storage", Mixed = "mixed" }
}

/// Which state of a volume a feature is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeState {
    Current,
    Base,
    Snapshot,
}

/// Letters of a matrix cell: `c`urrent, `b`ase, `s`napshot.
type Row = [&'static str; 7];

/// Columns as `Feature::ALL`.
fn row(kind: StorageKind, format: &str) -> Row {
    use StorageKind as K;
    const NOTHING: Row = [""; 7];
    match (kind, format) {
        (K::Btrfs, "raw") => ["cs", "bcs", "c", "bcs", "bc", "c", ""],
        (K::Btrfs, "subvol") => ["cs", "b", "c", "bcs", "", "", ""],
        (K::Dir | K::Nfs | K::Cifs | K::Cephfs | K::Btrfs, "qcow2") => {
            ["cs", "b", "c", "bcs", "bc", "c", ""]
        }
        (K::Dir | K::Nfs | K::Cifs | K::Cephfs | K::Btrfs, "raw" | "vmdk") => {
            ["", "b", "c", "bc", "bc", "c", ""]
        }
        (K::Dir | K::Nfs | K::Cifs | K::Cephfs, "subvol") => ["", "", "c", "", "", "", ""],
        (K::Lvm, "raw") => ["", "", "", "bc", "", "c", ""],
        (K::Lvm, "qcow2") => ["cs", "", "", "bcs", "", "c", ""],
        (K::LvmThin, _) => ["c", "bs", "c", "bcs", "bc", "c", ""],
        (K::ZfsPool, _) => ["cs", "b", "c", "bc", "bc", "c", "bc"],
        (K::Zfs, _) => ["cs", "b", "c", "bc", "", "", ""],
        (K::Rbd, _) => ["cs", "bs", "c", "bcs", "bc", "c", ""],
        (K::Iscsi | K::IscsiDirect, _) => ["", "", "", "c", "", "", ""],
        _ => NOTHING,
    }
}

/// Whether a volume of this kind and format (as `VolumeParts::format`) has the feature in that state.
pub fn has_feature(kind: StorageKind, format: &str, feature: Feature, state: VolumeState) -> bool {
    let letter = match state {
        VolumeState::Current => 'c',
        VolumeState::Base => 'b',
        VolumeState::Snapshot => 's',
    };
    Feature::ALL
        .iter()
        .zip(row(kind, format))
        .any(|(f, cell)| *f == feature && cell.contains(letter))
}

/// `chain` and `krbd` are the storage's properties `snapshot-as-volume-chain` and `krbd`.
pub fn qemu_snapshot_method(
    kind: StorageKind,
    format: &str,
    chain: bool,
    krbd: bool,
) -> QemuSnapshotMethod {
    use StorageKind as K;
    match kind {
        K::Dir | K::Nfs | K::Cifs | K::Cephfs | K::Btrfs if format == "qcow2" => {
            if chain {
                QemuSnapshotMethod::Mixed
            } else {
                QemuSnapshotMethod::Qemu
            }
        }
        K::Lvm if format == "qcow2" && chain => QemuSnapshotMethod::Mixed,
        K::Rbd if !krbd => QemuSnapshotMethod::Qemu,
        _ => QemuSnapshotMethod::Storage,
    }
}

/// What to tell the image creator; `None` for formats that have no such option. A raw image has no metadata, so asking for it
/// means off.
pub fn preallocation_option(
    format: ImageFormat,
    wanted: Option<&str>,
) -> Result<Option<Preallocation>> {
    let default = match format {
        ImageFormat::Raw => Preallocation::Off,
        ImageFormat::Qcow2 => Preallocation::Metadata,
        ImageFormat::Vmdk | ImageFormat::Subvol => return Ok(None),
    };
    let mode = match wanted {
        None => default,
        Some(word) => Preallocation::parse(word).ok_or_else(|| {
            Error::usage(format!(
                "preallocation mode '{}' not supported by format '{format}'",
                word.escape_debug()
            ))
        })?,
    };
    Ok(Some(match (format, mode) {
        (ImageFormat::Raw, Preallocation::Metadata) => Preallocation::Off,
        (_, mode) => mode,
    }))
}

/// Where rollback goes to the newest snapshot only: what stands in the way, and Proxmox's refusal if something does. `object` is
/// how the volume is called in the sentence.
pub fn newest_only(
    object: &str,
    oldest_first: &[&str],
    target: &str,
) -> (Vec<String>, Option<Error>) {
    let Some(at) = oldest_first.iter().position(|name| *name == target) else {
        let missing = format!("can't rollback, snapshot '{target}' does not exist on '{object}'");
        return (Vec::new(), Some(Error::not_found(missing)));
    };
    let blockers: Vec<String> = oldest_first[at + 1..]
        .iter()
        .map(|s| (*s).to_owned())
        .collect();
    let refusal = (!blockers.is_empty()).then(|| {
        Error::conflict(format!(
            "can't rollback, '{target}' is not most recent snapshot on '{object}'"
        ))
    });
    (blockers, refusal)
}

/// Whether a linked clone is possible when the target must have one of these formats: an overlay on a file is always qcow2.
pub fn clone_fits(kind: StorageKind, format: &str, target_formats: &[&str]) -> bool {
    let native = kind == StorageKind::Btrfs && matches!(format, "raw" | "subvol");
    !super::is_path_kind(kind) || native || target_formats.contains(&"qcow2")
}
