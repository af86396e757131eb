//! What the guest writes, computed on the host: the twin of the assembly, so that tests can check the bytes of an image.

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Sectors that `loop` writes in turn.
pub const LOOP_RING: u64 = 64;

const MIX1: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX2: u64 = 0xd1b5_4a32_d192_ed03;
const MIX3: u64 = 0xbf58_476d_1ce4_e5b9;
const START: u64 = 0xcbf2_9ce4_8422_2325;

/// Sector `lba` as `write` with `seed` fills it; no two sectors are alike.
pub fn sector(seed: u64, lba: u64) -> [u8; SECTOR] {
    let mixed = seed.wrapping_mul(MIX1) ^ lba.wrapping_add(1).wrapping_mul(MIX2);
    let mut word = mixed ^ (mixed >> 29);
    let mut bytes = [0; SECTOR];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes());
        word = word.wrapping_add(MIX3);
    }
    bytes
}

/// `count` sectors from `lba` on, as `write` fills them.
pub fn sectors(seed: u64, lba: u64, count: u64) -> Vec<u8> {
    (lba..lba.saturating_add(count))
        .flat_map(|lba| sector(seed, lba))
        .collect()
}

/// What `digest` answers for these bytes. A tail of less than 8 bytes does not count.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes
        .chunks_exact(8)
        .filter_map(|word| word.try_into().ok())
        .map(u64::from_le_bytes)
        .fold(START, |d, word| {
            (d ^ word).rotate_left(23).wrapping_mul(MIX1)
        })
}

/// Generation `generation` of `loop N base seed`, which stands at sector [`loop_place`].
pub fn loop_sector(seed: u64, base: u64, generation: u64) -> [u8; SECTOR] {
    let mut bytes = sector(seed.wrapping_add(generation), loop_place(base, generation));
    bytes[..8].copy_from_slice(&generation.to_le_bytes());
    bytes[8..16].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// The sector of a generation. Writes are one after the other, so an image of one instant whose newest generation is G holds
/// G, G-1, ... back to G-63 (or 1), each whole: see [`loop_newest`].
pub fn loop_place(base: u64, generation: u64) -> u64 {
    base.wrapping_add(generation % LOOP_RING)
}

/// The newest generation in `ring`, the 64 sectors from `base` on (0: none yet), or a sentence about what no single instant
/// of the loop can look like.
pub fn loop_newest(ring: &[u8], seed: u64, base: u64) -> Result<u64, String> {
    if ring.len() != SECTOR * LOOP_RING as usize {
        return Err(format!("{} bytes are no ring of 64 sectors", ring.len()));
    }
    let stamp = |sector: &[u8]| sector[..8].try_into().map(u64::from_le_bytes).unwrap_or(0);
    let newest = ring.chunks_exact(SECTOR).map(stamp).max().unwrap_or(0);
    for generation in newest.saturating_sub(LOOP_RING - 1).max(1)..=newest {
        let place = (generation % LOOP_RING) as usize * SECTOR;
        let found = &ring[place..place + SECTOR];
        if found != loop_sector(seed, base, generation) {
            return Err(format!(
                "the newest generation is {newest}, but where generation {generation} belongs stands {}",
                stamp(found)
            ));
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_at(newest: u64) -> Vec<u8> {
        let mut ring = vec![0; SECTOR * LOOP_RING as usize];
        for generation in 1..=newest {
            let place = (generation % LOOP_RING) as usize * SECTOR;
            ring[place..place + SECTOR].copy_from_slice(&loop_sector(5, 100, generation));
        }
        ring
    }

    #[test]
    fn neighbouring_sectors_and_seeds_differ() {
        assert_ne!(sector(1, 0), sector(1, 1));
        assert_ne!(sector(1, 0), sector(2, 0));
        assert_eq!(sectors(7, 3, 2)[SECTOR..], sector(7, 4));
    }

    #[test]
    fn every_instant_of_the_loop_is_recognised() {
        for newest in [0, 1, 2, 63, 64, 65, 200] {
            assert_eq!(loop_newest(&ring_at(newest), 5, 100), Ok(newest));
        }
    }

    #[test]
    fn a_lost_write_and_a_torn_write_are_not_an_instant() {
        let mut lost = ring_at(200);
        let old = loop_sector(5, 100, 190 - LOOP_RING);
        let place = (190 % LOOP_RING) as usize * SECTOR;
        lost[place..place + SECTOR].copy_from_slice(&old);
        assert!(loop_newest(&lost, 5, 100).is_err());
        let mut torn = ring_at(200);
        torn[place + 300] ^= 1;
        assert!(loop_newest(&torn, 5, 100).is_err());
    }
}
