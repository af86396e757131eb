//! From a guest offset to the cluster behind it, every entry checked when it is used; changes nothing on its own.

use super::image::Image;
use crate::format::qcow2::Cluster;
use crate::format::qcow2::entry::{COPIED, OFFSET, check_table_entry};
use crate::model::{Error, Result};

impl Image {
    /// The L2 table an L1 entry names; `None` when it names none.
    pub(super) fn l2_host(&self, raw: u64, index: usize) -> Result<Option<u64>> {
        check_table_entry(raw, self.layout, self.end(), || {
            format!("'{}': L1 entry {index}", self.shown())
        })
    }

    /// Entry `index` of the L2 table at `host`, checked against the file and the metadata.
    pub(super) fn entry(&mut self, host: u64, index: usize) -> Result<Cluster> {
        let table = self.tables.get(&self.store, host)?;
        let raw = table.entries.get(index).copied().unwrap_or(0);
        self.check_entry(host, index, raw)
    }

    pub(super) fn check_entry(&self, host: u64, index: usize, raw: u64) -> Result<Cluster> {
        if raw == 0 {
            return Ok(Cluster::Unallocated);
        }
        let place = || {
            format!(
                "'{}': L2 entry {index} at {:#x}",
                self.shown(),
                host + index as u64 * 8
            )
        };
        let cluster = Cluster::check(raw, self.layout, self.end(), place)?;
        let (first, count) = cluster.references(self.layout);
        for number in first..first + count {
            if self.metadata.contains(&number) {
                return Err(Error::integrity(format!(
                    "{}: {raw:#018x} names a cluster that holds metadata",
                    place()
                )));
            }
        }
        Ok(cluster)
    }

    /// Where `guest` is in the tables: L1 index, L2 index.
    pub(super) fn indexes(&self, guest: u64) -> (usize, usize) {
        let l1 = guest / self.layout.l2_coverage();
        let l2 = (guest % self.layout.l2_coverage()) >> self.layout.cluster_bits;
        (l1 as usize, l2 as usize)
    }

    /// The cluster behind `guest` in the state that `l1` describes.
    pub(super) fn lookup(&mut self, l1: &[u64], guest: u64) -> Result<Cluster> {
        let (first, second) = self.indexes(guest);
        match self.l2_host(l1.get(first).copied().unwrap_or(0), first)? {
            None => Ok(Cluster::Unallocated),
            Some(host) => self.entry(host, second),
        }
    }

    /// The same for the active state.
    pub(super) fn active(&mut self, guest: u64) -> Result<Cluster> {
        let (first, second) = self.indexes(guest);
        match self.l2_host(self.l1.get(first).copied().unwrap_or(0), first)? {
            None => Ok(Cluster::Unallocated),
            Some(host) => self.entry(host, second),
        }
    }

    /// The active L2 table `index` for changing: made when there is none, copied when it is shared.
    pub(super) fn l2_for_change(&mut self, index: usize) -> Result<u64> {
        if self.tables.is_full() {
            self.flush()?;
        }
        let raw = self.l1.get(index).copied().unwrap_or(0);
        let host = self.l2_host(raw, index)?;
        if let Some(host) = host {
            let number = self.layout.cluster_of(host);
            let count = self.refcounts.get(&self.store, number)?;
            if count == 0 {
                return Err(Error::integrity(format!(
                    "'{}': the L2 table at {host:#x} has a reference count of 0",
                    self.shown()
                ))
                .hint("repair it with 'qemu-img check -r all'"));
            }
            if raw & COPIED != 0 && count == 1 {
                return Ok(host);
            }
        }
        let entries = match host {
            Some(host) => self.tables.get(&self.store, host)?.entries.clone(),
            None => vec![0; self.layout.l2_entries() as usize],
        };
        let fresh = self.allocate()?;
        self.metadata.insert(self.layout.cluster_of(fresh));
        self.tables.insert(fresh, entries);
        // `allocate` may have moved the L1 table, never changed its entries.
        self.l1[index] = fresh & OFFSET | COPIED;
        self.l1_changed.insert(index);
        if let Some(host) = host {
            self.release(
                Cluster::Data {
                    host,
                    copied: false,
                },
                false,
            );
        }
        Ok(fresh)
    }

    pub(super) fn set_entry(&mut self, host: u64, index: usize, cluster: Cluster) -> Result<()> {
        self.tables.get(&self.store, host)?;
        self.tables.set(host, index, cluster.to_raw(self.layout));
        Ok(())
    }
}
