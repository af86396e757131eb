//! A raw image open for writing whose holder may take reflink snapshots of it; all reading and writing is the raw device's.

use super::layout::{Layout, Place};
use super::snapshot::{drop_reflink_snapshot, take_reflink_snapshot};
use crate::block::{BlockDevice, Geometry, IoChannel, LiveSnapshots};
use crate::model::{ByteCount, Error, Extent, Outcome, Result, SnapshotName};
use std::sync::Arc;

pub(super) struct RawLive {
    device: Arc<dyn BlockDevice>,
    layout: Layout,
    place: Place,
}

impl RawLive {
    pub(super) fn new(device: Arc<dyn BlockDevice>, layout: Layout, place: Place) -> Self {
        RawLive {
            device,
            layout,
            place,
        }
    }
}

impl BlockDevice for RawLive {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.device.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.device.write_at(offset, from)
    }
    fn write_zeroes(&self, extent: Extent, may_unmap: bool) -> Result<()> {
        self.device.write_zeroes(extent, may_unmap)
    }
    fn discard(&self, extent: Extent) -> Result<()> {
        self.device.discard(extent)
    }
    fn flush(&self) -> Result<()> {
        self.device.flush()
    }
    fn resize(&self, size: ByteCount) -> Result<()> {
        self.device.resize(size)
    }
    fn data_extents(&self) -> Result<Vec<Extent>> {
        self.device.data_extents()
    }
    fn live_snapshots(&self) -> Option<&dyn LiveSnapshots> {
        Some(self)
    }
    fn channel(self: Arc<Self>, depth: u16) -> Result<Box<dyn IoChannel>> {
        Arc::clone(&self.device).channel(depth)
    }
}

impl LiveSnapshots for RawLive {
    fn create(&self, name: &SnapshotName, created: u64) -> Result<()> {
        match take_reflink_snapshot(&self.layout, &self.place, name, created)? {
            Outcome::Changed => Ok(()),
            Outcome::AlreadySo => Err(Error::conflict(format!(
                "snapshot '{name}' exists already on '{}:{}'",
                self.layout.id, self.place.name
            ))),
        }
    }
    fn delete(&self, name: &SnapshotName) -> Result<bool> {
        drop_reflink_snapshot(&self.layout, &self.place, name)
    }
    fn names(&self) -> Result<Vec<String>> {
        let names = self.layout.snapshot_names(&self.place)?;
        Ok(names.iter().map(|name| name.as_str().to_owned()).collect())
    }
}
