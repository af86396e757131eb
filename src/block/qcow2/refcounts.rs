//! Reference counts of an open image: blocks loaded when first needed, changes kept in memory until the flush writes them.

use super::store::Store;
use crate::format::qcow2::bytes::entries;
use crate::format::qcow2::entry::check_table_entry;
use crate::format::qcow2::{Header, Layout, Width};
use crate::model::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

struct Block {
    bytes: Vec<u8>,
    dirty: bool,
}

pub(super) struct Refcounts {
    layout: Layout,
    pub(super) width: Width,
    /// Offsets of the blocks, 0 where there is none.
    table: Vec<u64>,
    table_offset: u64,
    changed: BTreeSet<usize>,
    blocks: BTreeMap<usize, Block>,
    /// Every cluster below is in use.
    pub(super) hint: u64,
}

impl Refcounts {
    pub(super) fn open(store: &Store, header: &Header) -> Result<Self> {
        let layout = header.layout;
        let offset = header.fields.refcount_offset;
        let length = u64::from(header.fields.refcount_clusters) << layout.cluster_bits;
        let table = entries(&store.read_vec(offset, length)?);
        for (index, raw) in table.iter().enumerate() {
            let place = || {
                format!(
                    "'{}': refcount table entry {index} at {:#x}",
                    store.shown,
                    offset + index as u64 * 8
                )
            };
            check_table_entry(*raw, layout, store.end(), place)?;
            if raw >> 63 != 0 {
                return Err(Error::integrity(format!(
                    "{}: has reserved bits set",
                    place()
                )));
            }
        }
        Ok(Refcounts {
            layout,
            width: header.width,
            table,
            table_offset: offset,
            changed: BTreeSet::new(),
            blocks: BTreeMap::new(),
            hint: 0,
        })
    }

    pub(super) fn per_block(&self) -> u64 {
        self.width.per_block(self.layout.cluster_size())
    }
    pub(super) fn place(&self, cluster: u64) -> (usize, usize) {
        let per = self.per_block();
        ((cluster / per) as usize, (cluster % per) as usize)
    }
    pub(super) fn table(&self) -> &[u64] {
        &self.table
    }

    /// The bytes of block `index`; `None` when there is no such block.
    pub(super) fn block(&mut self, store: &Store, index: usize) -> Result<Option<&mut Vec<u8>>> {
        let offset = self.table.get(index).copied().unwrap_or(0);
        if offset == 0 {
            return Ok(None);
        }
        if !self.blocks.contains_key(&index) {
            let bytes = store.read_vec(offset, self.layout.cluster_size())?;
            self.blocks.insert(
                index,
                Block {
                    bytes,
                    dirty: false,
                },
            );
        }
        Ok(self.blocks.get_mut(&index).map(|block| &mut block.bytes))
    }

    pub(super) fn get(&mut self, store: &Store, cluster: u64) -> Result<u64> {
        let (index, within) = self.place(cluster);
        let width = self.width;
        Ok(self
            .block(store, index)?
            .map_or(0, |bytes| width.get(bytes, within)))
    }

    /// The block of the cluster must exist.
    pub(super) fn set(&mut self, store: &Store, cluster: u64, value: u64) -> Result<()> {
        let (index, within) = self.place(cluster);
        let width = self.width;
        match self.block(store, index)? {
            Some(bytes) => width.set(bytes, within, value),
            None => {
                return Err(Error::integrity(format!(
                    "'{}': no refcount block covers cluster {cluster}",
                    store.shown
                )));
            }
        }
        if let Some(block) = self.blocks.get_mut(&index) {
            block.dirty = true;
        }
        Ok(())
    }

    /// A new block for `index`, kept in `cluster`, which it covers itself.
    pub(super) fn add_block(&mut self, index: usize, cluster: u64) {
        let mut bytes = vec![0; self.layout.cluster_size() as usize];
        let (_, within) = self.place(cluster);
        self.width.set(&mut bytes, within, 1);
        self.blocks.insert(index, Block { bytes, dirty: true });
        self.table[index] = cluster << self.layout.cluster_bits;
        self.changed.insert(index);
    }

    /// Writes changed blocks, then (behind a sync) the table entries that name new ones. True when something was written.
    pub(super) fn write(&mut self, store: &mut Store) -> Result<bool> {
        let mut wrote = false;
        for (index, block) in self.blocks.iter_mut().filter(|(_, b)| b.dirty) {
            store.write(self.table[*index], &block.bytes)?;
            block.dirty = false;
            wrote = true;
        }
        if !self.changed.is_empty() {
            store.sync()?;
            while let Some(index) = self.changed.first().copied() {
                let at = self.table_offset + index as u64 * 8;
                store.write(at, &self.table[index].to_be_bytes())?;
                self.changed.remove(&index);
            }
        }
        Ok(wrote)
    }

    /// After a switch: the structures now on disk.
    pub(super) fn install(
        &mut self,
        offset: u64,
        table: Vec<u64>,
        blocks: BTreeMap<usize, Vec<u8>>,
    ) {
        self.table_offset = offset;
        self.table = table;
        self.changed.clear();
        for (index, bytes) in blocks {
            self.blocks.insert(
                index,
                Block {
                    bytes,
                    dirty: false,
                },
            );
        }
        self.hint = 0;
    }
}
