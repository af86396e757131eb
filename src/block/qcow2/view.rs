//! The state at a snapshot as a read-only device; refuses once that snapshot is deleted.

use super::Qcow2;
use super::image::Image;
use crate::block::{BlockDevice, BlockingChannel, Geometry, IoChannel};
use crate::model::{ByteCount, Error, Extent, Result};
use std::sync::{Arc, MutexGuard};

pub(super) struct SnapshotView {
    pub(super) image: Arc<Qcow2>,
    pub(super) l1: Arc<Vec<u64>>,
    pub(super) size: u64,
    pub(super) serial: u64,
}

impl SnapshotView {
    fn lock(&self) -> Result<MutexGuard<'_, Image>> {
        let image = self.image.lock()?;
        if !image
            .snapshots
            .iter()
            .any(|live| live.serial == self.serial)
        {
            return Err(Error::not_found(format!(
                "the snapshot of '{}' was deleted",
                image.shown()
            )));
        }
        Ok(image)
    }
    fn read_only<T>(&self) -> Result<T> {
        Err(Error::usage("a snapshot cannot be written"))
    }
}

impl BlockDevice for SnapshotView {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: ByteCount(self.size),
            read_only: true,
            can_discard: false,
            ..self.image.geometry()
        }
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        super::check_range(self.size, offset, into.len() as u64)?;
        self.lock()?.read(Some(&self.l1), offset, into)
    }
    fn write_at(&self, _offset: u64, _from: &[u8]) -> Result<()> {
        self.read_only()
    }
    fn write_zeroes(&self, _extent: Extent, _may_unmap: bool) -> Result<()> {
        self.read_only()
    }
    fn discard(&self, _extent: Extent) -> Result<()> {
        self.read_only()
    }
    fn flush(&self) -> Result<()> {
        Ok(())
    }
    fn resize(&self, _size: ByteCount) -> Result<()> {
        self.read_only()
    }
    fn data_extents(&self) -> Result<Vec<Extent>> {
        self.lock()?.data_extents(&self.l1, self.size)
    }
    fn channel(self: Arc<Self>, depth: u16) -> Result<Box<dyn IoChannel>> {
        Ok(Box::new(BlockingChannel::new(self, depth)?))
    }
}
