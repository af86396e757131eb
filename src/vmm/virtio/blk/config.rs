//! The configuration space and features of a block device (virtio 1.2, 5.2.3 and 5.2.4), built from the volume's geometry.

use super::super::registers::feature;
use super::request::{MAX_SEGMENT_SECTORS, MAX_SEGMENTS, SECTOR, SEG_MAX};
use crate::block::Geometry;

const SEG_MAX_FEATURE: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const BLK_SIZE: u64 = 1 << 6;
pub(super) const FLUSH: u64 = 1 << 9;
const TOPOLOGY: u64 = 1 << 10;
pub(super) const CONFIG_WCE: u64 = 1 << 11;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;

/// Where the write cache switch is.
pub(super) const WRITEBACK_OFFSET: u64 = 32;
const LENGTH: usize = 60;

/// What the device offers. Without a write cache there is nothing to flush or to switch, so neither is offered.
pub(super) fn features(geometry: &Geometry, read_only: bool, write_cache: bool) -> u64 {
    let mut bits = feature::VERSION_1
        | feature::INDIRECT_DESC
        | feature::EVENT_IDX
        | SEG_MAX_FEATURE
        | BLK_SIZE
        | TOPOLOGY;
    if read_only {
        bits |= READ_ONLY;
    } else {
        bits |= WRITE_ZEROES;
        if geometry.can_discard {
            bits |= DISCARD;
        }
    }
    if write_cache {
        bits |= FLUSH | CONFIG_WCE;
    }
    bits
}

/// The configuration space; fields of features that are not offered are zero.
pub(super) fn space(geometry: &Geometry, sectors: u64, writeback: bool) -> [u8; LENGTH] {
    let mut space = [0u8; LENGTH];
    let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
    let logical = geometry.logical_block.max(SECTOR as u32);
    let ratio = (geometry.physical_block / logical).max(1);
    put(0, &sectors.to_le_bytes());
    put(12, &SEG_MAX.to_le_bytes());
    put(20, &logical.to_le_bytes());
    // Physical block as a power of two of logical ones; best minimum size in logical blocks.
    put(24, &[ratio.ilog2() as u8, 0]);
    put(26, &(ratio.min(0xffff) as u16).to_le_bytes());
    put(32, &[u8::from(writeback)]);
    put(34, &1u16.to_le_bytes());
    if geometry.can_discard {
        put(36, &MAX_SEGMENT_SECTORS.to_le_bytes());
        put(40, &MAX_SEGMENTS.to_le_bytes());
        let alignment = geometry.physical_block.max(logical) / SECTOR as u32;
        put(44, &alignment.to_le_bytes());
    }
    put(48, &MAX_SEGMENT_SECTORS.to_le_bytes());
    put(52, &MAX_SEGMENTS.to_le_bytes());
    put(56, &[u8::from(geometry.can_discard)]);
    space
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ByteCount;

    fn geometry() -> Geometry {
        Geometry {
            size: ByteCount(1 << 20),
            logical_block: 512,
            physical_block: 4096,
            alignment: 1,
            read_only: false,
            can_discard: true,
        }
    }

    #[test]
    fn the_guest_learns_size_and_blocks() {
        let space = space(&geometry(), 2048, true);
        assert_eq!(space[0..8], 2048u64.to_le_bytes());
        assert_eq!(space[20..24], 512u32.to_le_bytes());
        assert_eq!(space[24], 3, "eight logical blocks in a physical one");
        assert_eq!(space[32], 1);
    }

    #[test]
    fn features_follow_the_volume() {
        let all = features(&geometry(), false, true);
        assert_eq!(all & READ_ONLY, 0);
        assert_ne!(all & DISCARD, 0);
        let read_only = features(&geometry(), true, true);
        assert_eq!(read_only & (DISCARD | WRITE_ZEROES), 0);
        assert_ne!(read_only & READ_ONLY, 0);
        assert_eq!(
            features(&geometry(), false, false) & (FLUSH | CONFIG_WCE),
            0
        );
    }
}
