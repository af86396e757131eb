//! The common configuration registers of a virtio device with one queue (virtio 1.2, 4.1.4.3); it starts and stops nothing.

use super::NO_VECTOR;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemory;

/// Largest and initial size of the queue, entries.
pub(in crate::vmm) const QUEUE_SIZE: u16 = 256;

/// Device status bits (virtio 1.2, 2.1).
pub(in crate::vmm) mod status {
    pub(in crate::vmm) const DRIVER_OK: u8 = 4;
    pub(in crate::vmm) const FEATURES_OK: u8 = 8;
    pub(in crate::vmm) const NEEDS_RESET: u8 = 64;
}

/// Feature bits that belong to the transport and the queue.
pub(in crate::vmm) mod feature {
    pub(in crate::vmm) const INDIRECT_DESC: u64 = 1 << 28;
    pub(in crate::vmm) const EVENT_IDX: u64 = 1 << 29;
    pub(in crate::vmm) const VERSION_1: u64 = 1 << 32;
}

/// What the device has to do after a register write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// The driver is ready; look at the queue.
    Start,
    /// Back to the initial state, once nothing is in flight.
    Reset,
    /// The driver configured something impossible.
    Broken,
}

pub(super) struct Registers {
    offered: u64,
    vectors: u16,
    device_select: u32,
    driver_select: u32,
    driver_features: u64,
    pub(super) config_vector: u16,
    pub(super) status: u8,
    pub(super) generation: u8,
    queue_select: u16,
    pub(super) queue: Queue,
    queue_size: u16,
    pub(super) queue_vector: u16,
    /// Descriptor table, driver area, device area.
    areas: [u64; 3],
}

impl Registers {
    pub(super) fn new(offered: u64, vectors: u16) -> Self {
        Registers {
            offered,
            vectors,
            device_select: 0,
            driver_select: 0,
            driver_features: 0,
            config_vector: NO_VECTOR,
            status: 0,
            generation: 0,
            queue_select: 0,
            queue: Queue::new(QUEUE_SIZE).expect("the size is a power of two"),
            queue_size: QUEUE_SIZE,
            queue_vector: NO_VECTOR,
            areas: [0; 3],
        }
    }

    /// Initial state; the generation goes on so that a half-read configuration is noticed.
    pub(super) fn reset(&mut self) {
        let generation = self.generation;
        *self = Registers::new(self.offered, self.vectors);
        self.generation = generation;
    }

    /// The driver's features, once both sides agreed on them.
    pub(super) fn agreed(&self, feature: u64) -> bool {
        self.status & status::FEATURES_OK != 0 && self.driver_features & feature == feature
    }

    /// The driver said it is ready and nothing went wrong since.
    pub(super) fn running(&self) -> bool {
        self.status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
            && self.queue.ready()
    }

    /// Fills `data` from the register block; beyond its end are zeros.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        let mut block = [0u8; 64];
        let half = |word: u64, select: u32| match select {
            0 => word as u32,
            1 => (word >> 32) as u32,
            _ => 0,
        };
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.device_select.to_le_bytes());
        put(4, &half(self.offered, self.device_select).to_le_bytes());
        put(8, &self.driver_select.to_le_bytes());
        put(
            12,
            &half(self.driver_features, self.driver_select).to_le_bytes(),
        );
        put(16, &self.config_vector.to_le_bytes());
        put(18, &1u16.to_le_bytes());
        put(20, &[self.status, self.generation]);
        put(22, &self.queue_select.to_le_bytes());
        if self.queue_select == 0 {
            put(24, &self.queue_size.to_le_bytes());
            put(26, &self.queue_vector.to_le_bytes());
            put(28, &u16::from(self.queue.ready()).to_le_bytes());
            put(32, &self.areas[0].to_le_bytes());
            put(40, &self.areas[1].to_le_bytes());
            put(48, &self.areas[2].to_le_bytes());
        }
        let from = block
            .get(usize::try_from(offset).unwrap_or(usize::MAX)..)
            .unwrap_or(&[]);
        data.fill(0);
        for (to, from) in data.iter_mut().zip(from) {
            *to = *from;
        }
    }

    /// One register write; unknown places, wrong widths and wrong moments change nothing.
    pub(super) fn write<M: GuestMemory>(&mut self, offset: u64, data: &[u8], ram: &M) -> Effect {
        let mut wide = [0u8; 8];
        let Some(part) = wide.get_mut(..data.len()) else {
            return Effect::Nothing;
        };
        part.copy_from_slice(data);
        let value = u64::from_le_bytes(wide);
        match (offset, data.len()) {
            (0, 4) => self.device_select = value as u32,
            (8, 4) => self.driver_select = value as u32,
            (12, 4) if self.status & status::FEATURES_OK == 0 => {
                let shift = match self.driver_select {
                    0 => 0,
                    1 => 32,
                    _ => return Effect::Nothing,
                };
                let mask = 0xffff_ffffu64 << shift;
                self.driver_features = (self.driver_features & !mask) | (value << shift);
            }
            (16, 2) => self.config_vector = self.vector(value as u16),
            (20, 1) => return self.write_status(value as u8),
            (22, 2) => self.queue_select = value as u16,
            // There is one queue; of a live one only the vector may be chosen anew.
            _ if self.queue_select != 0 => {}
            (26, 2) => self.queue_vector = self.vector(value as u16),
            _ if self.queue.ready() => {}
            (24, 2) => {
                let size = value as u16;
                if size.is_power_of_two() && size <= QUEUE_SIZE {
                    self.queue_size = size;
                }
            }
            (28, 2) if value == 1 => return self.enable_queue(ram),
            (32..56, 4 | 8) => self.write_area(offset - 32, data.len(), value),
            _ => {}
        }
        Effect::Nothing
    }

    fn vector(&self, wanted: u16) -> u16 {
        if wanted < self.vectors {
            wanted
        } else {
            NO_VECTOR
        }
    }

    fn write_area(&mut self, offset: u64, width: usize, value: u64) {
        let area = &mut self.areas[(offset / 8) as usize];
        *area = match (offset % 8, width) {
            (0, 8) => value,
            (0, 4) => (*area & !0xffff_ffff) | value,
            (4, 4) => (*area & 0xffff_ffff) | value << 32,
            _ => *area,
        };
    }

    fn write_status(&mut self, value: u8) -> Effect {
        if value == 0 {
            return Effect::Reset;
        }
        // Bits are only added (virtio 1.2, 2.1.1), and the device alone sets "needs reset".
        let mut added = value & !self.status & !status::NEEDS_RESET;
        if added & status::FEATURES_OK != 0 {
            let unknown = self.driver_features & !self.offered != 0;
            let legacy = self.driver_features & feature::VERSION_1 == 0;
            if unknown || legacy {
                added &= !status::FEATURES_OK;
            } else {
                let event_idx = self.driver_features & feature::EVENT_IDX != 0;
                self.queue.set_event_idx(event_idx);
            }
        }
        if added & status::DRIVER_OK != 0 && (self.status | added) & status::FEATURES_OK == 0 {
            added &= !status::DRIVER_OK;
        }
        self.status |= added;
        if added & status::DRIVER_OK != 0 {
            Effect::Start
        } else {
            Effect::Nothing
        }
    }

    fn enable_queue<M: GuestMemory>(&mut self, ram: &M) -> Effect {
        let event_idx = self.queue.event_idx_enabled();
        self.queue.reset();
        self.queue.set_event_idx(event_idx);
        let halves = |area: u64| (Some(area as u32), Some((area >> 32) as u32));
        self.queue.set_size(self.queue_size);
        let (low, high) = halves(self.areas[0]);
        self.queue.set_desc_table_address(low, high);
        let (low, high) = halves(self.areas[1]);
        self.queue.set_avail_ring_address(low, high);
        let (low, high) = halves(self.areas[2]);
        self.queue.set_used_ring_address(low, high);
        // The library keeps the old value of what it refuses, so compare.
        let taken = self.queue.size() == self.queue_size
            && [
                self.queue.desc_table(),
                self.queue.avail_ring(),
                self.queue.used_ring(),
            ] == self.areas;
        self.queue.set_ready(true);
        if taken && self.areas.iter().all(|area| *area != 0) && self.queue.is_valid(ram) {
            return if self.status & status::DRIVER_OK != 0 {
                Effect::Start
            } else {
                Effect::Nothing
            };
        }
        self.queue.set_ready(false);
        Effect::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    fn ram() -> GuestMemoryMmap<()> {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
    }

    fn agree(registers: &mut Registers, features: u64, ram: &GuestMemoryMmap<()>) {
        for (select, half) in [(0u32, features as u32), (1, (features >> 32) as u32)] {
            registers.write(8, &select.to_le_bytes(), ram);
            registers.write(12, &half.to_le_bytes(), ram);
        }
        registers.write(20, &[1 | 2 | status::FEATURES_OK], ram);
    }

    #[test]
    fn features_that_were_not_offered_are_not_agreed() {
        let ram = ram();
        let offered = feature::VERSION_1 | feature::EVENT_IDX;
        let mut registers = Registers::new(offered, 2);
        agree(&mut registers, offered | 1 << 40, &ram);
        assert_eq!(registers.status & status::FEATURES_OK, 0);
        agree(&mut registers, feature::EVENT_IDX, &ram);
        assert_eq!(registers.status & status::FEATURES_OK, 0, "legacy driver");
        agree(&mut registers, offered, &ram);
        assert_ne!(registers.status & status::FEATURES_OK, 0);
        assert!(registers.agreed(feature::EVENT_IDX));
    }

    #[test]
    fn a_queue_outside_memory_is_never_ready() {
        let ram = ram();
        let mut registers = Registers::new(feature::VERSION_1, 2);
        for area in 0..3u64 {
            registers.write(32 + 8 * area, &(1u64 << 40).to_le_bytes(), &ram);
        }
        assert_eq!(registers.write(28, &[1, 0], &ram), Effect::Broken);
        assert!(!registers.queue.ready());
    }

    #[test]
    fn a_misaligned_queue_is_refused_and_a_good_one_taken() {
        let ram = ram();
        let mut registers = Registers::new(feature::VERSION_1, 2);
        for (area, address) in [0x1001u64, 0x2000, 0x3000].into_iter().enumerate() {
            registers.write(32 + 8 * area as u64, &address.to_le_bytes(), &ram);
        }
        assert_eq!(registers.write(28, &[1, 0], &ram), Effect::Broken);
        registers.write(32, &0x1000u32.to_le_bytes(), &ram);
        assert_eq!(registers.write(28, &[1, 0], &ram), Effect::Nothing);
        assert!(registers.queue.ready());
        registers.write(32, &0x9000u32.to_le_bytes(), &ram);
        let mut back = [0; 4];
        registers.read(32, &mut back);
        assert_eq!(u32::from_le_bytes(back), 0x1000, "a live queue is fixed");
    }

    proptest! {
        #[test]
        fn any_sequence_of_writes_is_harmless(
            writes in proptest::collection::vec((0u64..80, any::<u64>(), 0usize..4), 0..200)
        ) {
            let ram = ram();
            let mut registers = Registers::new(feature::VERSION_1 | feature::EVENT_IDX, 2);
            for (offset, value, width) in writes {
                let width = 1 << width;
                let effect = registers.write(offset, &value.to_le_bytes()[..width], &ram);
                if effect == Effect::Reset {
                    registers.reset();
                }
                let mut back = [0; 8];
                registers.read(offset, &mut back[..width]);
                prop_assert!(!registers.queue.ready() || registers.queue.is_valid(&ram));
            }
        }
    }
}
