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
    pub fn parse(slot: Slot, text: &str) -> Result<Self> {
        let bad =
            |why: &str| Error::usage(format!("drive {slot}: {why} in '{}'", text.escape_debug()));
        let mut file = None;
        let mut options: Vec<(String, String)> = Vec::new();
        for item in text.split(',').filter(|i| !i.is_empty()) {
            let (key, value) = item.split_once('=').unwrap_or(("file", item));
            if matches!(key, "file" | "volume") && file.is_none() {
                file = Some(value);
            } else if options.iter().any(|(k, _)| k == key) || matches!(key, "file" | "volume") {
                return Err(bad(&format!("duplicate '{key}'")));
            } else {
                options.push((key.to_owned(), value.to_owned()));
            }
        }
        let file = match file.ok_or_else(|| bad("no volume"))? {
            "none" => DriveFile::Empty,
            "cdrom" => DriveFile::HostCdrom,
            path if path.starts_with('/') => DriveFile::Path(path.to_owned()),
            volume => DriveFile::Volume(VolumeId::parse(volume)?),
        };
        options.sort();
        Ok(Drive { file, options })
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
    pub fn set_option(&mut self, key: &str, value: Option<&str>) {
        self.options.retain(|(k, _)| k != key);
        if let Some(value) = value {
            self.options.push((key.to_owned(), value.to_owned()));
            self.options.sort();
        }
    }
}

impl std::fmt::Display for Drive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            DriveFile::Volume(volume) => write!(f, "{volume}")?,
            DriveFile::Path(path) => f.write_str(path)?,
            DriveFile::Empty => f.write_str("none")?,
            DriveFile::HostCdrom => f.write_str("cdrom")?,
        }
        self.options
            .iter()
            .try_for_each(|(key, value)| write!(f, ",{key}={value}"))
    }
}
