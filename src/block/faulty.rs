//! A device that fails on purpose at the N-th operation, for tests of whoever uses devices; passes everything else through.

use super::{BlockDevice, BlockingChannel, Geometry, IoChannel};
use crate::model::{ByteCount, Error, ErrorKind, Extent, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error; nothing happens.
    Fails,
    /// No space; nothing happens.
    NoSpace,
    /// A write does its first half, then fails; other operations just fail.
    Short,
}

/// Counts reads, writes, zeroes, discards, flushes and resizes from 1; the one numbered `at` fails, and all later ones too when
/// `forever`.
pub struct Faulty {
    inner: Arc<dyn BlockDevice>,
    fault: Fault,
    at: u64,
    forever: bool,
    count: AtomicU64,
}

impl Faulty {
    pub fn new(inner: Arc<dyn BlockDevice>, fault: Fault, at: u64, forever: bool) -> Self {
        Faulty {
            inner,
            fault,
            at,
            forever,
            count: AtomicU64::new(0),
        }
    }
    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    fn strike(&self) -> Option<Error> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let hit = number == self.at || self.forever && number > self.at;
        let kind = match self.fault {
            Fault::NoSpace => ErrorKind::NoSpace,
            Fault::Fails | Fault::Short => ErrorKind::Failed,
        };
        hit.then(|| Error::new(kind, format!("operation {number} fails on purpose")))
    }
    fn pass(&self) -> Result<()> {
        self.strike().map_or(Ok(()), Err)
    }
}

impl BlockDevice for Faulty {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.pass()?;
        self.inner.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()> {
        let Some(error) = self.strike() else {
            return self.inner.write_at(offset, from);
        };
        if self.fault == Fault::Short {
            self.inner.write_at(offset, &from[..from.len() / 2])?;
        }
        Err(error)
    }
    fn write_zeroes(&self, extent: Extent, may_unmap: bool) -> Result<()> {
        self.pass()?;
        self.inner.write_zeroes(extent, may_unmap)
    }
    fn discard(&self, extent: Extent) -> Result<()> {
        self.pass()?;
        self.inner.discard(extent)
    }
    fn flush(&self) -> Result<()> {
        self.pass()?;
        self.inner.flush()
    }
    fn resize(&self, size: ByteCount) -> Result<()> {
        self.pass()?;
        self.inner.resize(size)
    }
    fn data_extents(&self) -> Result<Vec<Extent>> {
        self.inner.data_extents()
    }
    fn channel(self: Arc<Self>, depth: u16) -> Result<Box<dyn IoChannel>> {
        Ok(Box::new(BlockingChannel::new(self, depth)?))
    }
}
