//! The machine: KVM, memory, PCI, virtio; it is handed open block devices and never knows storages, plans or configs.

mod bus;
mod control;
mod event;
pub mod guest;
mod io_thread;
mod irq;
mod kvm;
mod machine;
mod memory;
mod msix;
mod operator;
mod outbox;
mod pci;
mod platform;
mod protocol;
mod say;
mod serial;
mod session;
mod signals;
mod socket;
mod status;
mod vcpu;
mod virtio;

use crate::block::BlockDevice;
use crate::model::Result;
use std::path::PathBuf;
use std::sync::Arc;

/// A machine to be built, complete. The devices come open.
pub struct MachineSpec {
    pub name: String,
    pub vmid: u32,
    pub memory_mib: u32,
    pub cpus: u8,
    pub firmware: Firmware,
    pub drives: Vec<DriveSpec>,
    /// Everything the guest prints on its first serial port.
    pub serial_log: PathBuf,
    /// Unix stream socket: what a client writes goes into the serial port, what the guest prints comes out.
    pub serial_socket: PathBuf,
    /// Unix stream socket, QMP-shaped JSON.
    pub control_socket: PathBuf,
    /// Do not run the vCPUs until `cont`.
    pub paused: bool,
}

pub enum Firmware {
    /// The freestanding virtio-blk test guest that is built from source into this program.
    TestGuest,
    /// A ROM image placed below 4 GiB and its last 128 KiB below 1 MiB.
    Rom(Vec<u8>),
    /// The same, and as with `TestGuest` a byte `v` written to port 0xf4 ends the process with code `(v << 1) | 1`.
    TestRom(Vec<u8>),
}

pub struct DriveSpec {
    /// The slot, `scsi0`: name on the control socket.
    pub id: String,
    pub device: Arc<dyn BlockDevice>,
    /// Up to 20 bytes the guest can ask for.
    pub serial: String,
    pub read_only: bool,
    /// Guest sees a write cache and must flush (`writeback`); false: every write is flushed (`writethrough`).
    pub write_cache: bool,
}

/// Runs the machine in this process until it ends; returns the process exit code.
///
/// Ends when the guest powers off or a client sends `quit` (0), on SIGTERM or SIGINT (0), or when a test guest writes its exit
/// port. Every way out stops the CPUs, finishes requests in flight and flushes all writable drives; if that fails the code is
/// at least 1. Blocks SIGTERM and SIGINT in the calling thread. Sockets are removed on every return.
pub fn run(spec: MachineSpec) -> Result<i32> {
    machine::run(spec)
}

/// Whether /dev/kvm can be used: `Err` says in one sentence what is missing, its hint how to get it.
pub fn probe() -> Result<()> {
    kvm::probe()
}
