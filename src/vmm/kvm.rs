//! The door to /dev/kvm: opens it, checks what the machine needs and makes an empty VM; it never runs anything.

use crate::model::{Error, Result};
use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Cap, Kvm, VmFd};

/// The stable KVM interface, the only one there has been since Linux 2.6.22.
const API_VERSION: i32 = 12;

/// Three pages of guest-physical space that Intel hosts need; below the largest ROM, above every PCI window.
const IDENTITY_MAP: u64 = 0xfeff_c000;
const TASK_STATE: usize = 0xfeff_d000;

/// Everything the machine asks of the kernel.
const NEEDED: &[(Cap, &str)] = &[
    (Cap::UserMemory, "user memory regions"),
    (Cap::Irqchip, "an in-kernel interrupt controller"),
    (Cap::Pit2, "an in-kernel timer"),
    (Cap::Ioeventfd, "ioeventfd"),
    (Cap::Irqfd, "irqfd"),
    (Cap::IrqRouting, "interrupt routing"),
    (Cap::SignalMsi, "message signalled interrupts"),
    (Cap::ReadonlyMem, "read-only memory"),
    (Cap::ImmediateExit, "immediate exit"),
];

/// Turns the errno of a KVM call into the project's error.
pub(super) fn failed(what: &str, error: kvm_ioctls::Error) -> Error {
    Error::io(
        format!("KVM cannot {what}"),
        std::io::Error::from_raw_os_error(error.errno()),
    )
}

/// Opens /dev/kvm and checks that everything needed is there.
pub(super) fn open() -> Result<Kvm> {
    let kvm = Kvm::new().map_err(|e| {
        let hint = match e.errno() {
            libc::ENOENT => "load the KVM module (modprobe kvm_intel or kvm_amd) and enable virtualisation in the firmware",
            libc::EACCES | libc::EPERM => "run as root or add the user to group kvm",
            _ => "see the kernel log (dmesg) for KVM messages",
        };
        Error::io("/dev/kvm cannot be opened", std::io::Error::from_raw_os_error(e.errno()))
            .hint(hint)
    })?;
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(
            Error::unsupported(format!("KVM speaks version {version}, not {API_VERSION}"))
                .hint("use a Linux kernel of version 5.10 or later"),
        );
    }
    for (cap, name) in NEEDED {
        if !kvm.check_extension(*cap) {
            return Err(
                Error::unsupported(format!("KVM on this host has no {name}"))
                    .hint("use a Linux kernel of version 5.10 or later on x86-64"),
            );
        }
    }
    Ok(kvm)
}

/// An empty VM with interrupt controllers and timer.
pub(super) fn create_vm(kvm: &Kvm) -> Result<VmFd> {
    let vm = kvm
        .create_vm()
        .map_err(|e| failed("make a virtual machine", e))?;
    vm.set_identity_map_address(IDENTITY_MAP)
        .map_err(|e| failed("place the identity map", e))?;
    vm.set_tss_address(TASK_STATE)
        .map_err(|e| failed("place the task state", e))?;
    vm.create_irq_chip()
        .map_err(|e| failed("make the interrupt controllers", e))?;
    vm.create_pit2(kvm_pit_config {
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..Default::default()
    })
    .map_err(|e| failed("make the timer", e))?;
    Ok(vm)
}

/// Whether a machine can be started here: the first thing missing, or nothing.
pub(super) fn probe() -> Result<()> {
    let kvm = open()?;
    create_vm(&kvm).map(drop)
}
