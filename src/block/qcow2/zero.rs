//! Zeros and discards: whole clusters by their entries where the version allows, the rest by writing zeros.

use super::image::Image;
use crate::format::qcow2::Cluster;
use crate::model::Result;

/// Zeros are written in pieces of at most this many bytes.
static ZEROS: [u8; 65536] = [0; 65536];

impl Image {
    /// The range reads as zeros afterwards; it may lie behind the virtual end (growth prepares there).
    pub(super) fn zero(&mut self, mut guest: u64, mut length: u64, unmap: bool) -> Result<()> {
        self.before_change()?;
        while length > 0 {
            let size = self.layout.cluster_size();
            let within = self.layout.within(guest);
            let part = (size - within).min(length);
            // The last cluster of the disk counts as whole when everything up to the end is zeroed.
            let whole = within == 0 && (part == size || guest + part == self.size());
            if whole && let Some(skip) = self.skip_empty_table(guest, length) {
                guest += skip;
                length -= skip;
                continue;
            }
            self.zero_cluster(guest, part, whole, unmap)?;
            guest += part;
            length -= part;
        }
        Ok(())
    }

    /// Where nothing is mapped and nothing lies below, zeros are there already: bytes up to the next table.
    fn skip_empty_table(&self, guest: u64, length: u64) -> Option<u64> {
        let (first, _) = self.indexes(guest);
        let empty = self.l1.get(first).copied().unwrap_or(0) == 0;
        let coverage = self.layout.l2_coverage();
        (empty && self.header.backing_name.is_none())
            .then(|| (coverage - guest % coverage).min(length))
    }

    fn zero_cluster(&mut self, guest: u64, part: u64, whole: bool, unmap: bool) -> Result<()> {
        let before = self.active(guest)?;
        let nothing_below = self.header.backing_name.is_none();
        match before {
            Cluster::Zero | Cluster::ZeroAllocated { .. } if !unmap || before == Cluster::Zero => {
                return Ok(());
            }
            Cluster::Unallocated if nothing_below => return Ok(()),
            _ => {}
        }
        if !whole {
            return self.write_zeros(guest, part);
        }
        let after = match before {
            _ if self.layout.version < 3 && nothing_below => Cluster::Unallocated,
            _ if self.layout.version < 3 => return self.write_zeros(guest, part),
            Cluster::Data { host, copied } if !unmap && self.is_ours(host, copied)? => {
                Cluster::ZeroAllocated { host, copied: true }
            }
            _ => Cluster::Zero,
        };
        self.replace(guest, before, after)
    }

    fn replace(&mut self, guest: u64, before: Cluster, after: Cluster) -> Result<()> {
        let (first, second) = self.indexes(guest);
        let table = self.l2_for_change(first)?;
        self.set_entry(table, second, after)?;
        if after.host().is_none() {
            self.release(before, true);
        }
        Ok(())
    }

    fn write_zeros(&mut self, mut guest: u64, mut part: u64) -> Result<()> {
        while part > 0 {
            let piece = part.min(ZEROS.len() as u64);
            self.write(guest, &ZEROS[..piece as usize])?;
            guest += piece;
            part -= piece;
        }
        Ok(())
    }

    /// Gives whole clusters back; they read as zeros. Parts of clusters stay as they are.
    pub(super) fn discard(&mut self, guest: u64, length: u64) -> Result<()> {
        self.before_change()?;
        let size = self.layout.cluster_size();
        let first = guest.next_multiple_of(size);
        let end = guest + length;
        let last = if end == self.size() {
            end.next_multiple_of(size)
        } else {
            end - end % size
        };
        let mut at = first;
        while at < last {
            if let Some(skip) = self.skip_empty_table(at, last - at) {
                at += skip;
                continue;
            }
            let before = self.active(at)?;
            let needless = match before {
                Cluster::Zero => true,
                Cluster::Unallocated => self.header.backing_name.is_none(),
                _ => false,
            };
            if !needless {
                if self.layout.version < 3 && self.header.backing_name.is_some() {
                    // No zero flag, and forgetting the cluster would uncover the backing file.
                    self.write_zeros(at, size.min(self.size() - at))?;
                } else if self.header.backing_name.is_some() || self.layout.version >= 3 {
                    self.replace(at, before, Cluster::Zero)?;
                } else {
                    self.replace(at, before, Cluster::Unallocated)?;
                }
            }
            at += size;
        }
        Ok(())
    }
}
