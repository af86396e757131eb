//! Reading guest bytes of any state of the image: data, zeros, compressed clusters, backing file.

use super::image::Image;
use crate::format::qcow2::Cluster;
use crate::model::{Error, Result};

impl Image {
    /// Reads from the state `l1` describes (`None`: the active one); the range is inside the virtual size.
    pub(super) fn read(
        &mut self,
        l1: Option<&[u64]>,
        mut guest: u64,
        mut into: &mut [u8],
    ) -> Result<()> {
        while !into.is_empty() {
            let within = self.layout.within(guest);
            let room = (self.layout.cluster_size() - within).min(into.len() as u64);
            let (piece, rest) = into.split_at_mut(room as usize);
            let cluster = match l1 {
                Some(l1) => self.lookup(l1, guest)?,
                None => self.active(guest)?,
            };
            self.read_piece(cluster, guest, piece)?;
            guest += room;
            into = rest;
        }
        Ok(())
    }

    /// `piece` lies in the one cluster at `guest`.
    pub(super) fn read_piece(
        &mut self,
        cluster: Cluster,
        guest: u64,
        piece: &mut [u8],
    ) -> Result<()> {
        let within = self.layout.within(guest);
        match cluster {
            Cluster::Data { host, .. } => self.store.read(host + within, piece),
            Cluster::Zero | Cluster::ZeroAllocated { .. } => {
                piece.fill(0);
                Ok(())
            }
            Cluster::Unallocated => self.read_backing(guest, piece),
            Cluster::Compressed { start, length } => {
                let bytes = self.inflate(start, length)?;
                let within = within as usize;
                piece.copy_from_slice(&bytes[within..within + piece.len()]);
                Ok(())
            }
        }
    }

    /// What lies below the image at `guest`: zeros without a backing file and past its end.
    fn read_backing(&self, guest: u64, piece: &mut [u8]) -> Result<()> {
        let Some(backing) = &self.backing else {
            if let Some(name) = &self.header.backing_name {
                return Err(Error::usage(format!(
                    "'{}' was opened without its backing file '{}'",
                    self.shown(),
                    String::from_utf8_lossy(name).escape_debug()
                )));
            }
            piece.fill(0);
            return Ok(());
        };
        let size = backing.geometry().size.get();
        let there = size.saturating_sub(guest).min(piece.len() as u64) as usize;
        let (below, beyond) = piece.split_at_mut(there);
        beyond.fill(0);
        if below.is_empty() {
            return Ok(());
        }
        backing.read_at(guest, below)
    }

    fn inflate(&mut self, start: u64, length: u64) -> Result<&[u8]> {
        if self.inflated.as_ref().is_none_or(|(at, _)| *at != start) {
            let packed = self.store.read_vec(start, length)?;
            let size = self.layout.cluster_size() as usize;
            let mut bytes = vec![0; size];
            let mut inflater = flate2::Decompress::new(false);
            let done = inflater.decompress(&packed, &mut bytes, flate2::FlushDecompress::Finish);
            if inflater.total_out() != size as u64 || done.is_err() {
                return Err(Error::integrity(format!(
                    "'{}': the compressed cluster at {start:#x} does not unpack to {size} bytes",
                    self.shown()
                )));
            }
            self.inflated = Some((start, bytes));
        }
        Ok(self.inflated.as_ref().map_or(&[], |(_, bytes)| bytes))
    }
}
