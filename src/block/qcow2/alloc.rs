//! Taking and giving back clusters; a cluster given back is free only after the flush that made its tables forget it.

use super::image::Image;
use super::switch::Switch;
use crate::format::qcow2::Cluster;
use crate::model::Result;

impl Image {
    /// A free cluster, its count now 1. Gives its offset; nothing names it yet.
    pub(super) fn allocate(&mut self) -> Result<u64> {
        loop {
            let number = self.refcounts.hint;
            let (index, _) = self.refcounts.place(number);
            if index >= self.refcounts.table().len() {
                self.grow_refcount_table(index)?;
                continue;
            }
            if self.refcounts.table()[index] == 0 {
                let base = (index as u64 * self.refcounts.per_block()).max(1);
                let Some(own) =
                    (base..base + self.refcounts.per_block()).find(|n| !self.metadata.contains(n))
                else {
                    self.refcounts.hint = base + self.refcounts.per_block();
                    continue;
                };
                self.refcounts.add_block(index, own);
                self.metadata.insert(own);
                continue;
            }
            self.refcounts.hint += 1;
            if self.refcounts.get(&self.store, number)? == 0 && !self.metadata.contains(&number) {
                self.refcounts.set(&self.store, number, 1)?;
                let host = number << self.layout.cluster_bits;
                self.taken_end = self.taken_end.max(host + self.layout.cluster_size());
                return Ok(host);
            }
        }
    }

    /// A cluster `allocate` gave that nothing ever named.
    pub(super) fn unallocate(&mut self, host: u64) -> Result<()> {
        let number = self.layout.cluster_of(host);
        self.refcounts.set(&self.store, number, 0)?;
        self.refcounts.hint = self.refcounts.hint.min(number);
        Ok(())
    }

    /// Drops one reference of an entry that was replaced, once the replacement is on disk.
    pub(super) fn release(&mut self, cluster: Cluster, punch: bool) {
        let (first, count) = cluster.references(self.layout);
        for number in first..first + count {
            let pending = self.pending.entry(number).or_default();
            pending.count += 1;
            pending.punch |= punch;
        }
    }

    /// Makes every change so far durable: counts and data, then tables, then L1 entries, and only then frees what they
    /// no longer name. Killed anywhere in between, the image has lost nothing but unused clusters.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.refcounts.write(&mut self.store)?;
        self.store.sync()?;
        let mut wrote = self.tables.write(&mut self.store)?;
        if !self.l1_changed.is_empty() {
            self.store.sync()?;
            while let Some(index) = self.l1_changed.first().copied() {
                let at = self.header.fields.l1_offset + index as u64 * 8;
                self.store.write(at, &self.l1[index].to_be_bytes())?;
                self.l1_changed.remove(&index);
            }
            wrote = true;
        }
        if wrote {
            self.store.sync()?;
        }
        self.free_pending()
    }

    fn free_pending(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.inflated = None;
        let mut freed = Vec::new();
        for (number, pending) in std::mem::take(&mut self.pending) {
            let count = self.refcounts.get(&self.store, number)?;
            let left = count.saturating_sub(pending.count);
            if count > 0 {
                self.refcounts.set(&self.store, number, left)?;
            }
            if left == 0 {
                self.refcounts.hint = self.refcounts.hint.min(number);
                if self.metadata.remove(&number) {
                    self.tables.forget(number << self.layout.cluster_bits);
                }
                if pending.punch {
                    freed.push(number);
                }
            }
        }
        self.refcounts.write(&mut self.store)?;
        self.punch(freed);
        Ok(())
    }

    /// Gives the space of free clusters back to the file system, neighbours in one call.
    pub(super) fn punch(&mut self, mut numbers: Vec<u64>) {
        numbers.sort_unstable();
        let size = self.layout.cluster_size();
        let runs = numbers.chunk_by(|one, next| one + 1 == *next);
        for run in runs {
            self.store.punch(run[0] * size, run.len() as u64 * size);
        }
    }

    fn grow_refcount_table(&mut self, index: usize) -> Result<()> {
        self.flush()?;
        let hint = self.refcounts.hint;
        let mut switch = Switch::new(self);
        switch.need_refcount_table(index + 1);
        switch.commit()?;
        self.refcounts.hint = hint;
        Ok(())
    }
}
