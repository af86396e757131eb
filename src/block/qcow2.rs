//! The qcow2 engine behind `BlockDevice`; opens no backing file but the one it is given.

use super::{BlockDevice, Geometry, IoChannel, LiveSnapshots};
use crate::model::{
    ByteCount, Error, Extent, ImageFormat, Preallocation, Result, SnapshotInfo, SnapshotName,
};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// What a new image shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    pub size: ByteCount,
    /// Bytes, a power of two from 512 to 2 MiB (Proxmox and QEMU default: 65536).
    pub cluster_size: u32,
    pub preallocation: Preallocation,
    /// Backing file name as it shall stand in the header (relative to the image) and its format.
    pub backing: Option<(String, ImageFormat)>,
}

/// Writes a fresh version 3 image into an empty file; durable on return. The file has no meaning before that.
pub fn create(_file: &File, _new: &NewImage) -> Result<()> {
    Err(Error::unsupported("qcow2 not written yet"))
}

/// An open image.
pub struct Qcow2 {}

impl Qcow2 {
    /// `file` is open (and locked) as needed for `writable`; `backing` is the opened backing device when the header names one
    /// (the caller decides by policy which file that is). `shown` names the image in errors.
    pub fn open(
        _file: File,
        _shown: &Path,
        _writable: bool,
        _backing: Option<Arc<dyn BlockDevice>>,
    ) -> Result<Self> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    /// All or nothing by one header write, also after SIGKILL at any write.
    pub fn snapshot_create(&self, _name: &SnapshotName, _created: u64) -> Result<()> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    /// False when there was none of that name.
    pub fn snapshot_delete(&self, _name: &SnapshotName) -> Result<bool> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    /// The active state becomes that of the snapshot (size too). All or nothing.
    pub fn snapshot_apply(&self, _name: &SnapshotName) -> Result<()> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    /// The state at a snapshot as a read-only device.
    pub fn at_snapshot(self: Arc<Self>, _name: &SnapshotName) -> Result<Arc<dyn BlockDevice>> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    /// Recomputes reference counts; repairs leaked clusters and wrong counts. True when something was repaired.
    pub fn repair(&self) -> Result<bool> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
}

impl BlockDevice for Qcow2 {
    fn geometry(&self) -> Geometry {
        unimplemented!()
    }
    fn read_at(&self, _offset: u64, _into: &mut [u8]) -> Result<()> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    fn write_at(&self, _offset: u64, _from: &[u8]) -> Result<()> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    fn write_zeroes(&self, _extent: Extent, _may_unmap: bool) -> Result<()> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    fn discard(&self, _extent: Extent) -> Result<()> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    fn flush(&self) -> Result<()> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    fn resize(&self, _size: ByteCount) -> Result<()> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    fn data_extents(&self) -> Result<Vec<Extent>> {
        Err(Error::unsupported("qcow2 not written yet"))
    }
    fn live_snapshots(&self) -> Option<&dyn LiveSnapshots> {
        None
    }
    fn channel(self: Arc<Self>, depth: u16) -> Result<Box<dyn IoChannel>> {
        Ok(Box::new(super::BlockingChannel::new(self, depth)?))
    }
}
