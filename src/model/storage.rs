//! What kinds of storage and content exist, with their spelling in storage.cfg; what each can do stands in `format::storage_kind`.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $(#[serde(rename = $word)] $variant),+
        }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
            /// `None` for a word that is not known; callers say which object held it.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// A storage type of storage.cfg.
    StorageKind {
        Dir = "dir", Nfs = "nfs", Cifs = "cifs", Cephfs = "cephfs", Btrfs = "btrfs", Lvm = "lvm", LvmThin = "lvmthin",
        ZfsPool = "zfspool", Zfs = "zfs", Rbd = "rbd", Iscsi = "iscsi", IscsiDirect = "iscsidirect", Pbs = "pbs", Esxi = "esxi",
    }
}

words! {
    /// What a storage may hold, and what a volume is.
    ContentType {
        Images = "images", RootDir = "rootdir", VzTmpl = "vztmpl", Iso = "iso", Backup = "backup", Snippets = "snippets",
        Import = "import", None = "none",
    }
}
