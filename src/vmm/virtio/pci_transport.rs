//! Virtio over PCI (virtio 1.2, 4.1): configuration space, BARs, capabilities, interrupts and doorbell of one block device.

use super::blk::Blk;
use super::{Interrupts, NO_VECTOR};
use crate::model::Result;
use crate::vmm::irq::{INTX_LINE, Irqs};
use crate::vmm::msix::{Msix, PBA_OFFSET};
use crate::vmm::pci::Function;
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One message for the configuration, one for the queue.
pub(in crate::vmm) const VECTORS: u16 = 2;

const COMMAND: usize = 0x04;
const COMMAND_MEMORY: u8 = 2;
const COMMAND_NO_INTX: u8 = 4;
const BAR1: usize = 0x14;
const BAR4: usize = 0x20;
const MSIX_LENGTH: u64 = 0x1000;
const REGION_LENGTH: u64 = 0x4000;
/// Regions inside BAR4.
const COMMON: u32 = 0x0000;
const ISR: u32 = 0x1000;
const DEVICE: u32 = 0x2000;
const NOTIFY: u32 = 0x3000;
/// Capabilities in configuration space.
const CAP_MSIX: usize = 0x40;
const CAP_COMMON: usize = 0x50;
const CAP_ISR: usize = 0x60;
const CAP_DEVICE: usize = 0x70;
const CAP_NOTIFY: usize = 0x80;
const CAP_WINDOW: usize = 0x98;
const WINDOW_DATA: usize = CAP_WINDOW + 16;
/// Where BARs are before firmware or the system places them.
const FIRST_BAR: u32 = 0xe000_0000;
const BAR_STEP: u32 = 0x10000;

const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// The wires of one device: messages once enabled, else the shared line and the ISR register.
pub(in crate::vmm) struct Wires {
    msix: Msix,
    isr: AtomicU8,
    irqs: Option<Arc<Irqs>>,
    slot: u8,
    intx_off: AtomicBool,
    /// What the shared line was last told; held while the next level is worked out, so that levels arrive in order.
    level: Mutex<bool>,
}

impl Wires {
    pub(in crate::vmm) fn new(irqs: Option<Arc<Irqs>>, slot: u8) -> Result<Arc<Self>> {
        Ok(Arc::new(Wires {
            msix: Msix::new(irqs.clone(), VECTORS)?,
            isr: AtomicU8::new(0),
            irqs,
            slot,
            intx_off: AtomicBool::new(false),
            level: Mutex::new(false),
        }))
    }

    fn raise(&self, bit: u8, vector: u16) {
        if self.msix.enabled() {
            if vector != NO_VECTOR {
                self.msix.trigger(vector);
            }
            return;
        }
        self.isr.fetch_or(bit, Ordering::SeqCst);
        self.update_intx();
    }

    /// Reading the ISR clears it and lowers the line.
    fn take_isr(&self) -> u8 {
        let bits = self.isr.swap(0, Ordering::SeqCst);
        self.update_intx();
        bits
    }

    fn update_intx(&self) {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.isr.load(Ordering::SeqCst) != 0;
        let on = due && !self.msix.enabled() && !self.intx_off.load(Ordering::SeqCst);
        *level = on;
        if let Some(irqs) = &self.irqs {
            irqs.intx(self.slot, on);
        }
    }
}

impl Interrupts for Wires {
    fn queue(&self, vector: u16) {
        self.raise(ISR_QUEUE, vector);
    }
    fn config(&self, vector: u16) {
        self.raise(ISR_CONFIG, vector);
    }
}

struct Config {
    bytes: [u8; 256],
    /// Which bits software may change.
    mask: [u8; 256],
    /// Where the kernel watches for the doorbell.
    doorbell: Option<u64>,
}

impl Config {
    fn word(&self, at: usize) -> u32 {
        let b = &self.bytes;
        u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
    }
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn allow(&mut self, at: usize, mask: &[u8]) {
        self.mask[at..at + mask.len()].copy_from_slice(mask);
    }
    fn memory_on(&self) -> bool {
        self.bytes[COMMAND] & COMMAND_MEMORY != 0
    }
    fn bar(&self, at: usize) -> Option<u64> {
        let base = self.word(at) & !0xfff;
        (self.memory_on() && base != 0).then_some(u64::from(base))
    }
}

/// A virtio capability (virtio 1.2, 4.1.4).
fn capability(config: &mut Config, at: usize, next: usize, kind: u8, place: (u32, u32), tail: u32) {
    let length = if matches!(kind, 2 | 5) { 20 } else { 16 };
    config.put(at, &[0x09, next as u8, length, kind, 4]);
    config.put(at + 8, &place.0.to_le_bytes());
    config.put(at + 12, &place.1.to_le_bytes());
    if length == 20 {
        config.put(at + 16, &tail.to_le_bytes());
    }
}

fn initial(slot: u8) -> Config {
    let mut c = Config {
        bytes: [0; 256],
        mask: [0; 256],
        doorbell: None,
    };
    // 1af4:1042 revision 1, SCSI storage class as firmware expects of virtio disks.
    c.put(0x00, &[0xf4, 0x1a, 0x42, 0x10]);
    c.allow(COMMAND, &[0x06, 0x04]);
    c.put(0x06, &[0x10, 0]);
    c.put(0x08, &[1, 0, 0, 1]);
    c.allow(0x0c, &[0xff, 0xff]);
    let base = FIRST_BAR + u32::from(slot) * BAR_STEP;
    c.put(BAR1, &(base + REGION_LENGTH as u32).to_le_bytes());
    c.allow(BAR1, &(!(MSIX_LENGTH as u32 - 1)).to_le_bytes());
    c.put(BAR4, &base.to_le_bytes());
    c.allow(BAR4, &(!(REGION_LENGTH as u32 - 1)).to_le_bytes());
    c.put(0x2c, &[0xf4, 0x1a, 0x00, 0x11]);
    c.put(0x34, &[CAP_MSIX as u8]);
    c.put(0x3c, &[INTX_LINE as u8, 1]);
    c.allow(0x3c, &[0xff]);
    let table_size = VECTORS - 1;
    c.put(CAP_MSIX, &[0x11, CAP_COMMON as u8]);
    c.put(CAP_MSIX + 2, &table_size.to_le_bytes());
    c.put(CAP_MSIX + 4, &1u32.to_le_bytes());
    c.put(CAP_MSIX + 8, &(PBA_OFFSET | 1).to_le_bytes());
    c.allow(CAP_MSIX + 3, &[0xc0]);
    capability(&mut c, CAP_COMMON, CAP_ISR, 1, (COMMON, 0x38), 0);
    capability(&mut c, CAP_ISR, CAP_DEVICE, 3, (ISR, 1), 0);
    capability(&mut c, CAP_DEVICE, CAP_NOTIFY, 4, (DEVICE, 0x3c), 0);
    capability(&mut c, CAP_NOTIFY, CAP_WINDOW, 2, (NOTIFY, 4), 4);
    capability(&mut c, CAP_WINDOW, 0, 5, (0, 0), 0);
    c.allow(CAP_WINDOW + 4, &[0xff]);
    c.allow(CAP_WINDOW + 8, &[0xff; 8]);
    c
}

/// The PCI function of one block device.
pub(in crate::vmm) struct VirtioPci {
    blk: Arc<Blk>,
    wires: Arc<Wires>,
    vm: Option<Arc<VmFd>>,
    config: Mutex<Config>,
}

impl VirtioPci {
    pub(in crate::vmm) fn new(blk: Arc<Blk>, wires: Arc<Wires>, vm: Option<Arc<VmFd>>) -> Self {
        let config = Mutex::new(initial(wires.slot));
        VirtioPci {
            blk,
            wires,
            vm,
            config,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the kernel's watch to where the doorbell is now. Where that fails, doorbell writes arrive as memory writes.
    fn place_doorbell(&self, config: &mut Config) {
        let wanted = config.bar(BAR4).map(|base| base + u64::from(NOTIFY));
        if wanted == config.doorbell {
            return;
        }
        let Some(vm) = &self.vm else { return };
        if let Some(old) = config.doorbell.take() {
            let _ = vm.unregister_ioevent(self.blk.kick(), &IoEventAddress::Mmio(old), NoDatamatch);
        }
        if let Some(new) = wanted {
            let place = IoEventAddress::Mmio(new);
            if vm
                .register_ioevent(self.blk.kick(), &place, NoDatamatch)
                .is_ok()
            {
                config.doorbell = Some(new);
            }
        }
    }

    fn region_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        if bar == 1 {
            return self.wires.msix.read(offset, data);
        }
        let within = offset & 0xfff;
        match offset as u32 & 0x3000 {
            COMMON => self.blk.read_common(within, data),
            ISR => {
                data.fill(0);
                if let (0, Some(first)) = (within, data.first_mut()) {
                    *first = self.wires.take_isr();
                }
            }
            DEVICE => self.blk.read_config(within, data),
            _ => data.fill(0),
        }
    }

    fn region_write(&self, bar: u8, offset: u64, data: &[u8]) {
        if bar == 1 {
            return self.wires.msix.write(offset, data);
        }
        let within = offset & 0xfff;
        match offset as u32 & 0x3000 {
            COMMON => self.blk.write_common(within, data),
            DEVICE => self.blk.write_config(within, data),
            NOTIFY if within == 0 => {
                let _ = self.blk.kick().write(1);
            }
            _ => {}
        }
    }

    /// The BAR and offset of a guest address, if this function decodes the whole access.
    fn decode(&self, address: u64, length: usize) -> Option<(u8, u64)> {
        let config = self.lock();
        let bars = [(1u8, BAR1, MSIX_LENGTH), (4, BAR4, REGION_LENGTH)];
        bars.into_iter().find_map(|(bar, at, size)| {
            let offset = address.checked_sub(config.bar(at)?)?;
            (offset + length as u64 <= size).then_some((bar, offset))
        })
    }

    /// The access that the window capability describes (virtio 1.2, 4.1.4.9), if it is a legal one.
    fn window(&self) -> Option<(u8, u64, usize)> {
        let config = self.lock();
        let bar = config.bytes[CAP_WINDOW + 4];
        let offset = config.word(CAP_WINDOW + 8);
        let length = config.word(CAP_WINDOW + 12);
        let limit = match bar {
            1 => MSIX_LENGTH,
            4 => REGION_LENGTH,
            _ => return None,
        };
        let legal = matches!(length, 1 | 2 | 4) && offset % length == 0;
        (legal && u64::from(offset) + u64::from(length) <= limit).then_some((
            bar,
            u64::from(offset),
            length as usize,
        ))
    }
}

impl Function for VirtioPci {
    fn config_read(&self, offset: usize, data: &mut [u8]) {
        if offset == WINDOW_DATA {
            if let Some((bar, at, length)) = self.window() {
                data.fill(0);
                let length = length.min(data.len());
                return self.region_read(bar, at, &mut data[..length]);
            }
        }
        let config = self.lock();
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = config.bytes.get(offset + index).copied().unwrap_or(0);
        }
    }

    fn config_write(&self, offset: usize, data: &[u8]) {
        if offset == WINDOW_DATA {
            if let Some((bar, at, length)) = self.window() {
                return self.region_write(bar, at, &data[..length.min(data.len())]);
            }
        }
        let mut config = self.lock();
        for (at, value) in (offset..).zip(data).take_while(|(at, _)| *at < 256) {
            let mask = config.mask[at];
            config.bytes[at] = (config.bytes[at] & !mask) | (value & mask);
        }
        self.place_doorbell(&mut config);
        let control = u16::from(config.bytes[CAP_MSIX + 3]) << 8;
        let intx_off = config.bytes[COMMAND + 1] & COMMAND_NO_INTX != 0;
        drop(config);
        self.wires.intx_off.store(intx_off, Ordering::SeqCst);
        self.wires.msix.set_control(control);
        self.wires.update_intx();
    }

    fn memory_read(&self, address: u64, data: &mut [u8]) -> bool {
        let Some((bar, offset)) = self.decode(address, data.len()) else {
            return false;
        };
        self.region_read(bar, offset, data);
        true
    }

    fn memory_write(&self, address: u64, data: &[u8]) -> bool {
        let Some((bar, offset)) = self.decode(address, data.len()) else {
            return false;
        };
        self.region_write(bar, offset, data);
        true
    }

    fn reset(&self) {
        // The caller has drained the device, so this does not wait.
        let _ = self.blk.reset(Duration::ZERO);
        self.wires.msix.reset();
        let _ = self.wires.take_isr();
        let mut config = self.lock();
        let doorbell = config.doorbell;
        *config = initial(self.wires.slot);
        config.doorbell = doorbell;
        self.place_doorbell(&mut config);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::file::{FileOptions, RawFile};
    use crate::vmm::irq::new_event;
    use crate::vmm::memory;
    use crate::vmm::virtio::blk::BlkSpec;
    use proptest::prelude::*;

    fn function() -> VirtioPci {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        let options = FileOptions {
            writable: false,
            direct: false,
        };
        let spec = BlkSpec {
            id: "scsi0".into(),
            device: Arc::new(RawFile::open(image.path(), options).unwrap()),
            serial: String::new(),
            read_only: true,
            write_cache: true,
        };
        let wires = Wires::new(None, 1).unwrap();
        let ram = memory::allocate(2).unwrap();
        let interrupts = Arc::clone(&wires) as Arc<dyn Interrupts>;
        let blk = Blk::new(spec, ram, new_event().unwrap(), interrupts, VECTORS);
        VirtioPci::new(Arc::new(blk), wires, None)
    }

    fn word(function: &VirtioPci, offset: usize) -> u32 {
        let mut data = [0xff; 4];
        function.config_read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn a_driver_finds_the_device_and_its_five_structures() {
        let function = function();
        assert_eq!(word(&function, 0), 0x1042_1af4);
        let mut kinds = Vec::new();
        let mut at = word(&function, 0x34) as usize & 0xff;
        while at != 0 {
            let header = word(&function, at);
            if header & 0xff == 9 {
                kinds.push(header >> 24);
            }
            at = (header >> 8) as usize & 0xff;
        }
        assert_eq!(kinds, [1, 3, 4, 2, 5]);
    }

    #[test]
    fn the_shared_line_follows_the_isr_register_whoever_was_last() {
        let wires = Wires::new(None, 1).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    wires.raise(ISR_QUEUE, NO_VECTOR);
                    let up = *wires.level.lock().unwrap();
                    assert!(up || wires.isr.load(Ordering::SeqCst) == 0, "lost");
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                wires.take_isr();
            }
        });
        let due = wires.isr.load(Ordering::SeqCst) != 0;
        assert_eq!(*wires.level.lock().unwrap(), due);
    }

    #[test]
    fn bars_are_sized_and_decoded_only_while_memory_is_on() {
        let function = function();
        for (bar, size) in [(BAR1, 0x1000u32), (BAR4, 0x4000)] {
            function.config_write(bar, &[0xff; 4]);
            assert_eq!(!word(&function, bar) + 1, size);
        }
        function.config_write(BAR4, &0xc000_0000u32.to_le_bytes());
        let features = 0xc000_0004;
        assert!(!function.memory_read(features, &mut [0; 4]));
        function.config_write(COMMAND, &[COMMAND_MEMORY, 0]);
        assert!(function.memory_read(features, &mut [0; 4]));
        assert!(
            !function.memory_read(0xc000_3fff, &mut [0; 4]),
            "crosses the end"
        );
    }

    #[test]
    fn the_window_reaches_what_the_bar_reaches() {
        let function = function();
        for (offset, value) in [(4, 4u32), (8, DEVICE), (12, 4)] {
            function.config_write(CAP_WINDOW + offset, &value.to_le_bytes());
        }
        assert_eq!(word(&function, WINDOW_DATA), 2048, "sectors of the volume");
    }

    proptest! {
        #[test]
        fn no_register_access_hurts(
            accesses in proptest::collection::vec((0usize..64, 0u64..0x4000, any::<[u8; 8]>(), 0usize..4), 0..60)
        ) {
            let function = function();
            for (register, offset, value, width) in accesses {
                let bytes = &value[..1 << width];
                function.config_write(register * 4, &value[..4]);
                word(&function, register * 4);
                function.config_write(COMMAND, &[COMMAND_MEMORY, 0]);
                function.config_write(BAR4, &0xc000_0000u32.to_le_bytes());
                function.memory_write(0xc000_0000 + offset, bytes);
                let mut back = [0u8; 8];
                function.memory_read(0xc000_0000 + offset, &mut back[..1 << width]);
            }
        }
    }
}
