//! The first serial port, a 16550: registers and the two queues towards the host; it does no file or socket work itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vmm_sys_util::eventfd::EventFd;

/// First port of COM1.
pub(super) const COM1: u16 = 0x3f8;
/// Its interrupt line.
pub(super) const COM1_LINE: u32 = 4;
/// Input that waits for the guest; clients are not read while it is full.
const INPUT_LIMIT: usize = 4096;
/// Output the host has not collected; beyond it bytes are lost, the guest never waits.
const OUTPUT_LIMIT: usize = 4 << 20;

const IER_RECEIVED: u8 = 1;
const IER_SENT: u8 = 2;
const IIR_NOTHING: u8 = 1;
const IIR_SENT: u8 = 2;
const IIR_RECEIVED: u8 = 4;
const IIR_FIFO: u8 = 0xc0;
const LCR_DIVISOR: u8 = 0x80;
const LSR_DATA: u8 = 1;
const LSR_IDLE: u8 = 0x60;
const MCR_LOOP: u8 = 0x10;
/// Carrier, ready, clear to send.
const MSR_CONNECTED: u8 = 0xb0;

struct Registers {
    divisor: [u8; 2],
    interrupts: u8,
    line: u8,
    modem: u8,
    scratch: u8,
    fifo: bool,
    /// The transmitter became empty and nobody has looked yet.
    sent: bool,
    input: VecDeque<u8>,
    output: Vec<u8>,
}

impl Default for Registers {
    fn default() -> Self {
        Registers {
            divisor: [12, 0],
            interrupts: 0,
            line: 3,
            modem: 8,
            scratch: 0,
            fifo: false,
            sent: false,
            input: VecDeque::new(),
            output: Vec::new(),
        }
    }
}

pub(super) struct Serial {
    registers: Mutex<Registers>,
    /// Pulses the interrupt line.
    interrupt: EventFd,
    /// Readable when there is output or room for input again.
    host: EventFd,
}

impl Serial {
    pub(super) fn new(interrupt: EventFd, host: EventFd) -> Arc<Self> {
        Arc::new(Serial {
            registers: Mutex::default(),
            interrupt,
            host,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Registers> {
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// For the host's poll.
    pub(super) fn host_event(&self) -> &EventFd {
        &self.host
    }

    pub(super) fn read(&self, register: u8) -> u8 {
        let mut r = self.lock();
        let divisor = r.line & LCR_DIVISOR != 0;
        match register {
            0 if divisor => r.divisor[0],
            1 if divisor => r.divisor[1],
            0 => {
                let byte = r.input.pop_front().unwrap_or(0);
                if r.input.is_empty() {
                    let _ = self.host.write(1);
                } else {
                    self.announce_input(&r);
                }
                byte
            }
            1 => r.interrupts,
            2 => {
                let fifo = if r.fifo { IIR_FIFO } else { 0 };
                fifo | if r.interrupts & IER_RECEIVED != 0 && !r.input.is_empty() {
                    IIR_RECEIVED
                } else if r.interrupts & IER_SENT != 0 && r.sent {
                    r.sent = false;
                    IIR_SENT
                } else {
                    IIR_NOTHING
                }
            }
            3 => r.line,
            4 => r.modem,
            5 => LSR_IDLE | if r.input.is_empty() { 0 } else { LSR_DATA },
            6 if r.modem & MCR_LOOP != 0 => {
                // Loop mode wires the four outputs to the four inputs.
                let m = r.modem;
                (m & 0x0c) << 4 | (m & 0x02) << 3 | (m & 0x01) << 5
            }
            6 => MSR_CONNECTED,
            7 => r.scratch,
            _ => 0xff,
        }
    }

    pub(super) fn write(&self, register: u8, value: u8) {
        let mut r = self.lock();
        let divisor = r.line & LCR_DIVISOR != 0;
        match register {
            0 if divisor => r.divisor[0] = value,
            1 if divisor => r.divisor[1] = value,
            0 if r.modem & MCR_LOOP != 0 => {
                // A byte too many overwrites the last one, as in a receiver that nobody empties.
                r.input.truncate(INPUT_LIMIT - 1);
                r.input.push_back(value);
                self.announce_input(&r);
            }
            0 => {
                if r.output.is_empty() {
                    let _ = self.host.write(1);
                }
                if r.output.len() < OUTPUT_LIMIT {
                    r.output.push(value);
                }
                self.announce_sent(&mut r);
            }
            1 => {
                let newly = value & !r.interrupts;
                r.interrupts = value & 0x0f;
                if newly & IER_SENT != 0 {
                    self.announce_sent(&mut r);
                }
                if newly & IER_RECEIVED != 0 && !r.input.is_empty() {
                    self.announce_input(&r);
                }
            }
            2 => {
                r.fifo = value & 1 != 0;
                if value & 2 != 0 {
                    r.input.clear();
                    let _ = self.host.write(1);
                }
            }
            3 => r.line = value,
            4 => r.modem = value & 0x1f,
            7 => r.scratch = value,
            _ => {}
        }
    }

    fn announce_input(&self, r: &Registers) {
        if r.interrupts & IER_RECEIVED != 0 {
            let _ = self.interrupt.write(1);
        }
    }

    /// Bytes leave at once, so the transmitter is empty again.
    fn announce_sent(&self, r: &mut Registers) {
        r.sent = true;
        if r.interrupts & IER_SENT != 0 {
            let _ = self.interrupt.write(1);
        }
    }

    /// Everything the guest printed since the last call.
    pub(super) fn take_output(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().output)
    }

    /// How many bytes `push_input` takes now.
    pub(super) fn input_room(&self) -> usize {
        INPUT_LIMIT - self.lock().input.len().min(INPUT_LIMIT)
    }

    /// Hands input to the guest; what does not fit (see `input_room`) is lost.
    pub(super) fn push_input(&self, bytes: &[u8]) {
        let mut r = self.lock();
        let room = INPUT_LIMIT - r.input.len().min(INPUT_LIMIT);
        r.input.extend(bytes.iter().take(room));
        if !r.input.is_empty() {
            self.announce_input(&r);
        }
    }

    /// Registers as after power-on; output that was printed is kept.
    pub(super) fn reset(&self) {
        let mut r = self.lock();
        let output = std::mem::take(&mut r.output);
        *r = Registers {
            output,
            ..Registers::default()
        };
        // Clients that waited for room are read again.
        let _ = self.host.write(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> Arc<Serial> {
        let event = || EventFd::new(libc::EFD_NONBLOCK).unwrap();
        Serial::new(event(), event())
    }

    #[test]
    fn a_polling_guest_can_print_and_read() {
        let serial = port();
        assert_eq!(serial.read(5), 0x60);
        serial.write(0, b'A');
        assert_eq!(serial.take_output(), b"A");
        serial.push_input(b"xy");
        assert_eq!(serial.read(5) & 1, 1);
        assert_eq!((serial.read(0), serial.read(0)), (b'x', b'y'));
        assert_eq!(serial.read(5) & 1, 0);
    }

    #[test]
    fn interrupts_follow_their_enable_bits() {
        let serial = port();
        serial.push_input(b"x");
        assert!(serial.interrupt.read().is_err(), "not enabled yet");
        serial.write(1, IER_RECEIVED | IER_SENT);
        assert!(serial.interrupt.read().is_ok());
        assert_eq!(serial.read(2) & 0x0f, IIR_RECEIVED);
        serial.read(0);
        assert_eq!(serial.read(2) & 0x0f, IIR_SENT);
        assert_eq!(serial.read(2) & 0x0f, IIR_NOTHING);
    }

    #[test]
    fn driver_probes_see_a_16550() {
        let serial = port();
        serial.write(4, MCR_LOOP | 0x0a);
        assert_eq!(serial.read(6) & 0xf0, 0x90);
        serial.write(4, 0);
        serial.write(2, 1);
        assert_eq!(serial.read(2) & 0xc0, 0xc0);
        serial.write(3, LCR_DIVISOR);
        serial.write(0, 1);
        assert_eq!(serial.read(0), 1);
        serial.write(7, 0x5a);
        assert_eq!(serial.read(7), 0x5a);
    }

    #[test]
    fn a_reset_makes_room_for_input_and_says_so() {
        let serial = port();
        serial.push_input(&[0; 2 * INPUT_LIMIT]);
        let _ = serial.host.read();
        serial.reset();
        assert_eq!(serial.input_room(), INPUT_LIMIT);
        assert!(serial.host.read().is_ok(), "the host was not told");
    }

    #[test]
    fn nobody_collecting_output_costs_bounded_memory() {
        let serial = port();
        for _ in 0..OUTPUT_LIMIT + 10 {
            serial.write(0, b'.');
        }
        assert_eq!(serial.take_output().len(), OUTPUT_LIMIT);
        serial.push_input(&[0; 3 * INPUT_LIMIT]);
        assert_eq!(serial.input_room(), 0);
    }
}
