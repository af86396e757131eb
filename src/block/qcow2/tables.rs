//! L2 tables in memory: loaded when needed, changes kept until the flush, clean ones dropped when there are too many.

use super::store::Store;
use crate::format::qcow2::Layout;
use crate::format::qcow2::bytes::{entries, entry_bytes};
use crate::model::Result;
use std::collections::HashMap;

/// Bytes of tables kept at most (a few more while all are dirty).
const CACHE_BYTES: u64 = 32 << 20;

pub(super) struct Table {
    pub(super) entries: Vec<u64>,
    /// First and last entry not yet on disk.
    dirty: Option<(usize, usize)>,
    used: u64,
}

pub(super) struct Tables {
    layout: Layout,
    tables: HashMap<u64, Table>,
    clock: u64,
}

impl Tables {
    pub(super) fn new(layout: Layout) -> Self {
        Tables {
            layout,
            tables: HashMap::new(),
            clock: 0,
        }
    }

    /// The table at `host`.
    pub(super) fn get(&mut self, store: &Store, host: u64) -> Result<&Table> {
        self.clock += 1;
        if !self.tables.contains_key(&host) {
            let bytes = store.read_vec(host, self.layout.cluster_size())?;
            self.evict();
            let table = Table {
                entries: entries(&bytes),
                dirty: None,
                used: 0,
            };
            self.tables.insert(host, table);
        }
        let clock = self.clock;
        let table = self.tables.entry(host).or_insert_with(|| Table {
            entries: Vec::new(),
            dirty: None,
            used: 0,
        });
        table.used = clock;
        Ok(table)
    }

    /// Changes an entry of a table that `get` or `insert` brought in.
    pub(super) fn set(&mut self, host: u64, index: usize, raw: u64) {
        if let Some(table) = self.tables.get_mut(&host)
            && table.entries[index] != raw
        {
            table.entries[index] = raw;
            table.dirty = Some(match table.dirty {
                None => (index, index),
                Some((first, last)) => (first.min(index), last.max(index)),
            });
        }
    }

    /// A table that is not on disk yet.
    pub(super) fn insert(&mut self, host: u64, entries: Vec<u64>) {
        self.evict();
        self.clock += 1;
        let dirty = Some((0, entries.len() - 1));
        let used = self.clock;
        self.tables.insert(
            host,
            Table {
                entries,
                dirty,
                used,
            },
        );
    }

    fn limit(&self) -> usize {
        (CACHE_BYTES >> self.layout.cluster_bits).max(16) as usize
    }

    /// So many tables are dirty that a flush should come before more are changed.
    pub(super) fn is_full(&self) -> bool {
        self.tables.len() >= self.limit()
            && self.tables.values().filter(|t| t.dirty.is_some()).count() >= self.limit() / 2
    }

    /// Drops the older half of the clean tables when there are too many.
    fn evict(&mut self) {
        if self.tables.len() < self.limit() {
            return;
        }
        let mut ages: Vec<u64> = self
            .tables
            .values()
            .filter(|t| t.dirty.is_none())
            .map(|t| t.used)
            .collect();
        ages.sort_unstable();
        let Some(middle) = ages.get(ages.len() / 2).copied() else {
            return;
        };
        self.tables
            .retain(|_, table| table.dirty.is_some() || table.used > middle);
    }

    /// Writes what changed. True when something was written.
    pub(super) fn write(&mut self, store: &mut Store) -> Result<bool> {
        let mut hosts: Vec<u64> = self.dirty_hosts();
        hosts.sort_unstable();
        for host in &hosts {
            if let Some(table) = self.tables.get_mut(host)
                && let Some((first, last)) = table.dirty
            {
                // Whole 512-byte sectors: 64 entries each.
                let first = first & !63;
                let last = (last | 63).min(table.entries.len() - 1);
                let bytes = entry_bytes(&table.entries[first..=last]);
                store.write(host + first as u64 * 8, &bytes)?;
                table.dirty = None;
            }
        }
        Ok(!hosts.is_empty())
    }

    fn dirty_hosts(&self) -> Vec<u64> {
        self.tables
            .iter()
            .filter(|(_, table)| table.dirty.is_some())
            .map(|(host, _)| *host)
            .collect()
    }

    /// The table at `host` is no longer part of the image.
    pub(super) fn forget(&mut self, host: u64) {
        self.tables.remove(&host);
    }
    pub(super) fn clear(&mut self) {
        self.tables.clear();
    }
}
