//! L1 and L2 table entries: the raw 64-bit words and what they mean once checked; knows no file but its length.

use crate::model::{Error, Result};

/// The entry's cluster has a reference count of exactly one and may be written in place.
pub const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// Bits 9..=55 of standard entries.
pub const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// What does not change in an image and gives entries their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// 2 or 3.
    pub version: u32,
    /// Log2 of the cluster size, 9..=21.
    pub cluster_bits: u32,
}

impl Layout {
    pub fn cluster_size(self) -> u64 {
        1 << self.cluster_bits
    }
    /// Entries in an L2 table.
    pub fn l2_entries(self) -> u64 {
        self.cluster_size() / 8
    }
    /// Guest bytes one L2 table maps.
    pub fn l2_coverage(self) -> u64 {
        self.l2_entries() << self.cluster_bits
    }
    /// L1 entries an image of `size` bytes needs.
    pub fn l1_entries(self, size: u64) -> u64 {
        size.div_ceil(self.l2_coverage())
    }
    pub fn clusters(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_size())
    }
    /// Where in a cluster `offset` is.
    pub fn within(self, offset: u64) -> u64 {
        offset & (self.cluster_size() - 1)
    }
    pub fn is_aligned(self, offset: u64) -> bool {
        self.within(offset) == 0
    }
    /// Number of the cluster that holds `offset`.
    pub fn cluster_of(self, offset: u64) -> u64 {
        offset >> self.cluster_bits
    }
}

/// A checked L2 entry: offsets are aligned and inside the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    /// Reads come from the backing file, or are zeros.
    Unallocated,
    /// Reads as zeros; nothing stored.
    Zero,
    /// Reads as zeros, with a cluster kept for later writes.
    ZeroAllocated {
        host: u64,
        copied: bool,
    },
    Data {
        host: u64,
        copied: bool,
    },
    /// A raw deflate stream somewhere in `start..start + length`.
    Compressed {
        start: u64,
        length: u64,
    },
}

impl Cluster {
    /// The standard cluster behind the entry, if any.
    pub fn host(self) -> Option<u64> {
        match self {
            Cluster::ZeroAllocated { host, .. } | Cluster::Data { host, .. } => Some(host),
            _ => None,
        }
    }

    /// Host clusters the entry holds a reference to: first number and count.
    pub fn references(self, layout: Layout) -> (u64, u64) {
        match self {
            Cluster::Unallocated | Cluster::Zero => (0, 0),
            Cluster::ZeroAllocated { host, .. } | Cluster::Data { host, .. } => {
                (layout.cluster_of(host), 1)
            }
            Cluster::Compressed { start, length } => {
                let first = layout.cluster_of(start);
                (first, layout.cluster_of(start + length - 1) - first + 1)
            }
        }
    }

    pub fn to_raw(self, layout: Layout) -> u64 {
        match self {
            Cluster::Unallocated => 0,
            Cluster::Zero => ZERO,
            Cluster::ZeroAllocated { host, copied } => {
                host | ZERO | if copied { COPIED } else { 0 }
            }
            Cluster::Data { host, copied } => host | if copied { COPIED } else { 0 },
            Cluster::Compressed { start, length } => {
                let shift = 70 - layout.cluster_bits;
                let sectors = (start + length - 1) / 512 - start / 512;
                COMPRESSED | sectors << shift | start
            }
        }
    }

    /// `length` is that of the file; `place` names the entry in errors.
    pub fn check(
        raw: u64,
        layout: Layout,
        length: u64,
        place: impl Fn() -> String,
    ) -> Result<Self> {
        let bad = |why: &str| Error::integrity(format!("{}: {raw:#018x} {why}", place()));
        if raw & COMPRESSED != 0 {
            if raw & COPIED != 0 {
                return Err(bad("is a compressed cluster marked for writing in place"));
            }
            let shift = 70 - layout.cluster_bits;
            let start = raw & ((1 << shift) - 1);
            let sectors = (raw >> shift) & ((1 << (layout.cluster_bits - 8)) - 1);
            let bytes = (sectors + 1) * 512 - (start & 511);
            if start < layout.cluster_size() || start >= length {
                return Err(bad("names compressed data outside the file"));
            }
            return Ok(Cluster::Compressed {
                start,
                length: bytes,
            });
        }
        let host = raw & OFFSET;
        let copied = raw & COPIED != 0;
        let zero = raw & ZERO != 0;
        if raw & !(OFFSET | COPIED | ZERO) != 0 {
            return Err(bad("has reserved bits set"));
        }
        if zero && layout.version < 3 {
            return Err(bad("is a zero cluster in a version 2 image"));
        }
        if host == 0 {
            if copied {
                return Err(bad("names cluster 0, the header"));
            }
            return Ok(if zero {
                Cluster::Zero
            } else {
                Cluster::Unallocated
            });
        }
        if !layout.is_aligned(host) {
            return Err(bad("is not aligned to a cluster"));
        }
        if host >= length {
            return Err(bad("names a cluster beyond the end of the file"));
        }
        Ok(if zero {
            Cluster::ZeroAllocated { host, copied }
        } else {
            Cluster::Data { host, copied }
        })
    }
}

/// The L2 table an L1 entry (or the refcount block a refcount table entry) names: `None` when there is none.
pub fn check_table_entry(
    raw: u64,
    layout: Layout,
    length: u64,
    place: impl Fn() -> String,
) -> Result<Option<u64>> {
    let bad = |why: &str| Error::integrity(format!("{}: {raw:#018x} {why}", place()));
    let host = raw & OFFSET;
    if raw & !(OFFSET | COPIED) != 0 {
        return Err(bad("has reserved bits set"));
    }
    if host == 0 {
        if raw != 0 {
            return Err(bad("names cluster 0, the header"));
        }
        return Ok(None);
    }
    if !layout.is_aligned(host) {
        return Err(bad("is not aligned to a cluster"));
    }
    if host >= length {
        return Err(bad("names a cluster beyond the end of the file"));
    }
    Ok(Some(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        version: 3,
        cluster_bits: 16,
    };

    fn check(raw: u64) -> Result<Cluster> {
        Cluster::check(raw, LAYOUT, 1 << 30, || "entry".into())
    }

    #[test]
    fn every_kind_of_entry_survives_a_round_trip() {
        for cluster in [
            Cluster::Unallocated,
            Cluster::Zero,
            Cluster::ZeroAllocated {
                host: 0x50000,
                copied: true,
            },
            Cluster::Data {
                host: 0x50000,
                copied: false,
            },
            Cluster::Compressed {
                start: 0x50003,
                length: 1024 - 3,
            },
        ] {
            assert_eq!(check(cluster.to_raw(LAYOUT)).unwrap(), cluster);
        }
    }

    #[test]
    fn entries_that_lie_are_refused() {
        for raw in [
            COPIED,
            0x50200,
            1 << 40,
            0x50000 | 2,
            0x50000 | 1 << 60,
            COMPRESSED | COPIED | 0x50000,
            COMPRESSED | 1 << 40,
            COMPRESSED,
        ] {
            assert!(check(raw).is_err(), "{raw:#x}");
        }
        let old = Layout {
            version: 2,
            ..LAYOUT
        };
        assert!(Cluster::check(1, old, 1 << 30, || "entry".into()).is_err());
    }

    #[test]
    fn compressed_data_may_span_clusters() {
        let cluster = Cluster::Compressed {
            start: 0x5fe00,
            length: 1024,
        };
        assert_eq!(cluster.references(LAYOUT), (5, 2));
    }
}
