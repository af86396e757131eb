//! MSI-X of one PCI function: table, pending bits, and the eventfds that carry the messages; it knows nothing of what they mean.

use super::irq::{Irqs, Message, new_event};
use crate::model::Result;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vmm_sys_util::eventfd::EventFd;

/// Where the pending bits are in the MSI-X page.
pub(super) const PBA_OFFSET: u32 = 0x800;
const PAGE: u64 = 0x1000;
const ENTRY: usize = 16;
/// Message control bits (PCI 3.0, 6.8.2.3).
const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;

#[derive(Clone, Copy)]
struct Entry {
    bytes: [u8; ENTRY],
}

impl Entry {
    fn word(&self, at: usize) -> u32 {
        let b = &self.bytes;
        u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
    }
    fn masked(&self) -> bool {
        self.word(12) & 1 != 0
    }
    fn message(&self) -> Message {
        Message {
            address: u64::from(self.word(0)) | u64::from(self.word(4)) << 32,
            data: self.word(8),
        }
    }
}

/// Power-on: every vector masked.
const MASKED: Entry = Entry {
    bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
};

struct State {
    control: u16,
    entries: Vec<Entry>,
    pending: u64,
}

pub(super) struct Msix {
    irqs: Option<Arc<Irqs>>,
    lines: Vec<(u32, EventFd)>,
    state: Mutex<State>,
}

impl Msix {
    /// `vectors` is at most 64. Without `irqs` the eventfds lead nowhere (for tests of the device model).
    pub(super) fn new(irqs: Option<Arc<Irqs>>, vectors: u16) -> Result<Self> {
        let mut lines = Vec::new();
        for _ in 0..vectors.min(64) {
            lines.push(match &irqs {
                Some(irqs) => irqs.message_line()?,
                None => (0, new_event()?),
            });
        }
        let state = State {
            control: 0,
            entries: vec![MASKED; lines.len()],
            pending: 0,
        };
        Ok(Msix {
            irqs,
            lines,
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enabled(&self) -> bool {
        self.lock().control & ENABLE != 0
    }

    /// The writable half of the message control register.
    pub(super) fn set_control(&self, control: u16) {
        let mut state = self.lock();
        state.control = control & (ENABLE | FUNCTION_MASK);
        self.settle(&mut state);
    }

    /// Sends the message of a vector, or remembers that it is due.
    pub(super) fn trigger(&self, vector: u16) {
        let mut state = self.lock();
        if usize::from(vector) < state.entries.len() && state.control & ENABLE != 0 {
            state.pending |= 1 << vector;
            self.settle(&mut state);
        }
    }

    /// Sends every pending message that may go now.
    fn settle(&self, state: &mut State) {
        if state.control & (ENABLE | FUNCTION_MASK) != ENABLE {
            return;
        }
        for (index, entry) in state.entries.iter().enumerate() {
            if state.pending & 1 << index == 0 || entry.masked() {
                continue;
            }
            state.pending &= !(1 << index);
            let (gsi, line) = &self.lines[index];
            let routed = match &self.irqs {
                Some(irqs) => irqs.route(*gsi, entry.message()),
                None => true,
            };
            if routed {
                let _ = line.write(1);
            }
        }
    }

    /// Places outside the page read as zeros and ignore writes.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if offset >= PAGE {
            return;
        }
        let state = self.lock();
        let pending = state.pending.to_le_bytes();
        for (offset, byte) in (offset..).zip(data) {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let table = state.entries.get(at / ENTRY).map(|e| e.bytes[at % ENTRY]);
            let pba = at
                .checked_sub(PBA_OFFSET as usize)
                .and_then(|at| pending.get(at).copied());
            *byte = table.or(pba).unwrap_or(0);
        }
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) {
        if offset >= PAGE {
            return;
        }
        let mut state = self.lock();
        for (offset, byte) in (offset..).zip(data) {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            if let Some(entry) = state.entries.get_mut(at / ENTRY) {
                entry.bytes[at % ENTRY] = *byte;
            }
        }
        self.settle(&mut state);
    }

    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.control = 0;
        state.pending = 0;
        state.entries.fill(MASKED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(msix: &Msix, vector: usize) -> bool {
        msix.lines[vector].1.read().is_ok()
    }

    #[test]
    fn a_masked_vector_is_remembered_and_sent_when_unmasked() {
        let msix = Msix::new(None, 2).unwrap();
        msix.trigger(1);
        msix.set_control(ENABLE);
        assert!(!sent(&msix, 1), "triggers before enabling are not kept");
        msix.trigger(1);
        let mut pending = [0; 8];
        msix.read(u64::from(PBA_OFFSET), &mut pending);
        assert_eq!(pending[0], 2);
        msix.write(16 + 12, &[0, 0, 0, 0]);
        assert!(sent(&msix, 1));
        msix.set_control(ENABLE | FUNCTION_MASK);
        msix.trigger(1);
        assert!(!sent(&msix, 1));
        msix.set_control(ENABLE);
        assert!(sent(&msix, 1));
    }

    #[test]
    fn accesses_outside_the_table_are_harmless() {
        let msix = Msix::new(None, 2).unwrap();
        for offset in [0, 15, 31, 32, 0x7ff, 0x800, 0xfff, u64::MAX - 8] {
            msix.write(offset, &[0xff; 8]);
            msix.read(offset, &mut [0; 8]);
        }
        msix.trigger(2);
        msix.trigger(0xffff);
    }
}
