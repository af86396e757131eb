//! The bytes of a volume in memory: a map of blocks that snapshots share until one is written; knows no names.

use super::{State, Volume, lock};
use crate::block::{BlockDevice, BlockingChannel, Geometry, IoChannel, LiveSnapshots};
use crate::model::{ByteCount, ByteOffset, Error, Extent, Result, SnapshotName};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Bytes of one block.
pub(super) const BLOCK: u64 = 4096;
/// Blocks that were written, by number; what is missing reads as zeros.
pub(super) type Blocks = BTreeMap<u64, Arc<[u8]>>;

/// Where the bytes are.
enum Source {
    Live {
        state: Arc<Mutex<State>>,
        plain: String,
    },
    Frozen {
        size: u64,
        blocks: Arc<Blocks>,
    },
}

pub(super) struct MemDevice {
    source: Source,
    writable: bool,
}

fn vanished() -> Error {
    Error::not_found("the volume was removed while it was open")
}

impl MemDevice {
    pub(super) fn frozen(size: u64, blocks: Arc<Blocks>) -> Self {
        MemDevice {
            source: Source::Frozen { size, blocks },
            writable: false,
        }
    }

    /// Counts as a user of the volume until it is dropped.
    pub(super) fn live(
        state: Arc<Mutex<State>>,
        plain: String,
        volume: &mut Volume,
        writable: bool,
    ) -> Self {
        match writable {
            true => volume.writers += 1,
            false => volume.readers += 1,
        }
        MemDevice {
            source: Source::Live { state, plain },
            writable,
        }
    }

    fn look<T>(&self, work: impl FnOnce(u64, &Blocks) -> T) -> Result<T> {
        match &self.source {
            Source::Frozen { size, blocks } => Ok(work(*size, blocks)),
            Source::Live { state, plain } => {
                let state = lock(state);
                let volume = state.volumes.get(plain).ok_or_else(vanished)?;
                Ok(work(volume.size, &volume.blocks))
            }
        }
    }

    fn change<T>(&self, work: impl FnOnce(&mut Volume, u64) -> Result<T>) -> Result<T> {
        let Source::Live { state, plain } = &self.source else {
            return Err(Error::usage("the volume is open read-only"));
        };
        if !self.writable {
            return Err(Error::usage("the volume is open read-only"));
        }
        let mut state = lock(state);
        let serial = state.next();
        let volume = state.volumes.get_mut(plain).ok_or_else(vanished)?;
        work(volume, serial)
    }
}

fn check(size: u64, offset: u64, length: u64) -> Result<()> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::usage(format!(
            "{length} bytes at {offset} are beyond the end of the volume at {size}"
        ))),
    }
}

/// Pieces of a range that lie in one block each: block number, offset in it, range in the buffer.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % BLOCK) as usize;
        let part = (BLOCK as usize - within).min(length - done);
        let range = done..done + part;
        done += part;
        Some((at / BLOCK, within, range))
    })
}

fn put(blocks: &mut Blocks, number: u64, within: usize, bytes: &[u8]) {
    let mut block = blocks
        .get(&number)
        .map_or_else(|| vec![0; BLOCK as usize], |old| old.to_vec());
    block[within..within + bytes.len()].copy_from_slice(bytes);
    if block.iter().all(|b| *b == 0) {
        blocks.remove(&number);
    } else {
        blocks.insert(number, block.into());
    }
}

impl Drop for MemDevice {
    fn drop(&mut self) {
        if let Source::Live { state, plain } = &self.source
            && let Some(volume) = lock(state).volumes.get_mut(plain)
        {
            let count = match self.writable {
                true => &mut volume.writers,
                false => &mut volume.readers,
            };
            *count = count.saturating_sub(1);
        }
    }
}

impl BlockDevice for MemDevice {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: ByteCount(self.look(|size, _| size).unwrap_or(0)),
            logical_block: 512,
            physical_block: BLOCK as u32,
            alignment: 1,
            read_only: !self.writable,
            can_discard: true,
        }
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.look(|size, blocks| {
            check(size, offset, into.len() as u64)?;
            for (number, within, range) in pieces(offset, into.len()) {
                let part = &mut into[range];
                match blocks.get(&number) {
                    Some(block) => part.copy_from_slice(&block[within..within + part.len()]),
                    None => part.fill(0),
                }
            }
            Ok(())
        })?
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.change(|volume, _| {
            check(volume.size, offset, from.len() as u64)?;
            let blocks = Arc::make_mut(&mut volume.blocks);
            for (number, within, range) in pieces(offset, from.len()) {
                put(blocks, number, within, &from[range]);
            }
            Ok(())
        })
    }
    fn write_zeroes(&self, extent: Extent, _may_unmap: bool) -> Result<()> {
        self.change(|volume, _| {
            check(volume.size, extent.start(), extent.len())?;
            let blocks = Arc::make_mut(&mut volume.blocks);
            let (first, last) = (extent.start() / BLOCK, (extent.end() - 1) / BLOCK);
            let touched: Vec<u64> = blocks.range(first..=last).map(|(n, _)| *n).collect();
            for number in touched {
                let from = extent.start().max(number * BLOCK) - number * BLOCK;
                let to = extent.end().min((number + 1) * BLOCK) - number * BLOCK;
                put(
                    blocks,
                    number,
                    from as usize,
                    &vec![0; (to - from) as usize],
                );
            }
            Ok(())
        })
    }
    fn discard(&self, extent: Extent) -> Result<()> {
        self.write_zeroes(extent, true)
    }
    fn flush(&self) -> Result<()> {
        self.look(|_, _| ())
    }
    fn resize(&self, size: ByteCount) -> Result<()> {
        self.change(|volume, _| {
            if size.get() < volume.size {
                return Err(Error::unsupported("shrinking disks is not supported"));
            }
            volume.size = size.get();
            Ok(())
        })
    }
    fn data_extents(&self) -> Result<Vec<Extent>> {
        self.look(|size, blocks| {
            let mut runs: Vec<(u64, u64)> = Vec::new();
            for number in blocks.keys() {
                let (start, end) = (number * BLOCK, ((number + 1) * BLOCK).min(size));
                match runs.last_mut() {
                    Some(run) if run.1 == start => run.1 = end,
                    _ if start < end => runs.push((start, end)),
                    _ => {}
                }
            }
            runs.into_iter()
                .map(|(start, end)| Extent::new(ByteOffset(start), ByteCount(end - start)))
                .collect()
        })?
    }
    fn live_snapshots(&self) -> Option<&dyn LiveSnapshots> {
        self.writable.then_some(self)
    }
    fn channel(self: Arc<Self>, depth: u16) -> Result<Box<dyn IoChannel>> {
        Ok(Box::new(BlockingChannel::new(self, depth)?))
    }
}

impl LiveSnapshots for MemDevice {
    fn create(&self, name: &SnapshotName, created: u64) -> Result<()> {
        self.change(
            |volume, serial| match volume.snapshot(name, created, serial) {
                true => Ok(()),
                false => Err(Error::conflict(format!(
                    "snapshot '{name}' exists already on '{}'",
                    volume.name
                ))),
            },
        )
    }
    fn delete(&self, name: &SnapshotName) -> Result<bool> {
        self.change(|volume, _| Ok(volume.forget(name)))
    }
    fn names(&self) -> Result<Vec<String>> {
        self.change(|volume, _| {
            let names = volume.snapshots.iter();
            Ok(names.map(|kept| kept.name.as_str().to_owned()).collect())
        })
    }
}
