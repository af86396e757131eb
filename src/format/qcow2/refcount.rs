//! Reference counts packed into a block at any of the widths 1, 2, 4 .. 64 bits; knows no file.

/// How wide a count is: 2 to the power of 0..=6 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Width(u32);

impl Width {
    /// `None` when the order (log2 of the bits) is above 6.
    pub fn from_order(order: u32) -> Option<Self> {
        (order <= 6).then_some(Width(order))
    }
    pub fn order(self) -> u32 {
        self.0
    }
    pub fn bits(self) -> u32 {
        1 << self.0
    }
    /// The largest count that can be kept.
    pub fn max(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
    /// Counts in a block of `bytes` bytes.
    pub fn per_block(self, bytes: u64) -> u64 {
        (bytes * 8) >> self.0
    }

    /// The count at `index`; zero beyond the block.
    pub fn get(self, block: &[u8], index: usize) -> u64 {
        if self.0 < 3 {
            let per_byte = 8usize >> self.0;
            let byte = block.get(index / per_byte).copied().unwrap_or(0);
            let shift = (index % per_byte) << self.0;
            return u64::from(byte >> shift) & self.max();
        }
        let width = 1usize << (self.0 - 3);
        let at = index * width;
        block
            .get(at..at + width)
            .map_or(0, |part| part.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// Sets the count at `index`; `value` must not be above `max`, `index` inside the block.
    pub fn set(self, block: &mut [u8], index: usize, value: u64) {
        debug_assert!(value <= self.max());
        if self.0 < 3 {
            let per_byte = 8usize >> self.0;
            let shift = (index % per_byte) << self.0;
            let mask = (self.max() as u8) << shift;
            if let Some(byte) = block.get_mut(index / per_byte) {
                *byte = *byte & !mask | (value as u8) << shift & mask;
            }
            return;
        }
        let width = 1usize << (self.0 - 3);
        let at = index * width;
        if let Some(part) = block.get_mut(at..at + width) {
            part.copy_from_slice(&value.to_be_bytes()[8 - width..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_any_width_is_read_back_and_leaves_its_neighbours_alone() {
        for order in 0..=6 {
            let width = Width::from_order(order).unwrap();
            let mut block = vec![0u8; 512];
            let count = width.per_block(512) as usize;
            for index in 0..count {
                width.set(&mut block, index, (index as u64 * 7 + 1) & width.max());
            }
            for index in 0..count {
                assert_eq!(
                    width.get(&block, index),
                    (index as u64 * 7 + 1) & width.max()
                );
            }
            assert_eq!(width.get(&block, count), 0);
        }
        assert_eq!(Width::from_order(7), None);
    }
}
