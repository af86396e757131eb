//! How each storage kind reads a volume name (pve-storage 2.1), and which name comes next (2.3); never looks at bytes of a volume.

use crate::model::{ContentType, Error, ImageFormat, Result, StorageKind, VmId, VolumeName};

/// A volume name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeParts {
    pub content: ContentType,
    /// Name without directory: `vm-100-disk-0.qcow2`.
    pub name: String,
    pub vmid: Option<u64>,
    pub base_name: Option<String>,
    pub base_vmid: Option<u64>,
    pub is_base: bool,
    /// As Proxmox spells it (`raw`, `qcow2`, `ova+vmdk`, `pbs-vm`); `ImageFormat` where it is one.
    pub format: String,
}

impl VolumeParts {
    pub fn image_format(&self) -> Option<ImageFormat> {
        ImageFormat::parse(&self.format)
    }
}

/// Errors carry Proxmox's sentence.
pub fn parse(_kind: StorageKind, _name: &str) -> Result<VolumeParts> {
    Err(Error::unsupported("volname::parse not written yet"))
}

/// Lowest free `vm-ID-disk-N` (N in 0..1024) in the form this kind uses (`ID/vm-ID-disk-N.FORMAT` on path kinds), given the
/// names taken (full volume names of the storage). `template` asks for `base-`... never: bases are made by rename.
pub fn next_free(
    _kind: StorageKind,
    _vmid: VmId,
    _format: ImageFormat,
    _taken: &[&str],
) -> Result<VolumeName> {
    Err(Error::unsupported("volname::next_free not written yet"))
}

/// The name `leaf` (`vm-100-disk-7.raw` or `vm-100-disk-7`) of `vmid` as a full volume name of this kind, checked against the
/// kind's rules; the format must match the extension on path kinds.
pub fn named(
    _kind: StorageKind,
    _vmid: VmId,
    _leaf: &str,
    _format: ImageFormat,
) -> Result<VolumeName> {
    Err(Error::unsupported("volname::named not written yet"))
}
