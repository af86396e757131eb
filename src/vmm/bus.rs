//! Dispatch of guest port and memory accesses to the devices; unclaimed reads give ones, unclaimed writes vanish.

use super::event::GuestEvent;
use super::operator::Job;
use super::pci::PciBus;
use super::platform::Platform;
use super::serial::{COM1, Serial};
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// Whether the CPU that made an access goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    /// The machine has to change state first; the CPU parks.
    Stop,
}

/// All devices of a machine as the CPUs reach them.
pub(super) struct Bus {
    pub(super) pci: PciBus,
    pub(super) serial: Arc<Serial>,
    pub(super) platform: Platform,
    jobs: Sender<Job>,
}

impl Bus {
    pub(super) fn new(
        pci: PciBus,
        serial: Arc<Serial>,
        platform: Platform,
        jobs: Sender<Job>,
    ) -> Self {
        Bus {
            pci,
            serial,
            platform,
            jobs,
        }
    }

    /// Tells the operator; a machine that is ending no longer listens, which is fine.
    pub(super) fn report(&self, event: GuestEvent) {
        let _ = self.jobs.send(Job::Guest(event));
    }

    /// `data` is one access of 1, 2 or 4 bytes, or (string input) a run of byte accesses to the same port.
    pub(super) fn port_read(&self, port: u16, data: &mut [u8]) -> Flow {
        data.fill(0xff);
        match data.len() {
            0 => {}
            1 | 2 | 4 => self.port_read_one(port, data),
            _ => {
                for byte in data {
                    self.port_read_one(port, std::slice::from_mut(byte));
                }
            }
        }
        Flow::Go
    }

    fn port_read_one(&self, port: u16, data: &mut [u8]) {
        match port {
            COM1..=0x3ff => {
                for (port, byte) in (port..=0x3ff).zip(data) {
                    *byte = self.serial.read((port - COM1) as u8);
                }
            }
            0xcf8..=0xcff if port != 0xcf9 || data.len() > 1 => self.pci.port_read(port, data),
            _ => self.platform.read(port, data),
        }
    }

    /// As `port_read`: other lengths than 1, 2 and 4 are runs of byte accesses (string output).
    pub(super) fn port_write(&self, port: u16, data: &[u8]) -> Flow {
        if matches!(data.len(), 1 | 2 | 4) {
            return self.port_write_one(port, data);
        }
        let mut flow = Flow::Go;
        for byte in data {
            if self.port_write_one(port, std::slice::from_ref(byte)) == Flow::Stop {
                flow = Flow::Stop;
            }
        }
        flow
    }

    fn port_write_one(&self, port: u16, data: &[u8]) -> Flow {
        match port {
            COM1..=0x3ff => {
                for (port, byte) in (port..=0x3ff).zip(data) {
                    self.serial.write((port - COM1) as u8, *byte);
                }
                Flow::Go
            }
            0xcf8..=0xcff if port != 0xcf9 || data.len() > 1 => {
                self.pci.port_write(port, data);
                Flow::Go
            }
            _ => match self.platform.write(port, data) {
                Some(event) => {
                    self.report(event);
                    Flow::Stop
                }
                None => Flow::Go,
            },
        }
    }

    pub(super) fn memory_read(&self, address: u64, data: &mut [u8]) -> Flow {
        data.fill(0xff);
        self.pci.memory_read(address, data);
        Flow::Go
    }

    pub(super) fn memory_write(&self, address: u64, data: &[u8]) -> Flow {
        self.pci.memory_write(address, data);
        Flow::Go
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_sys_util::eventfd::EventFd;

    #[test]
    fn string_output_to_the_serial_port_is_text_and_not_register_writes() {
        let event = || EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let serial = Serial::new(event(), event());
        let (jobs, work) = std::sync::mpsc::channel();
        let platform = Platform::new("test".into(), true, None);
        let bus = Bus::new(PciBus::new(Vec::new()), Arc::clone(&serial), platform, jobs);
        assert_eq!(bus.port_write(COM1, b"hello, host"), Flow::Go);
        assert_eq!(serial.take_output(), b"hello, host");
        assert_eq!(bus.port_write(0xcf9, &[0, 0, 6]), Flow::Stop);
        assert!(matches!(work.try_recv(), Ok(Job::Guest(GuestEvent::Reset))));
        assert_eq!(bus.port_write(COM1, &[]), Flow::Go);
    }
}
