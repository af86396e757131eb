//! The table of storage kinds: properties, content, formats, features (pve-storage 1.5, 3.1); data, no behaviour.

mod features;

pub use features::{
    Feature, QemuSnapshotMethod, VolumeState, has_feature, preallocation_option,
    qemu_snapshot_method,
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

use ContentType as C;
use ImageFormat as F;

const GUESTS: &[C] = &[C::Images, C::RootDir];
const ONLY_IMAGES: &[C] = &[C::Images];
const FILES: &[C] = &[
    C::Images,
    C::RootDir,
    C::VzTmpl,
    C::Iso,
    C::Backup,
    C::Snippets,
    C::Import,
];
const FILES_OR_NONE: &[C] = &[
    C::Images,
    C::RootDir,
    C::VzTmpl,
    C::Iso,
    C::Backup,
    C::Snippets,
    C::Import,
    C::None,
];
const RAW: &[F] = &[F::Raw];
const RAW_SUBVOL: &[F] = &[F::Raw, F::Subvol];
const FILE_FORMATS: &[F] = &[F::Raw, F::Qcow2, F::Vmdk];

static DIR: KindTable = KindTable {
    required_fixed: &["path"],
    required: &[],
    optional: &[
        "content-dirs",
        "nodes",
        "shared",
        "disable",
        "prune-backups",
        "max-protected-backups",
        "content",
        "format",
        "mkdir",
        "create-base-path",
        "create-subdirs",
        "is_mountpoint",
        "bwlimit",
        "preallocation",
    ],
    optional_fixed: &["snapshot-as-volume-chain"],
    content: FILES_OR_NONE,
    default_content: GUESTS,
    formats: &[F::Raw, F::Qcow2, F::Vmdk, F::Subvol],
    always_shared: false,
};
static NFS: KindTable = KindTable {
    required_fixed: &["export", "path", "server"],
    required: &[],
    optional: &[
        "content-dirs",
        "nodes",
        "disable",
        "prune-backups",
        "max-protected-backups",
        "content",
        "format",
        "mkdir",
        "create-base-path",
        "create-subdirs",
        "bwlimit",
        "preallocation",
        "options",
    ],
    optional_fixed: &["snapshot-as-volume-chain"],
    content: FILES,
    default_content: ONLY_IMAGES,
    formats: FILE_FORMATS,
    always_shared: true,
};
static CIFS: KindTable = KindTable {
    required_fixed: &["path", "server", "share"],
    required: &[],
    optional: &[
        "content-dirs",
        "nodes",
        "disable",
        "prune-backups",
        "max-protected-backups",
        "content",
        "format",
        "mkdir",
        "create-base-path",
        "create-subdirs",
        "bwlimit",
        "preallocation",
        "options",
        "subdir",
        "username",
        "password",
        "domain",
        "smbversion",
    ],
    optional_fixed: &["snapshot-as-volume-chain"],
    content: FILES,
    default_content: ONLY_IMAGES,
    formats: FILE_FORMATS,
    always_shared: true,
};
static CEPHFS: KindTable = KindTable {
    required_fixed: &["path"],
    required: &[],
    optional: &[
        "monhost",
        "username",
        "keyring",
        "subdir",
        "fuse",
        "fs-name",
        "options",
        "content-dirs",
        "prune-backups",
        "max-protected-backups",
        "mkdir",
        "create-base-path",
        "create-subdirs",
        "bwlimit",
        "format",
        "nodes",
        "disable",
        "content",
    ],
    optional_fixed: &[],
    content: &[C::VzTmpl, C::Iso, C::Backup, C::Snippets, C::Import],
    default_content: &[C::Backup],
    formats: RAW,
    always_shared: true,
};
static BTRFS: KindTable = KindTable {
    required_fixed: &["path"],
    required: &[],
    optional: &[
        "nodes",
        "shared",
        "disable",
        "prune-backups",
        "max-protected-backups",
        "content",
        "format",
        "is_mountpoint",
        "nocow",
        "mkdir",
        "create-base-path",
        "create-subdirs",
        "preallocation",
    ],
    optional_fixed: &[],
    content: FILES_OR_NONE,
    default_content: GUESTS,
    formats: RAW_SUBVOL,
    always_shared: false,
};
static LVM: KindTable = KindTable {
    required_fixed: &["vgname"],
    required: &[],
    optional: &[
        "nodes",
        "shared",
        "disable",
        "saferemove",
        "saferemove-stepsize",
        "saferemove_throughput",
        "content",
        "tagged_only",
        "bwlimit",
        "snapshot-as-volume-chain",
    ],
    optional_fixed: &["base"],
    content: GUESTS,
    default_content: ONLY_IMAGES,
    formats: RAW,
    always_shared: false,
};
static LVM_THIN: KindTable = KindTable {
    required_fixed: &["thinpool", "vgname"],
    required: &[],
    optional: &["nodes", "disable", "content", "bwlimit"],
    optional_fixed: &[],
    content: GUESTS,
    default_content: GUESTS,
    formats: RAW,
    always_shared: false,
};
static ZFS_POOL: KindTable = KindTable {
    required_fixed: &["pool"],
    required: &[],
    optional: &[
        "blocksize",
        "sparse",
        "mountpoint",
        "nodes",
        "disable",
        "content",
        "bwlimit",
    ],
    optional_fixed: &[],
    content: GUESTS,
    default_content: GUESTS,
    formats: RAW_SUBVOL,
    always_shared: false,
};
static ZFS: KindTable = KindTable {
    required_fixed: &["blocksize", "iscsiprovider", "pool", "portal", "target"],
    required: &[],
    optional: &[
        "nowritecache",
        "sparse",
        "comstar_hg",
        "comstar_tg",
        "lio_tpg",
        "zfs-base-path",
        "nodes",
        "disable",
        "content",
        "bwlimit",
    ],
    optional_fixed: &[],
    content: ONLY_IMAGES,
    default_content: ONLY_IMAGES,
    formats: RAW,
    always_shared: true,
};
static RBD: KindTable = KindTable {
    required_fixed: &[],
    required: &[],
    optional: &[
        "monhost",
        "pool",
        "data-pool",
        "namespace",
        "username",
        "krbd",
        "keyring",
        "content",
        "nodes",
        "disable",
        "bwlimit",
    ],
    optional_fixed: &[],
    content: GUESTS,
    default_content: ONLY_IMAGES,
    formats: RAW,
    always_shared: true,
};
static ISCSI: KindTable = KindTable {
    required_fixed: &["portal", "target"],
    required: &[],
    optional: &["nodes", "disable", "content", "bwlimit"],
    optional_fixed: &[],
    content: &[C::Images, C::None],
    default_content: ONLY_IMAGES,
    formats: RAW,
    always_shared: true,
};
static PBS: KindTable = KindTable {
    required_fixed: &["datastore", "server"],
    required: &[],
    optional: &[
        "namespace",
        "port",
        "username",
        "password",
        "encryption-key",
        "master-pubkey",
        "fingerprint",
        "prune-backups",
        "max-protected-backups",
        "content",
        "nodes",
        "disable",
    ],
    optional_fixed: &[],
    content: &[C::Backup, C::None],
    default_content: &[C::Backup],
    formats: RAW,
    always_shared: true,
};
static ESXI: KindTable = KindTable {
    required_fixed: &[],
    required: &["server", "username"],
    optional: &[
        "password",
        "skip-cert-verification",
        "port",
        "nodes",
        "shared",
        "disable",
        "content",
    ],
    optional_fixed: &[],
    content: &[C::Import],
    default_content: &[C::Import],
    formats: FILE_FORMATS,
    always_shared: false,
};

/// The row of one kind.
pub fn table(kind: StorageKind) -> &'static KindTable {
    match kind {
        StorageKind::Dir => &DIR,
        StorageKind::Nfs => &NFS,
        StorageKind::Cifs => &CIFS,
        StorageKind::Cephfs => &CEPHFS,
        StorageKind::Btrfs => &BTRFS,
        StorageKind::Lvm => &LVM,
        StorageKind::LvmThin => &LVM_THIN,
        StorageKind::ZfsPool => &ZFS_POOL,
        StorageKind::Zfs => &ZFS,
        StorageKind::Rbd => &RBD,
        StorageKind::Iscsi | StorageKind::IscsiDirect => &ISCSI,
        StorageKind::Pbs => &PBS,
        StorageKind::Esxi => &ESXI,
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
