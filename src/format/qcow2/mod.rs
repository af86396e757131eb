//! The qcow2 format as bytes: header, extensions, snapshot table, L1/L2 entries (QEMU docs/interop/qcow2.rst); pure.

use crate::model::{ByteCount, ImageFormat, Result, SnapshotInfo};

/// What an inventory needs to know of an image, from its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub size: ByteCount,
    pub backing_name: Option<String>,
    pub backing_format: Option<ImageFormat>,
    pub snapshot_count: u32,
    /// Where the snapshot table is.
    pub snapshot_offset: u64,
}

/// How many bytes of the image `summary` wants (fewer when the file is shorter).
pub const SUMMARY_BYTES: usize = 4096;

/// From the first `SUMMARY_BYTES` of an image. Errors name field and offset.
pub fn summary(_head: &[u8]) -> Result<Summary> {
    Err(crate::model::Error::unsupported(
        "qcow2 summary not written yet",
    ))
}

/// Reads a snapshot table of `count` entries; `bytes` starts at the table (longer is fine, too short is an error).
pub fn snapshot_table(_bytes: &[u8], _count: u32) -> Result<Vec<SnapshotInfo>> {
    Err(crate::model::Error::unsupported(
        "qcow2 snapshot table not written yet",
    ))
}
