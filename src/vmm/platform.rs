//! The small devices of a PC board: power management, keyboard-controller reset, debug ports; they only report, never act.

use super::event::GuestEvent;
use super::irq::{Irqs, SCI_LINE};
use super::say;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// ACPI register block (PMBASE of the LPC bridge): event 0x600, control 0x604, timer 0x608.
pub(super) const PM_BASE: u16 = 0x600;
const PM_STATUS: u16 = PM_BASE;
const PM_ENABLE: u16 = PM_BASE + 2;
const PM_CONTROL: u16 = PM_BASE + 4;
const PM_TIMER: u16 = PM_BASE + 8;
const KEYBOARD_STATUS: u16 = 0x64;
const SYSTEM_CONTROL: u16 = 0x92;
const RESET_CONTROL: u16 = 0xcf9;
const DEBUG_CONSOLE: u16 = 0xe9;
const TEST_EXIT: u16 = 0xf4;

/// ACPI 6.5, 4.8.3.1.1: power button pressed.
const POWER_BUTTON: u16 = 1 << 8;
/// ACPI 6.5, 4.8.3.2.1: ACPI mode is on; there is no other mode here.
const SCI_ENABLED: u16 = 1;
const SLEEP_ENABLE: u16 = 1 << 13;
const TIMER_HZ: u128 = 3_579_545;
/// A guest that prints without line ends is shown in pieces of this size.
const LINE_LIMIT: usize = 4096;

#[derive(Default)]
struct State {
    status: u16,
    enable: u16,
    control: u16,
    line: Vec<u8>,
}

pub(super) struct Platform {
    name: String,
    /// Port 0xf4 ends the machine, as QEMU's isa-debug-exit does.
    test_exit: bool,
    irqs: Option<Arc<Irqs>>,
    state: Mutex<State>,
    begun: Instant,
}

impl Platform {
    pub(super) fn new(name: String, test_exit: bool, irqs: Option<Arc<Irqs>>) -> Self {
        Platform {
            name,
            test_exit,
            irqs,
            state: Mutex::default(),
            begun: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self, port: u16, data: &mut [u8]) {
        if let PM_BASE..=0x60f = port {
            for (port, byte) in (port..=0x60f).zip(data) {
                *byte = self.power_register(port);
            }
            return;
        }
        let value = match port {
            // No keyboard, nothing to read, ready for a command.
            0x60 | KEYBOARD_STATUS | RESET_CONTROL => 0,
            // The A20 gate is always open.
            SYSTEM_CONTROL => 2,
            // What a debug console answers when asked whether it is there.
            DEBUG_CONSOLE => DEBUG_CONSOLE as u8,
            _ => return,
        };
        if let Some(first) = data.first_mut() {
            *first = value;
        }
    }

    fn power_register(&self, port: u16) -> u8 {
        let state = self.lock();
        let word = |value: u16, base: u16| (value >> (8 * (port - base))) as u8;
        match port {
            PM_STATUS..PM_ENABLE => word(state.status, PM_STATUS),
            PM_ENABLE..PM_CONTROL => word(state.enable, PM_ENABLE),
            PM_CONTROL..0x606 => word(state.control | SCI_ENABLED, PM_CONTROL),
            PM_TIMER..0x60c => {
                let ticks = self.begun.elapsed().as_nanos() * TIMER_HZ / 1_000_000_000;
                ((ticks as u32 & 0x00ff_ffff) >> (8 * (port - PM_TIMER))) as u8
            }
            _ => 0,
        }
    }

    /// What the guest asked for, if it concerns the whole machine.
    pub(super) fn write(&self, port: u16, data: &[u8]) -> Option<GuestEvent> {
        let first = *data.first()?;
        match port {
            PM_BASE..=0x60f => self.power_write(port, data),
            // Pulse the reset line of the processor.
            KEYBOARD_STATUS if first == 0xfe => Some(GuestEvent::Reset),
            SYSTEM_CONTROL if first & 1 != 0 => Some(GuestEvent::Reset),
            RESET_CONTROL if first & 4 != 0 => Some(GuestEvent::Reset),
            DEBUG_CONSOLE => {
                self.print(data);
                None
            }
            TEST_EXIT if self.test_exit => {
                let code = (i32::from(first) << 1) | 1;
                Some(GuestEvent::TestExit(code & 0xff))
            }
            _ => None,
        }
    }

    fn power_write(&self, port: u16, data: &[u8]) -> Option<GuestEvent> {
        let mut state = self.lock();
        for (port, byte) in (port..=0x60f).zip(data) {
            let byte = u16::from(*byte);
            match port {
                // Writing a one clears a status bit.
                PM_STATUS => state.status &= !byte,
                0x601 => state.status &= !(byte << 8),
                PM_ENABLE => state.enable = (state.enable & 0xff00) | byte,
                0x603 => state.enable = (state.enable & 0x00ff) | (byte << 8),
                PM_CONTROL => state.control = (state.control & 0xff00) | byte,
                0x605 => state.control = (state.control & 0x00ff) | (byte << 8),
                _ => {}
            }
        }
        self.update_sci(&state);
        let asked = state.control & SLEEP_ENABLE != 0;
        // The bit is write-only; S5 is the only sleep state this board has.
        state.control &= !SLEEP_ENABLE;
        asked.then_some(GuestEvent::PowerOff)
    }

    fn update_sci(&self, state: &State) {
        if let Some(irqs) = &self.irqs {
            irqs.level(SCI_LINE, state.status & state.enable != 0);
        }
    }

    /// Somebody pressed the power button; what follows is up to the guest.
    pub(super) fn press_power_button(&self) {
        let mut state = self.lock();
        state.status |= POWER_BUTTON;
        self.update_sci(&state);
    }

    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.status = 0;
        state.enable = 0;
        state.control = 0;
        self.update_sci(&state);
    }

    fn print(&self, data: &[u8]) {
        let mut state = self.lock();
        for byte in data {
            if *byte != b'\n' {
                state.line.push(*byte);
            }
            if *byte == b'\n' || state.line.len() >= LINE_LIMIT {
                let line = std::mem::take(&mut state.line);
                say::guest(&self.name, &format!("guest: {}", line.escape_ascii()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Platform {
        Platform::new("test".into(), true, None)
    }

    fn status(board: &Platform) -> u16 {
        let mut word = [0; 2];
        board.read(PM_STATUS, &mut word);
        u16::from_le_bytes(word)
    }

    #[test]
    fn the_power_button_is_seen_by_a_polling_guest_and_cleared_by_writing_it_back() {
        let board = board();
        assert_eq!(status(&board), 0);
        board.press_power_button();
        assert_eq!(status(&board), POWER_BUTTON);
        assert_eq!(board.write(PM_STATUS, &POWER_BUTTON.to_le_bytes()), None);
        assert_eq!(status(&board), 0);
    }

    #[test]
    fn sleep_enable_switches_off_whole_or_by_bytes() {
        assert_eq!(
            board().write(PM_CONTROL, &0x2000u16.to_le_bytes()),
            Some(GuestEvent::PowerOff)
        );
        assert_eq!(board().write(0x605, &[0x20]), Some(GuestEvent::PowerOff));
        assert_eq!(board().write(PM_CONTROL, &[1]), None);
    }

    #[test]
    fn the_test_port_ends_only_test_machines() {
        assert_eq!(
            board().write(TEST_EXIT, &[3]),
            Some(GuestEvent::TestExit(7))
        );
        let real = Platform::new("real".into(), false, None);
        assert_eq!(real.write(TEST_EXIT, &[3]), None);
    }

    #[test]
    fn all_three_reset_doors_work() {
        for (port, value) in [
            (KEYBOARD_STATUS, 0xfe),
            (RESET_CONTROL, 6),
            (SYSTEM_CONTROL, 3),
        ] {
            assert_eq!(board().write(port, &[value]), Some(GuestEvent::Reset));
        }
        assert_eq!(board().write(KEYBOARD_STATUS, &[0xd1]), None);
    }
}
