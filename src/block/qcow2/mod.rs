//! The qcow2 engine behind `BlockDevice`; opens no backing file but the one it is given.
//!
//! Order of writes (the crash contract): data and reference counts, sync, L2 tables, sync, L1 entries, sync, and only then are
//! clusters freed. Snapshots, growth of tables and repair are one switch each, see `switch`.

mod alloc;
mod create;
mod extents;
mod image;
mod map;
#[cfg(test)]
mod power;
mod read;
mod refcounts;
mod repair;
mod resize;
mod snapshots;
mod store;
mod switch;
mod tables;
mod view;
mod write;
mod zero;

use super::{BlockDevice, Geometry, IoChannel, LiveSnapshots};
use crate::format::qcow2::header::incompatible;
use crate::model::{
    ByteCount, Error, Extent, ImageFormat, Preallocation, Result, SnapshotInfo, SnapshotName,
};
use image::Image;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

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
pub fn create(file: &File, new: &NewImage) -> Result<()> {
    create::create(file, new)
}

/// An open image. Dropping it flushes as well as it can; only `flush` tells whether that worked.
pub struct Qcow2 {
    image: Mutex<Image>,
    /// Copies of what `geometry` tells, so that asking never waits for a request that is slow.
    size: AtomicU64,
    writable: bool,
}

fn check_range(size: u64, offset: u64, length: u64) -> Result<()> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::usage(format!(
            "{length} bytes at {offset} are beyond the end of the device at {size}"
        ))),
    }
}

impl Qcow2 {
    /// `file` is open (and locked) as needed for `writable`; `backing` is the opened backing device when the header names one
    /// (the caller decides by policy which file that is; without it, reads of what it should hold are refused). `shown` names
    /// the image in errors. An image that was not closed cleanly (dirty bit) is repaired when opened for writing.
    pub fn open(
        file: File,
        shown: &Path,
        writable: bool,
        backing: Option<Arc<dyn BlockDevice>>,
    ) -> Result<Self> {
        let shown = shown.display().to_string();
        let mut image = Image::open(file, shown, writable, backing)?;
        if writable && image.header.fields.incompatible & incompatible::DIRTY != 0 {
            image.repair()?;
        }
        Ok(Qcow2 {
            size: AtomicU64::new(image.size()),
            writable,
            image: Mutex::new(image),
        })
    }

    fn lock(&self) -> Result<MutexGuard<'_, Image>> {
        self.image.lock().map_err(|_| {
            Error::failed("the image is in an unknown state after a failure inside the program")
        })
    }

    fn in_range(&self, offset: u64, length: u64) -> Result<MutexGuard<'_, Image>> {
        let image = self.lock()?;
        check_range(image.size(), offset, length)?;
        Ok(image)
    }

    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let image = self.lock()?;
        Ok(image
            .snapshots
            .iter()
            .map(|live| live.record.info())
            .collect())
    }
    /// All or nothing by one header write, also after SIGKILL at any write.
    pub fn snapshot_create(&self, name: &SnapshotName, created: u64) -> Result<()> {
        self.lock()?.snapshot_create(name, created)
    }
    /// False when there was none of that name.
    pub fn snapshot_delete(&self, name: &SnapshotName) -> Result<bool> {
        self.lock()?.snapshot_delete(name)
    }
    /// The active state becomes that of the snapshot (size too). All or nothing.
    pub fn snapshot_apply(&self, name: &SnapshotName) -> Result<()> {
        let mut image = self.lock()?;
        let applied = image.snapshot_apply(name);
        self.size.store(image.size(), Ordering::Release);
        applied
    }
    /// The state at a snapshot as a read-only device.
    pub fn at_snapshot(self: Arc<Self>, name: &SnapshotName) -> Result<Arc<dyn BlockDevice>> {
        let (l1, size, serial) = self.lock()?.snapshot_state(name)?;
        Ok(Arc::new(view::SnapshotView {
            image: self,
            l1,
            size,
            serial,
        }))
    }
    /// Recomputes reference counts; repairs leaked clusters and wrong counts. True when something was repaired.
    pub fn repair(&self) -> Result<bool> {
        self.lock()?.repair()
    }
}

impl Drop for Qcow2 {
    fn drop(&mut self) {
        if let Ok(image) = self.image.get_mut()
            && image.writable
        {
            let _ = image.flush();
        }
    }
}

impl BlockDevice for Qcow2 {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: ByteCount(self.size.load(Ordering::Acquire)),
            logical_block: 512,
            physical_block: 4096,
            alignment: 1,
            read_only: !self.writable,
            can_discard: self.writable,
        }
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.in_range(offset, into.len() as u64)?
            .read(None, offset, into)
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.in_range(offset, from.len() as u64)?
            .write(offset, from)
    }
    fn write_zeroes(&self, extent: Extent, may_unmap: bool) -> Result<()> {
        self.in_range(extent.start(), extent.len())?
            .zero(extent.start(), extent.len(), may_unmap)
    }
    fn discard(&self, extent: Extent) -> Result<()> {
        self.in_range(extent.start(), extent.len())?
            .discard(extent.start(), extent.len())
    }
    fn flush(&self) -> Result<()> {
        let mut image = self.lock()?;
        if image.writable {
            image.flush()
        } else {
            Ok(())
        }
    }
    fn resize(&self, size: ByteCount) -> Result<()> {
        let mut image = self.lock()?;
        let resized = image.resize(size.get());
        self.size.store(image.size(), Ordering::Release);
        resized
    }
    fn data_extents(&self) -> Result<Vec<Extent>> {
        let mut image = self.lock()?;
        let (l1, size) = (image.l1.clone(), image.size());
        image.data_extents(&l1, size)
    }
    fn live_snapshots(&self) -> Option<&dyn LiveSnapshots> {
        Some(self)
    }
    fn channel(self: Arc<Self>, depth: u16) -> Result<Box<dyn IoChannel>> {
        Ok(Box::new(super::BlockingChannel::new(self, depth)?))
    }
}

impl LiveSnapshots for Qcow2 {
    fn create(&self, name: &SnapshotName, created: u64) -> Result<()> {
        self.snapshot_create(name, created)
    }
    fn delete(&self, name: &SnapshotName) -> Result<bool> {
        self.snapshot_delete(name)
    }
    fn names(&self) -> Result<Vec<String>> {
        Ok(self.snapshots()?.into_iter().map(|s| s.name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_told_while_a_slow_request_holds_the_image() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let new = NewImage {
            size: ByteCount(1 << 20),
            cluster_size: 65536,
            preallocation: Preallocation::Off,
            backing: None,
        };
        create(file.as_file(), &new).unwrap();
        let image = Qcow2::open(file.reopen().unwrap(), file.path(), true, None).unwrap();
        let slow = image.lock().unwrap();
        let seen = std::thread::scope(|scope| scope.spawn(|| image.geometry()).join().unwrap());
        assert_eq!(seen.size, ByteCount(1 << 20));
        drop(slow);
        let name = SnapshotName::parse("before").unwrap();
        image.snapshot_create(&name, 1).unwrap();
        image.resize(ByteCount(2 << 20)).unwrap();
        assert_eq!(image.geometry().size, ByteCount(2 << 20));
        image.snapshot_apply(&name).unwrap();
        assert_eq!(image.geometry().size, ByteCount(1 << 20));
    }
}
