//! The qcow2 format as bytes: header, extensions, snapshot table, L1/L2 entries (QEMU docs/interop/qcow2.rst); pure.

pub mod bytes;
pub mod entry;
pub mod header;
pub mod refcount;
pub mod snapshot;

pub use entry::{Cluster, Layout};
pub use header::{Extension, Header, RawHeader};
pub use refcount::Width;
pub use snapshot::SnapshotRecord;

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
pub fn summary(head: &[u8]) -> Result<Summary> {
    let header = RawHeader::parse(head)?.check_head(head)?;
    Ok(Summary {
        size: ByteCount(header.fields.size),
        backing_name: header
            .backing_name
            .as_ref()
            .map(|name| String::from_utf8_lossy(name).into_owned()),
        backing_format: header
            .extension(header::extension::BACKING_FORMAT)
            .and_then(|name| std::str::from_utf8(name).ok())
            .and_then(ImageFormat::parse),
        snapshot_count: header.fields.snapshot_count,
        snapshot_offset: header.fields.snapshot_offset,
    })
}

/// Reads a snapshot table of `count` entries; `bytes` starts at the table (longer is fine, too short is an error).
pub fn snapshot_table(bytes: &[u8], count: u32) -> Result<Vec<SnapshotInfo>> {
    let (records, _) = snapshot::read_table(bytes, count)?;
    Ok(records.iter().map(SnapshotRecord::info).collect())
}
