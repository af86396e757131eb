//! The table of storage kinds: properties, content, formats, features (pve-storage 1.5, 3.1); data, no behaviour.

mod features;
mod rows;

pub use features::{
    Feature, QemuSnapshotMethod, VolumeState, clone_fits, has_feature, newest_only,
    preallocation_option, qemu_snapshot_method,
};

use crate::model::{ContentType, ImageFormat, StorageKind};

/// What a storage kind accepts in storage.cfg.
#[derive(Debug)]
pub struct KindTable {
    /// Needed, and never changed after creation.
    pub required_fixed: &'static [&'static str],
    /// Needed, may be changed.
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
    /// May be given at creation only.
    pub optional_fixed: &'static [&'static str],
    pub content: &'static [ContentType],
    pub default_content: &'static [ContentType],
    pub formats: &'static [ImageFormat],
    /// Shared by all nodes whatever the file says.
    pub always_shared: bool,
}

/// What one property is to one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PropertyUse {
    pub required: bool,
    pub fixed: bool,
}

impl KindTable {
    /// `None`: this kind has no such property.
    pub fn property(&self, key: &str) -> Option<PropertyUse> {
        let listed = |list: &[&str]| list.contains(&key);
        let found = |required, fixed| Some(PropertyUse { required, fixed });
        if listed(self.required_fixed) {
            found(true, true)
        } else if listed(self.required) {
            found(true, false)
        } else if listed(self.optional) {
            found(false, false)
        } else if listed(self.optional_fixed) {
            found(false, true)
        } else {
            None
        }
    }
    pub fn required_keys(&self) -> impl Iterator<Item = &'static str> {
        self.required_fixed.iter().chain(self.required).copied()
    }
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.required_keys()
            .chain(self.optional.iter().copied())
            .chain(self.optional_fixed.iter().copied())
    }
}

/// The row of one kind.
pub fn table(kind: StorageKind) -> &'static KindTable {
    match kind {
        StorageKind::Dir => &rows::DIR,
        StorageKind::Nfs => &rows::NFS,
        StorageKind::Cifs => &rows::CIFS,
        StorageKind::Cephfs => &rows::CEPHFS,
        StorageKind::Btrfs => &rows::BTRFS,
        StorageKind::Lvm => &rows::LVM,
        StorageKind::LvmThin => &rows::LVM_THIN,
        StorageKind::ZfsPool => &rows::ZFS_POOL,
        StorageKind::Zfs => &rows::ZFS,
        StorageKind::Rbd => &rows::RBD,
        StorageKind::Iscsi | StorageKind::IscsiDirect => &rows::ISCSI,
        StorageKind::Pbs => &rows::PBS,
        StorageKind::Esxi => &rows::ESXI,
    }
}

/// Kinds whose volumes are files below a root directory, named `OWNER/NAME.FORMAT`.
pub fn is_path_kind(kind: StorageKind) -> bool {
    matches!(
        kind,
        StorageKind::Dir
            | StorageKind::Nfs
            | StorageKind::Cifs
            | StorageKind::Cephfs
            | StorageKind::Btrfs
    )
}

/// Formats a storage offers for new volumes and the one taken when none is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    pub default: ImageFormat,
    pub valid: Vec<ImageFormat>,
}

/// `format` and `chain` are the storage's `format` and `snapshot-as-volume-chain` properties. A default that the kind does not
/// know is ignored.
pub fn formats(kind: StorageKind, format: Option<ImageFormat>, chain: bool) -> Formats {
    let mut valid = table(kind).formats.to_vec();
    let mut default = ImageFormat::Raw;
    if kind == StorageKind::Lvm && chain {
        valid.push(ImageFormat::Qcow2);
        default = ImageFormat::Qcow2;
    }
    let settable = table(kind).property("format").is_some();
    if let Some(wanted) = format.filter(|f| settable && valid.contains(f)) {
        default = wanted;
    }
    Formats { default, valid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_by_its_kind() {
        for kind in StorageKind::ALL {
            let row = table(*kind);
            assert!(row.default_content.iter().all(|c| row.content.contains(c)));
            assert!(row.formats.contains(&ImageFormat::Raw));
            let mut keys: Vec<_> = row.keys().collect();
            keys.sort_unstable();
            let count = keys.len();
            keys.dedup();
            assert_eq!(keys.len(), count, "{kind}: a property stands twice");
        }
    }

    #[test]
    fn every_property_of_every_kind_has_a_value_rule() {
        for kind in StorageKind::ALL {
            for key in table(*kind).keys() {
                assert!(crate::format::value::property_type(key).is_some(), "{key}");
            }
        }
    }
}
