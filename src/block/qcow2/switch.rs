//! The atomic change: everything new is written to free clusters, then one write of the header makes all of it count.
//!
//! Before that write the file is exactly the old image, after it exactly the new one; in neither is a cluster leaked, because the
//! new reference counts come with the switch too. Used for snapshots, growth of tables and repair.

use super::image::{Image, Live};
use crate::format::qcow2::bytes::entry_bytes;
use crate::format::qcow2::entry::{COPIED, OFFSET};
use crate::format::qcow2::header::MAX_REFCOUNT_TABLE_BYTES;
use crate::format::qcow2::snapshot::table_bytes;
use crate::format::qcow2::{Cluster, Header};
use crate::model::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

pub(super) struct Switch<'a> {
    pub(super) image: &'a mut Image,
    pub(super) header: Header,
    /// Refcount blocks as they shall be, by index.
    blocks: BTreeMap<usize, Vec<u8>>,
    /// What is to be written before the switch: place and bytes.
    writes: Vec<(u64, Vec<u8>)>,
    pub(super) l1: Option<Vec<u64>>,
    pub(super) snapshots: Option<Vec<Live>>,
    /// Entries the refcount table must have room for.
    table_entries: usize,
    force_table: bool,
    /// Clusters are taken from here on.
    cursor: u64,
    taken: Vec<u64>,
    freed: Vec<u64>,
    /// Every count comes from here, not from the file (repair).
    fresh_counts: bool,
}

impl<'a> Switch<'a> {
    /// The image must be flushed: nothing of it may wait in memory.
    pub(super) fn new(image: &'a mut Image) -> Self {
        let cursor = image.refcounts.hint;
        Switch {
            header: image.header.clone(),
            blocks: BTreeMap::new(),
            writes: Vec::new(),
            l1: None,
            snapshots: None,
            table_entries: 0,
            force_table: false,
            cursor,
            taken: Vec::new(),
            freed: Vec::new(),
            fresh_counts: false,
            image,
        }
    }

    /// Counts start from nothing; clusters are taken behind the end of the file, where nothing old can be.
    pub(super) fn start_counts_afresh(&mut self) {
        self.fresh_counts = true;
        self.force_table = true;
        self.cursor = self.image.layout.clusters(self.image.store.end());
    }

    pub(super) fn need_refcount_table(&mut self, entries: usize) {
        self.table_entries = self.table_entries.max(entries);
        self.force_table = true;
    }

    pub(super) fn highest_block(&self) -> usize {
        self.blocks.keys().next_back().map_or(0, |index| index + 1)
    }
    pub(super) fn blocks_at(&self, index: usize) -> Option<&Vec<u8>> {
        self.blocks.get(&index)
    }

    fn block(&mut self, index: usize) -> Result<&mut Vec<u8>> {
        if !self.blocks.contains_key(&index) {
            let image = &mut *self.image;
            let empty = vec![0; image.layout.cluster_size() as usize];
            let bytes = match self.fresh_counts {
                true => None,
                false => image
                    .refcounts
                    .block(&image.store, index)?
                    .map(|bytes| bytes.clone()),
            };
            self.blocks.insert(index, bytes.unwrap_or(empty));
        }
        Ok(self.blocks.entry(index).or_default())
    }

    /// The count of a cluster after the switch, as far as it is known by now.
    pub(super) fn count(&mut self, cluster: u64) -> Result<u64> {
        let (index, within) = self.image.refcounts.place(cluster);
        let width = self.image.refcounts.width;
        if let Some(bytes) = self.blocks.get(&index) {
            return Ok(width.get(bytes, within));
        }
        if self.fresh_counts {
            return Ok(0);
        }
        self.image.refcounts.get(&self.image.store, cluster)
    }

    pub(super) fn add(&mut self, cluster: u64, more: bool) -> Result<()> {
        let (index, within) = self.image.refcounts.place(cluster);
        let width = self.image.refcounts.width;
        let before = self.count(cluster)?;
        let after = if more {
            before.checked_add(1)
        } else {
            before.checked_sub(1)
        };
        let at = cluster << self.image.layout.cluster_bits;
        let Some(after) = after else {
            return Err(Error::integrity(format!(
                "'{}': the cluster at {at:#x} is in use but has a reference count of 0",
                self.image.shown()
            ))
            .hint("repair it with 'qemu-img check -r all'"));
        };
        if after > width.max() {
            return Err(Error::unsupported(format!(
                "'{}': the cluster at {at:#x} would have {after} references, but its {}-bit counts end at {}",
                self.image.shown(), width.bits(), width.max()
            ))
            .hint("delete a snapshot, or convert the image to one with wider reference counts"));
        }
        width.set(self.block(index)?, within, after);
        if after == 0 {
            self.freed.push(cluster);
        }
        Ok(())
    }

    /// Counts a run of clusters once more, or once less.
    pub(super) fn add_range(&mut self, offset: u64, bytes: u64, more: bool) -> Result<()> {
        let layout = self.image.layout;
        let first = layout.cluster_of(offset);
        for number in first..first + layout.clusters(bytes) {
            self.add(number, more)?;
        }
        Ok(())
    }

    /// Counts everything an L1 table leads to once more, or once less.
    pub(super) fn add_state(&mut self, l1: &[u64], more: bool) -> Result<()> {
        for (index, raw) in l1.iter().enumerate() {
            let Some(host) = self.image.l2_host(*raw, index)? else {
                continue;
            };
            let entries = self
                .image
                .tables
                .get(&self.image.store, host)?
                .entries
                .clone();
            for (index, raw) in entries.iter().enumerate() {
                let cluster = self.image.check_entry(host, index, *raw)?;
                let (first, count) = cluster.references(self.image.layout);
                for number in first..first + count {
                    self.add(number, more)?;
                }
            }
            self.add(self.image.layout.cluster_of(host), more)?;
        }
        Ok(())
    }

    /// `count` neighbouring clusters that are free both now and after the switch.
    fn take(&mut self, count: u64) -> Result<u64> {
        let mut first = self.cursor.max(1);
        let mut next = first;
        while next - first < count {
            let (index, _) = self.image.refcounts.place(next);
            if index > (MAX_REFCOUNT_TABLE_BYTES / 8) as usize {
                return Err(Error::new(
                    ErrorKind::NoSpace,
                    format!("'{}' has no free clusters", self.image.shown()),
                ));
            }
            let free = self.image.refcounts.get(&self.image.store, next)? == 0
                && self.count(next)? == 0
                && !self.image.metadata.contains(&next);
            next += 1;
            if !free {
                first = next;
            }
        }
        self.cursor = next;
        let width = self.image.refcounts.width;
        for number in first..next {
            let (index, within) = self.image.refcounts.place(number);
            width.set(self.block(index)?, within, 1);
            self.taken.push(number);
        }
        Ok(first << self.image.layout.cluster_bits)
    }

    /// Puts `bytes` into new clusters of their own.
    pub(super) fn put(&mut self, mut bytes: Vec<u8>) -> Result<u64> {
        let cluster = self.image.layout.cluster_size();
        let offset = self.take((bytes.len() as u64).div_ceil(cluster))?;
        bytes.resize(bytes.len().next_multiple_of(cluster as usize), 0);
        self.writes.push((offset, bytes));
        Ok(offset)
    }

    /// An L1 table of its own for a snapshot; where, or 0 when the table is empty.
    pub(super) fn put_l1(&mut self, l1: &[u64]) -> Result<u64> {
        if l1.is_empty() {
            return Ok(0);
        }
        // COPIED means nothing in a table that is not active.
        let entries: Vec<u64> = l1.iter().map(|raw| raw & OFFSET).collect();
        self.put(entry_bytes(&entries))
    }

    /// Copies the L2 tables of `l1` whose COPIED flags would not fit the new counts, and sets those of `l1` itself.
    pub(super) fn fix_flags(&mut self, l1: &mut [u64]) -> Result<()> {
        let layout = self.image.layout;
        for (index, raw) in l1.iter_mut().enumerate() {
            let Some(host) = self.image.l2_host(*raw, index)? else {
                continue;
            };
            let mut entries = self
                .image
                .tables
                .get(&self.image.store, host)?
                .entries
                .clone();
            let mut differs = false;
            for (index, raw) in entries.iter_mut().enumerate() {
                let mut cluster = self.image.check_entry(host, index, *raw)?;
                if let Some(data) = cluster.host() {
                    let alone = self.count(layout.cluster_of(data))? == 1;
                    if let Cluster::Data { copied, .. } | Cluster::ZeroAllocated { copied, .. } =
                        &mut cluster
                    {
                        differs |= *copied != alone;
                        *copied = alone;
                    }
                    *raw = cluster.to_raw(layout);
                }
            }
            let mut place = host;
            if differs {
                self.add(layout.cluster_of(host), false)?;
                place = self.put(entry_bytes(&entries))?;
            }
            let alone = self.count(layout.cluster_of(place))? == 1;
            *raw = place | if alone { COPIED } else { 0 };
        }
        Ok(())
    }

    /// The new active L1 table (its flags are set here) in place of the old one.
    pub(super) fn replace_l1(&mut self, mut l1: Vec<u64>) -> Result<()> {
        let fields = self.image.header.fields.clone();
        if !self.fresh_counts {
            self.add_range(fields.l1_offset, u64::from(fields.l1_size) * 8, false)?;
        }
        self.fix_flags(&mut l1)?;
        self.header.fields.l1_size = l1.len() as u32;
        if !l1.is_empty() {
            self.header.fields.l1_offset = self.put(entry_bytes(&l1))?;
        }
        self.l1 = Some(l1);
        Ok(())
    }

    /// The new snapshot table in place of the old one.
    pub(super) fn replace_snapshots(&mut self, snapshots: Vec<Live>) -> Result<()> {
        let old = self.image.header.fields.snapshot_offset;
        if !self.fresh_counts && !self.image.snapshots.is_empty() {
            self.add_range(old, self.image.snapshot_bytes, false)?;
        }
        let records: Vec<_> = snapshots.iter().map(|live| live.record.clone()).collect();
        let bytes = table_bytes(&records)?;
        self.header.fields.snapshot_count = records.len() as u32;
        self.header.fields.snapshot_offset = if bytes.is_empty() {
            0
        } else {
            self.put(bytes)?
        };
        self.snapshots = Some(snapshots);
        Ok(())
    }

    /// Finds places for changed refcount blocks and, when any moved, for the table, until no count changes any more.
    fn place_refcounts(&mut self) -> Result<Vec<u64>> {
        let layout = self.image.layout;
        let old: Vec<u64> = self.image.refcounts.table().to_vec();
        let mut placed: BTreeMap<usize, u64> = BTreeMap::new();
        let mut place: Option<(u64, usize)> = None;
        if !self.fresh_counts {
            let bytes = old.len() as u64 * 8;
            self.add_range(self.header.fields.refcount_offset, bytes, false)?;
        }
        let per_cluster = layout.l2_entries() as usize;
        loop {
            if let Some(index) = self
                .blocks
                .keys()
                .find(|index| !placed.contains_key(index))
                .copied()
            {
                if let Some(offset) = old
                    .get(index)
                    .filter(|offset| **offset != 0 && !self.fresh_counts)
                {
                    self.add(layout.cluster_of(*offset), false)?;
                }
                placed.insert(index, self.take(1)?);
                continue;
            }
            let highest = self.blocks.keys().next_back().copied().unwrap_or(0) + 1;
            let needed = highest.max(self.table_entries);
            match place {
                Some((_, entries)) if entries >= needed => break,
                Some((offset, entries)) => self.add_range(offset, entries as u64 * 8, false)?,
                None => {}
            }
            // Room to grow, so that a table is not moved for every few blocks.
            let entries = match needed > old.len() {
                true => (needed + needed / 2 + 1).next_multiple_of(per_cluster),
                false => old.len(),
            };
            if entries as u64 * 8 > MAX_REFCOUNT_TABLE_BYTES.max(layout.cluster_size()) {
                return Err(Error::new(
                    ErrorKind::NoSpace,
                    format!("'{}': the refcount table is full", self.image.shown()),
                ));
            }
            place = Some((self.take(entries as u64 / per_cluster as u64)?, entries));
        }
        let (offset, entries) = place.unwrap_or((self.header.fields.refcount_offset, old.len()));
        let mut table = if self.fresh_counts {
            vec![0; entries]
        } else {
            old
        };
        table.resize(entries, 0);
        for (index, place) in &placed {
            table[*index] = *place;
            self.writes.push((*place, self.blocks[index].clone()));
        }
        self.writes.push((offset, entry_bytes(&table)));
        self.header.fields.refcount_offset = offset;
        self.header.fields.refcount_clusters = (entries / per_cluster) as u32;
        Ok(table)
    }

    /// Writes, syncs, switches, syncs. An error before the switch leaves the image as it was.
    pub(super) fn commit(mut self) -> Result<()> {
        let table = match self.blocks.is_empty() && !self.force_table {
            true => None,
            false => Some(self.place_refcounts()?),
        };
        let image = self.image;
        self.writes.sort_unstable_by_key(|(offset, _)| *offset);
        for (offset, bytes) in &self.writes {
            image.store.write(*offset, bytes)?;
        }
        image.store.sync()?;
        if let Err(error) = image.store.write(0, &self.header.fields.fixed_bytes()) {
            // Whether the switch happened cannot be known.
            image.store.set_failed();
            return Err(error);
        }
        let synced = image.store.sync();
        if let Some(table) = table {
            image
                .refcounts
                .install(self.header.fields.refcount_offset, table, self.blocks);
        }
        if let Some(l1) = self.l1 {
            image.l1 = l1;
        }
        if let Some(snapshots) = self.snapshots {
            image.snapshot_bytes = snapshots_length(&snapshots)?;
            image.snapshots = snapshots;
        }
        image.header = self.header;
        image.tables.clear();
        image.inflated = None;
        image.metadata.extend(self.taken);
        let mut free = Vec::new();
        for number in self.freed {
            if image.refcounts.get(&image.store, number)? == 0 {
                image.metadata.remove(&number);
                free.push(number);
            }
        }
        synced?;
        free.sort_unstable();
        free.dedup();
        image.punch(free);
        Ok(())
    }
}

fn snapshots_length(snapshots: &[Live]) -> Result<u64> {
    let records: Vec<_> = snapshots.iter().map(|live| live.record.clone()).collect();
    Ok(table_bytes(&records)?.len() as u64)
}
