//! Interrupt lines and message routes of one VM; it knows numbers, never who raises them or why.

use super::kvm;
use crate::model::Result;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KvmIrqRouting, kvm_irq_routing_entry, kvm_irqchip, kvm_pit_state2,
};
use kvm_ioctls::VmFd;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use vmm_sys_util::eventfd::EventFd;

/// Interrupt numbers below this belong to the PIC and the IOAPIC.
const FIRST_MSI: u32 = 24;
/// Line shared by all PCI functions that have not switched to messages.
pub(super) const INTX_LINE: u32 = 11;
/// Line of ACPI events.
pub(super) const SCI_LINE: u32 = 9;

/// What an MSI-X table entry says: where to write what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Message {
    pub(super) address: u64,
    pub(super) data: u32,
}

#[derive(Default)]
struct Tables {
    next: u32,
    messages: BTreeMap<u32, Message>,
    /// One bit for each PCI slot that holds the shared line up.
    intx: u32,
}

/// All interrupt wiring of one VM.
pub(super) struct Irqs {
    vm: Arc<VmFd>,
    tables: Mutex<Tables>,
}

impl Irqs {
    pub(super) fn new(vm: Arc<VmFd>) -> Result<Arc<Self>> {
        let irqs = Irqs {
            vm,
            tables: Mutex::default(),
        };
        irqs.install(&BTreeMap::new())?;
        Ok(Arc::new(irqs))
    }

    /// An eventfd whose writes pulse an edge-triggered line.
    pub(super) fn edge_line(&self, line: u32) -> Result<EventFd> {
        let event = new_event()?;
        self.vm
            .register_irqfd(&event, line)
            .map_err(|e| kvm::failed("connect an interrupt line", e))?;
        Ok(event)
    }

    /// A new message number and the eventfd that sends whatever message is routed to it.
    pub(super) fn message_line(&self) -> Result<(u32, EventFd)> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let gsi = FIRST_MSI + tables.next;
        tables.next += 1;
        let event = self.edge_line(gsi)?;
        Ok((gsi, event))
    }

    /// Routes a message number; returns false when the kernel refuses (the guest wrote nonsense).
    pub(super) fn route(&self, gsi: u32, message: Message) -> bool {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.messages.get(&gsi) == Some(&message) {
            return true;
        }
        let before = tables.messages.insert(gsi, message);
        if self.install(&tables.messages).is_ok() {
            return true;
        }
        match before {
            Some(old) => tables.messages.insert(gsi, old),
            None => tables.messages.remove(&gsi),
        };
        false
    }

    /// Sets or clears what one PCI slot contributes to the shared level-triggered line.
    pub(super) fn intx(&self, slot: u8, active: bool) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let before = tables.intx;
        let bit = 1u32 << (slot & 31);
        tables.intx = if active { before | bit } else { before & !bit };
        if (before == 0) != (tables.intx == 0) {
            let _ = self.vm.set_irq_line(INTX_LINE, tables.intx != 0);
        }
    }

    /// Sets a level-triggered line that has one owner.
    pub(super) fn level(&self, line: u32, active: bool) {
        let _ = self.vm.set_irq_line(line, active);
    }

    fn install(&self, messages: &BTreeMap<u32, Message>) -> Result<()> {
        let mut entries = legacy_routes();
        entries.extend(messages.iter().map(|(gsi, message)| {
            let mut entry = kvm_irq_routing_entry {
                gsi: *gsi,
                type_: KVM_IRQ_ROUTING_MSI,
                ..Default::default()
            };
            entry.u.msi.address_lo = message.address as u32;
            entry.u.msi.address_hi = (message.address >> 32) as u32;
            entry.u.msi.data = message.data;
            entry
        }));
        let table = KvmIrqRouting::from_entries(&entries).map_err(|e| {
            crate::model::Error::failed(format!("interrupt routing table is too long: {e:?}"))
        })?;
        self.vm
            .set_gsi_routing(&table)
            .map_err(|e| kvm::failed("route interrupts", e))
    }
}

/// Power-on state of the interrupt controllers and the timer.
pub(super) struct Chips {
    chips: Vec<kvm_irqchip>,
    timer: kvm_pit_state2,
}

impl Chips {
    pub(super) fn of(vm: &VmFd) -> Result<Self> {
        let read = |e| kvm::failed("read the interrupt controllers", e);
        let mut chips = Vec::new();
        for chip_id in [
            KVM_IRQCHIP_PIC_MASTER,
            KVM_IRQCHIP_PIC_SLAVE,
            KVM_IRQCHIP_IOAPIC,
        ] {
            let mut chip = kvm_irqchip {
                chip_id,
                ..Default::default()
            };
            vm.get_irqchip(&mut chip).map_err(read)?;
            chips.push(chip);
        }
        let timer = vm.get_pit2().map_err(read)?;
        Ok(Chips { chips, timer })
    }

    pub(super) fn restore(&self, vm: &VmFd) -> Result<()> {
        let write = |e| kvm::failed("reset the interrupt controllers", e);
        for chip in &self.chips {
            vm.set_irqchip(chip).map_err(write)?;
        }
        vm.set_pit2(&self.timer).map_err(write)
    }
}

/// The PC wiring: PIC for the first 16 lines, IOAPIC for 24, the timer on IOAPIC pin 2.
fn legacy_routes() -> Vec<kvm_irq_routing_entry> {
    let chip = |gsi: u32, irqchip: u32, pin: u32| {
        let mut entry = kvm_irq_routing_entry {
            gsi,
            type_: KVM_IRQ_ROUTING_IRQCHIP,
            ..Default::default()
        };
        entry.u.irqchip.irqchip = irqchip;
        entry.u.irqchip.pin = pin;
        entry
    };
    let mut entries = Vec::new();
    for line in 0..FIRST_MSI {
        match line {
            0..8 if line != 2 => entries.push(chip(line, KVM_IRQCHIP_PIC_MASTER, line)),
            8..16 => entries.push(chip(line, KVM_IRQCHIP_PIC_SLAVE, line - 8)),
            _ => {}
        }
        match line {
            0 => entries.push(chip(0, KVM_IRQCHIP_IOAPIC, 2)),
            2 => {}
            _ => entries.push(chip(line, KVM_IRQCHIP_IOAPIC, line)),
        }
    }
    entries
}

/// A non-blocking eventfd that is closed on exec.
pub(super) fn new_event() -> Result<EventFd> {
    EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
        .map_err(|e| crate::model::Error::io("cannot make an eventfd", e))
}
