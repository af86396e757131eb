//! Writing guest bytes: in place where a cluster is ours alone, else into a fresh one filled from what was there.

use super::image::Image;
use crate::format::qcow2::Cluster;
use crate::model::{Error, Result};

impl Image {
    /// The range is inside the virtual size. Durable after the next flush.
    pub(super) fn write(&mut self, mut guest: u64, mut from: &[u8]) -> Result<()> {
        self.before_change()?;
        while !from.is_empty() {
            let within = self.layout.within(guest);
            let room = (self.layout.cluster_size() - within).min(from.len() as u64);
            let (piece, rest) = from.split_at(room as usize);
            self.write_piece(guest, piece)?;
            guest += room;
            from = rest;
        }
        Ok(())
    }

    /// The cluster may be written in place: nothing else refers to it.
    pub(super) fn is_ours(&mut self, host: u64, copied: bool) -> Result<bool> {
        let number = self.layout.cluster_of(host);
        match self.refcounts.get(&self.store, number)? {
            0 => Err(Error::integrity(format!(
                "'{}': the data cluster at {host:#x} has a reference count of 0",
                self.shown()
            ))
            .hint("repair it with 'qemu-img check -r all'")),
            count => Ok(copied && count == 1),
        }
    }

    /// `piece` lies in the one cluster at `guest`.
    fn write_piece(&mut self, guest: u64, piece: &[u8]) -> Result<()> {
        let within = self.layout.within(guest);
        let before = self.active(guest)?;
        if let Cluster::Data { host, copied } = before
            && self.is_ours(host, copied)?
        {
            return self.store.write(host + within, piece);
        }
        let (first, second) = self.indexes(guest);
        let table = self.l2_for_change(first)?;
        // The flush inside may not change what is mapped, so `before` still holds.
        if let Cluster::ZeroAllocated { host, copied } = before
            && self.is_ours(host, copied)?
        {
            let bytes = self.filled(Cluster::Zero, guest, piece)?;
            self.store.write(host, &bytes)?;
            return self.set_entry(table, second, Cluster::Data { host, copied: true });
        }
        let bytes = self.filled(before, guest, piece)?;
        let host = self.allocate()?;
        if let Err(error) = self.store.write(host, &bytes) {
            self.unallocate(host)?;
            return Err(error);
        }
        self.set_entry(table, second, Cluster::Data { host, copied: true })?;
        self.release(before, false);
        Ok(())
    }

    /// The whole cluster around `guest` with `piece` put in. Bytes past the virtual size are zeros.
    fn filled(&mut self, before: Cluster, guest: u64, piece: &[u8]) -> Result<Vec<u8>> {
        let size = self.layout.cluster_size() as usize;
        if piece.len() == size {
            return Ok(piece.to_vec());
        }
        let within = self.layout.within(guest) as usize;
        let start = guest - within as u64;
        let mut bytes = vec![0; size];
        let inside = (self.size().saturating_sub(start)).min(size as u64) as usize;
        self.read_piece(before, start, &mut bytes[..inside])?;
        bytes[within..within + piece.len()].copy_from_slice(piece);
        Ok(bytes)
    }
}
