//! The PCI root: configuration mechanism 1 and ECAM, host bridge and LPC bridge; it forwards to functions and decodes nothing else.

use super::platform::PM_BASE;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Memory-mapped configuration space of bus 0, where a Q35 board has it.
const ECAM_BASE: u64 = 0xb000_0000;
const ECAM_BUS_LENGTH: u64 = 1 << 20;
/// Slots of the one bus; 0 is the host bridge, 31 the LPC bridge.
pub(super) const SLOTS: u8 = 32;
const LPC_SLOT: u8 = 31;
const CONFIG_LENGTH: usize = 256;

/// One PCI function. All methods may be called from any CPU thread.
pub(super) trait Function: Send + Sync {
    /// `data` is 1, 2 or 4 bytes and does not cross a doubleword; filled with ones before the call.
    fn config_read(&self, offset: usize, data: &mut [u8]);
    fn config_write(&self, offset: usize, data: &[u8]);
    /// True when the address belongs to this function (and `data` has been filled).
    fn memory_read(&self, _address: u64, _data: &mut [u8]) -> bool {
        false
    }
    fn memory_write(&self, _address: u64, _data: &[u8]) -> bool {
        false
    }
    /// Back to power-on state.
    fn reset(&self) {}
}

/// A function that only has registers.
struct Bridge {
    initial: Vec<u8>,
    /// Registers that keep what is written to them.
    writable: &'static [std::ops::Range<usize>],
    registers: Mutex<Vec<u8>>,
}

impl Bridge {
    fn new(
        vendor: u16,
        device: u16,
        class: [u8; 3],
        writable: &'static [std::ops::Range<usize>],
    ) -> Self {
        let mut registers = vec![0u8; CONFIG_LENGTH];
        registers[0..2].copy_from_slice(&vendor.to_le_bytes());
        registers[2..4].copy_from_slice(&device.to_le_bytes());
        registers[9..12].copy_from_slice(&class);
        // Subsystem by which firmware recognises a virtual board.
        registers[0x2c..0x2e].copy_from_slice(&0x1af4u16.to_le_bytes());
        registers[0x2e..0x30].copy_from_slice(&0x1100u16.to_le_bytes());
        Bridge {
            initial: registers.clone(),
            writable,
            registers: Mutex::new(registers),
        }
    }

    fn with(mut self, offset: usize, value: u32) -> Self {
        self.initial[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self.registers = Mutex::new(self.initial.clone());
        self
    }
}

impl Function for Bridge {
    fn config_read(&self, offset: usize, data: &mut [u8]) {
        let registers = self
            .registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = registers.get(offset + index).copied().unwrap_or(0);
        }
    }
    fn config_write(&self, offset: usize, data: &[u8]) {
        let mut registers = self
            .registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (index, byte) in data.iter().enumerate() {
            let at = offset + index;
            if self.writable.iter().any(|range| range.contains(&at)) {
                registers[at] = *byte;
            }
        }
    }
    fn reset(&self) {
        let mut registers = self
            .registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        registers.clone_from(&self.initial);
    }
}

/// Host bridge of a Q35 board: shadow-RAM switches and the ECAM window keep their values.
fn host_bridge() -> Bridge {
    Bridge::new(
        0x8086,
        0x29c0,
        [0, 0, 6],
        &[0x58..0x60, 0x60..0x68, 0x90..0x97],
    )
    .with(0x60, ECAM_BASE as u32 | 1)
}

/// ICH9 LPC bridge: tells where the power registers are.
fn lpc_bridge() -> Bridge {
    Bridge::new(
        0x8086,
        0x2918,
        [0, 1, 6],
        &[0x40..0x45, 0x60..0x70, 0x80..0x90],
    )
    .with(0x40, u32::from(PM_BASE) | 1)
    .with(0x44, 0x80)
}

/// Bus 0 with everything on it; fixed after the machine is built.
pub(super) struct PciBus {
    functions: Vec<Option<Arc<dyn Function>>>,
    address: AtomicU32,
}

impl PciBus {
    /// Devices take slots 1, 2, ... in order; more than fit are refused by the caller's own limit (`SLOTS` - 2).
    pub(super) fn new(devices: Vec<Arc<dyn Function>>) -> Self {
        let mut functions: Vec<Option<Arc<dyn Function>>> = vec![None; usize::from(SLOTS)];
        functions[0] = Some(Arc::new(host_bridge()));
        functions[usize::from(LPC_SLOT)] = Some(Arc::new(lpc_bridge()));
        for (slot, device) in functions[1..usize::from(LPC_SLOT)].iter_mut().zip(devices) {
            *slot = Some(device);
        }
        PciBus {
            functions,
            address: AtomicU32::new(0),
        }
    }

    fn function(&self, bus_device_function: u32) -> Option<&Arc<dyn Function>> {
        // Only bus 0, only function 0 of each slot.
        if bus_device_function & !0xf8 != 0 {
            return None;
        }
        self.functions
            .get((bus_device_function >> 3) as usize)?
            .as_ref()
    }

    /// The function and register that mechanism 1 points at, if enabled.
    fn selected(&self, port: u16) -> Option<(&Arc<dyn Function>, usize)> {
        let address = self.address.load(Ordering::Relaxed);
        if address & (1 << 31) == 0 {
            return None;
        }
        let function = self.function((address >> 8) & 0xffff)?;
        Some((function, (address & 0xfc) as usize + usize::from(port & 3)))
    }

    pub(super) fn port_read(&self, port: u16, data: &mut [u8]) {
        if port < 0xcfc {
            let bytes = self.address.load(Ordering::Relaxed).to_le_bytes();
            for (byte, from) in data.iter_mut().zip(&bytes[usize::from(port & 3)..]) {
                *byte = *from;
            }
        } else if let Some((function, offset)) = self.selected(port) {
            let room = 4 - (offset & 3);
            let length = data.len().min(room);
            function.config_read(offset, &mut data[..length]);
        }
    }

    pub(super) fn port_write(&self, port: u16, data: &[u8]) {
        if port < 0xcfc {
            // Only a doubleword write reaches the address register.
            if let (0xcf8, Ok(bytes)) = (port, data.try_into()) {
                self.address
                    .store(u32::from_le_bytes(bytes), Ordering::Relaxed);
            }
        } else if let Some((function, offset)) = self.selected(port) {
            let room = 4 - (offset & 3);
            function.config_write(offset, &data[..data.len().min(room)]);
        }
    }

    fn in_ecam(&self, address: u64) -> Option<(Option<&Arc<dyn Function>>, usize)> {
        let offset = address.checked_sub(ECAM_BASE)?;
        if offset >= ECAM_BUS_LENGTH {
            return None;
        }
        Some((
            self.function((offset >> 12) as u32),
            (offset & 0xfff) as usize,
        ))
    }

    pub(super) fn memory_read(&self, address: u64, data: &mut [u8]) {
        match self.in_ecam(address) {
            Some((Some(function), offset)) => {
                for (offset, part) in (offset..).step_by(4).zip(data.chunks_mut(4)) {
                    let room = part.len().min(4 - (offset & 3));
                    if offset < CONFIG_LENGTH {
                        function.config_read(offset, &mut part[..room]);
                    } else {
                        part.fill(0);
                    }
                }
            }
            Some((None, _)) => {}
            None => {
                self.functions
                    .iter()
                    .flatten()
                    .any(|function| function.memory_read(address, data));
            }
        }
    }

    pub(super) fn memory_write(&self, address: u64, data: &[u8]) {
        match self.in_ecam(address) {
            Some((Some(function), offset)) => {
                for (offset, part) in (offset..).step_by(4).zip(data.chunks(4)) {
                    let room = part.len().min(4 - (offset & 3));
                    if offset < CONFIG_LENGTH {
                        function.config_write(offset, &part[..room]);
                    }
                }
            }
            Some((None, _)) => {}
            None => {
                self.functions
                    .iter()
                    .flatten()
                    .any(|function| function.memory_write(address, data));
            }
        }
    }

    pub(super) fn reset(&self) {
        self.address.store(0, Ordering::Relaxed);
        for function in self.functions.iter().flatten() {
            function.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_config(bus: &PciBus, slot: u32, offset: u32) -> u32 {
        let address = 1 << 31 | slot << 11 | offset;
        bus.port_write(0xcf8, &address.to_le_bytes());
        let mut data = [0xff; 4];
        bus.port_read(0xcfc, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn firmware_recognises_the_board() {
        let bus = PciBus::new(Vec::new());
        assert_eq!(read_config(&bus, 0, 0), 0x29c0_8086);
        assert_eq!(read_config(&bus, 0, 0x2c), 0x1100_1af4);
        assert_eq!(read_config(&bus, 31, 0), 0x2918_8086);
        assert_eq!(read_config(&bus, 31, 0x40) & 0xff80, 0x600);
        assert_eq!(read_config(&bus, 7, 0), 0xffff_ffff);
    }

    #[test]
    fn shadow_switches_store_and_identity_does_not() {
        let bus = PciBus::new(Vec::new());
        let _ = read_config(&bus, 0, 0x90);
        bus.port_write(0xcfc, &[0x10, 0x33, 0x33, 0x33]);
        assert_eq!(read_config(&bus, 0, 0x90), 0x3333_3310);
        let _ = read_config(&bus, 0, 0);
        bus.port_write(0xcfc, &[0; 4]);
        assert_eq!(read_config(&bus, 0, 0), 0x29c0_8086);
        bus.reset();
        assert_eq!(read_config(&bus, 0, 0x90), 0);
    }

    #[test]
    fn both_mechanisms_see_the_same_registers() {
        let bus = PciBus::new(Vec::new());
        let mut data = [0xff; 4];
        bus.memory_read(ECAM_BASE + (31 << 15), &mut data);
        assert_eq!(u32::from_le_bytes(data), 0x2918_8086);
    }

    proptest! {
        #[test]
        fn no_access_panics(port in 0xcf8u16..=0xcff, select: u32, value: [u8; 4], length in 0usize..=4, address: u64) {
            let bus = PciBus::new(Vec::new());
            bus.port_write(0xcf8, &select.to_le_bytes());
            let mut data = value;
            bus.port_write(port, &value[..length]);
            bus.port_read(port, &mut data[..length]);
            for address in [address, ECAM_BASE + address % ECAM_BUS_LENGTH] {
                let mut wide = [0u8; 8];
                bus.memory_write(address, &wide);
                bus.memory_read(address, &mut wide);
            }
        }
    }
}
