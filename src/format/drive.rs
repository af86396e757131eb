//! Drive strings of VM configs (pve-vm 1.6): `store:vm-100-disk-0,size=32G`; reads and prints, decides nothing.

use crate::model::{ByteCount, Error, Result, Slot, VolumeId};

/// What a drive names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriveFile {
    Volume(VolumeId),
    Path(String),
    /// `none`: an empty CD drive.
    Empty,
    /// `cdrom`: the host's drive.
    HostCdrom,
}

/// A drive string that is valid for its slot. Unknown or invalid strings do not become a `Drive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    pub file: DriveFile,
    /// Sub-keys other than `file`, in the printed order, values as printed.
    pub options: Vec<(String, String)>,
}

impl Drive {
    pub fn parse(slot: Slot, _text: &str) -> Result<Self> {
        Err(Error::usage(format!("drive {slot}")))
    }
    pub fn volume(&self) -> Option<&VolumeId> {
        match &self.file {
            DriveFile::Volume(id) => Some(id),
            _ => None,
        }
    }
    pub fn get(&self, key: &str) -> Option<&str> {
        self.options
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }
    pub fn is_cdrom(&self) -> bool {
        self.get("media") == Some("cdrom")
    }
    /// A CD drive whose volume is `vm-ID-cloudinit`.
    pub fn is_cloudinit(&self) -> bool {
        self.is_cdrom()
            && self
                .volume()
                .is_some_and(|v| v.name.as_str().contains("-cloudinit"))
    }
    pub fn size(&self) -> Option<ByteCount> {
        self.get("size").and_then(super::size::parse_disk_size)
    }
    pub fn set_option(&mut self, _key: &str, _value: Option<&str>) {}
}

impl std::fmt::Display for Drive {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
