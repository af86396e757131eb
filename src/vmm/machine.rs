//! Building one machine from its specification and running it to its end; every part comes from a neighbour, here they are joined.

use super::bus::Bus;
use super::control::Control;
use super::io_thread::IoThread;
use super::irq::{Chips, Irqs, new_event};
use super::memory::{self, Rom};
use super::operator::{Job, Operator};
use super::outbox::{Out, Outbox};
use super::pci::{Function, PciBus, SLOTS};
use super::platform::Platform;
use super::serial::{COM1_LINE, Serial};
use super::socket::Listener;
use super::status::{RunState, Status};
use super::vcpu::{Gate, Vcpu, Vcpus};
use super::virtio::blk::{Blk, BlkSpec};
use super::virtio::pci_transport::{VECTORS, VirtioPci, Wires};
use super::{DriveSpec, Firmware, MachineSpec, kvm, signals};
use crate::model::{Error, ErrorKind, Result};
use crate::sys::fs;
use kvm_ioctls::VmFd;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::{Arc, mpsc};

/// Slots left when both bridges have theirs.
const DRIVE_LIMIT: usize = SLOTS as usize - 2;
const CPU_LIMIT: u8 = 32;

fn check(spec: &MachineSpec) -> Result<()> {
    if spec.cpus == 0 || spec.cpus > CPU_LIMIT {
        return Err(Error::usage(format!(
            "a machine has 1 to {CPU_LIMIT} CPUs, not {}",
            spec.cpus
        )));
    }
    if spec.drives.len() > DRIVE_LIMIT {
        return Err(Error::usage(format!(
            "a machine has at most {DRIVE_LIMIT} drives, not {}",
            spec.drives.len()
        )));
    }
    for (index, drive) in spec.drives.iter().enumerate() {
        if spec.drives[..index].iter().any(|d| d.id == drive.id) {
            return Err(Error::usage(format!("drive '{}' is there twice", drive.id)));
        }
    }
    Ok(())
}

/// The log keeps what earlier runs printed.
fn open_log(path: &Path) -> Result<File> {
    match fs::create_new(path, 0o600) {
        Err(e) if e.kind() == ErrorKind::Conflict => OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(|e| Error::io(format!("cannot open '{}'", path.display()), e)),
        other => other,
    }
}

/// One drive as a PCI device in the given slot.
fn drive(
    drive: DriveSpec,
    slot: u8,
    ram: &memory::Ram,
    irqs: &Arc<Irqs>,
    vm: &Arc<VmFd>,
) -> Result<(Arc<Blk>, Arc<dyn Function>)> {
    let wires = Wires::new(Some(Arc::clone(irqs)), slot)?;
    let spec = BlkSpec {
        id: drive.id,
        device: drive.device,
        serial: drive.serial,
        read_only: drive.read_only,
        write_cache: drive.write_cache,
    };
    let blk = Blk::new(
        spec,
        Arc::clone(ram),
        new_event()?,
        Arc::clone(&wires) as Arc<_>,
        VECTORS,
    );
    let blk = Arc::new(blk);
    let function = VirtioPci::new(Arc::clone(&blk), wires, Some(Arc::clone(vm)));
    Ok((blk, Arc::new(function)))
}

pub(super) fn run(spec: MachineSpec) -> Result<i32> {
    check(&spec)?;
    let signals = signals::ending_signals()?;
    let control = Listener::bind(&spec.control_socket)?;
    let console = Listener::bind(&spec.serial_socket)?;
    let log = open_log(&spec.serial_log)?;
    let (image, test_exit) = match spec.firmware {
        Firmware::TestGuest => (super::guest::rom().to_vec(), true),
        Firmware::TestRom(image) => (image, true),
        Firmware::Rom(image) => (image, false),
    };

    let kvm_fd = kvm::open()?;
    let ram = memory::allocate(spec.memory_mib)?;
    let rom = Rom::new(image)?;
    rom.copy_low(&ram)?;
    let vm = Arc::new(kvm::create_vm(&kvm_fd)?);
    memory::attach(&vm, &ram, &rom)?;
    let irqs = Irqs::new(Arc::clone(&vm))?;
    let chips = Chips::of(&vm)?;
    let serial = Serial::new(irqs.edge_line(COM1_LINE)?, new_event()?);

    let mut devices = Vec::new();
    let mut functions = Vec::new();
    for (slot, spec) in (1u8..).zip(spec.drives) {
        let (blk, function) = drive(spec, slot, &ram, &irqs, &vm)?;
        devices.push(blk);
        functions.push(function);
    }
    let (jobs, work) = mpsc::channel();
    let bus = Arc::new(Bus::new(
        PciBus::new(functions),
        Arc::clone(&serial),
        Platform::new(spec.name.clone(), test_exit, Some(Arc::clone(&irqs))),
        jobs.clone(),
    ));
    let mut cpus = Vec::new();
    for index in 0..spec.cpus {
        cpus.push(Vcpu::new(&kvm_fd, &vm, index, spec.cpus)?);
    }
    let io_thread = IoThread::start(devices.clone(), jobs.clone())?;
    let vcpus = Vcpus::start(cpus, Arc::new(Gate::new()), &bus)?;
    let state = if spec.paused {
        RunState::Prelaunch
    } else {
        vcpus.resume();
        RunState::Running
    };
    let status = Arc::new(Status::new(state));
    let outbox = Arc::new(Outbox::new()?);
    let operator = Operator {
        name: spec.name.clone(),
        vm,
        chips,
        ram,
        rom,
        bus,
        devices: devices.clone(),
        vcpus,
        status: Arc::clone(&status),
        outbox: Arc::clone(&outbox),
        session: None,
    };
    let last_word = Arc::clone(&outbox);
    let terminate = jobs.clone();
    let operator = std::thread::Builder::new()
        .name("operator".to_owned())
        .spawn(move || {
            let _last = LastWord(last_word);
            operator.run(&work);
        })
        .map_err(|e| Error::io("cannot start the operator thread", e))?;
    let code = Control {
        name: spec.name,
        status,
        devices,
        serial,
        log,
        signals,
        outbox,
        jobs,
        control,
        console,
    }
    .run();
    if code.is_err() {
        let _ = terminate.send(Job::Terminate);
    }
    if operator.join().is_err() {
        return Err(Error::failed("the operator thread ended unexpectedly"));
    }
    io_thread.end();
    code
}

/// Ends the control thread however the operator ends; after an orderly end nobody reads it.
struct LastWord(Arc<Outbox>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.push(Out::Finish(1));
    }
}
