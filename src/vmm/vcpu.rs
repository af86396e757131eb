//! Virtual CPUs: one thread each that runs guest code and hands exits to the bus; the gate stops and resumes all of them.

use super::bus::{Bus, Flow};
use super::event::GuestEvent;
use super::kvm;
use crate::model::{Error, Result};
use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs,
    kvm_sregs, kvm_vcpu_events,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

/// A signal is repeated after this long: it may have arrived just before the thread entered the guest.
const KICK_AGAIN: Duration = Duration::from_micros(200);
/// A guest in a device access may wait for storage; longer than this is given up on.
const PARK_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Run,
    Park,
    Exit,
}

struct GateState {
    wanted: Wanted,
    parked: usize,
    live: usize,
    /// Counts resets; a CPU that sees a new number starts over.
    resets: u64,
}

/// Where CPU threads wait while the machine is not running.
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
    attention: AtomicBool,
}

impl Gate {
    /// Closed: threads park before their first instruction.
    pub(super) fn new() -> Self {
        Gate {
            state: Mutex::new(GateState {
                wanted: Wanted::Park,
                parked: 0,
                live: 0,
                resets: 0,
            }),
            changed: Condvar::new(),
            attention: AtomicBool::new(true),
        }
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all CPUs to park without waiting for them.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if state.wanted == Wanted::Run {
            state.wanted = Wanted::Park;
            self.attention.store(true, Ordering::Release);
        }
    }

    fn open(&self) {
        let mut state = self.lock();
        if state.wanted == Wanted::Park {
            state.wanted = Wanted::Run;
            self.attention.store(false, Ordering::Release);
            self.changed.notify_all();
        }
    }

    /// Called by a CPU thread between two entries into the guest; `None` ends the thread, else the number of resets so far.
    fn pass(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.wanted == Wanted::Park {
            state.parked += 1;
            self.changed.notify_all();
            while state.wanted == Wanted::Park {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            state.parked -= 1;
        }
        (state.wanted == Wanted::Run).then_some(state.resets)
    }
}

/// What a CPU starts from, taken right after it was made.
struct InitialState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    lapic: kvm_lapic_state,
    mp_state: kvm_mp_state,
    events: kvm_vcpu_events,
    msrs: Msrs,
}

/// Registers that a reset must put back and that no other group holds: time stamp, sysenter, syscall and paging attributes,
/// paravirtual clocks.
const RESET_MSRS: &[u32] = &[
    0x10,
    0x174,
    0x175,
    0x176,
    0x277,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0102,
    0x4b56_4d00,
    0x4b56_4d01,
];

impl InitialState {
    fn of(fd: &VcpuFd) -> Result<Self> {
        let read = |e| kvm::failed("read the state of a CPU", e);
        let wanted: Vec<kvm_msr_entry> = RESET_MSRS
            .iter()
            .map(|index| kvm_msr_entry {
                index: *index,
                ..Default::default()
            })
            .collect();
        let mut kept = Vec::new();
        // One at a time: a kernel without one of them still gives the others.
        for entry in wanted {
            let mut one = Msrs::from_entries(&[entry])
                .map_err(|e| Error::failed(format!("a list of one register: {e:?}")))?;
            if fd.get_msrs(&mut one) == Ok(1) {
                kept.extend_from_slice(one.as_slice());
            }
        }
        Ok(InitialState {
            regs: fd.get_regs().map_err(read)?,
            sregs: fd.get_sregs().map_err(read)?,
            lapic: fd.get_lapic().map_err(read)?,
            mp_state: fd.get_mp_state().map_err(read)?,
            events: fd.get_vcpu_events().map_err(read)?,
            msrs: Msrs::from_entries(&kept)
                .map_err(|e| Error::failed(format!("a list of registers: {e:?}")))?,
        })
    }

    fn restore(&self, fd: &VcpuFd) -> Result<()> {
        let write = |e| kvm::failed("reset a CPU", e);
        fd.set_mp_state(self.mp_state).map_err(write)?;
        fd.set_regs(&self.regs).map_err(write)?;
        fd.set_sregs(&self.sregs).map_err(write)?;
        fd.set_msrs(&self.msrs).map_err(write)?;
        fd.set_lapic(&self.lapic).map_err(write)?;
        fd.set_vcpu_events(&self.events).map_err(write)
    }
}

/// One CPU that has not been given a thread yet.
pub(super) struct Vcpu {
    index: u8,
    fd: VcpuFd,
    initial: InitialState,
}

impl Vcpu {
    pub(super) fn new(kvm: &Kvm, vm: &VmFd, index: u8, count: u8) -> Result<Self> {
        let fd = vm
            .create_vcpu(u64::from(index))
            .map_err(|e| kvm::failed("make a CPU", e))?;
        let mut cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(|e| kvm::failed("list CPU features", e))?;
        personalise(&mut cpuid, index, count);
        fd.set_cpuid2(&cpuid)
            .map_err(|e| kvm::failed("set CPU features", e))?;
        let initial = InitialState::of(&fd)?;
        Ok(Vcpu { index, fd, initial })
    }

    fn run(mut self, gate: &Gate, bus: &Bus) {
        let mut resets = 0;
        loop {
            if gate.attention.load(Ordering::Acquire) {
                match gate.pass() {
                    None => return,
                    Some(now) if now != resets => {
                        resets = now;
                        if let Err(e) = self.initial.restore(&self.fd) {
                            self.fail(bus, gate, &e.full_text());
                            continue;
                        }
                    }
                    Some(_) => {}
                }
            }
            let flow = match self.fd.run() {
                Ok(VcpuExit::IoOut(port, data)) => bus.port_write(port, data),
                Ok(VcpuExit::IoIn(port, data)) => bus.port_read(port, data),
                Ok(VcpuExit::MmioRead(address, data)) => bus.memory_read(address, data),
                Ok(VcpuExit::MmioWrite(address, data)) => bus.memory_write(address, data),
                Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt) => Flow::Go,
                Ok(VcpuExit::Shutdown) => {
                    self.fail(bus, gate, "the CPU shut itself down (triple fault)");
                    Flow::Go
                }
                Ok(other) => {
                    let text = format!("the kernel cannot go on: {other:?}");
                    self.fail(bus, gate, &text);
                    Flow::Go
                }
                Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => Flow::Go,
                Err(e) => {
                    self.fail(bus, gate, &format!("KVM_RUN failed: {e}"));
                    Flow::Go
                }
            };
            if flow == Flow::Stop {
                gate.close();
            }
        }
    }

    /// Stops the machine where it stands, so that it can be looked at.
    fn fail(&self, bus: &Bus, gate: &Gate, why: &str) {
        let place = match self.fd.get_regs() {
            Ok(regs) => format!("rip {:#x}", regs.rip),
            Err(_) => "rip unknown".to_owned(),
        };
        gate.close();
        bus.report(GuestEvent::CpuFailed(format!(
            "cpu {}: {why} at {place}",
            self.index
        )));
    }
}

/// The identity of one CPU in its feature list: APIC number, count, "runs under a hypervisor".
fn personalise(cpuid: &mut CpuId, index: u8, count: u8) {
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            1 => {
                entry.ecx |= 1 << 31;
                entry.ebx = (entry.ebx & 0xff00) | u32::from(index) << 24 | u32::from(count) << 16;
                if count > 1 {
                    entry.edx |= 1 << 28;
                }
            }
            0xb | 0x1f => entry.edx = u32::from(index),
            _ => {}
        }
    }
}

/// The running threads of all CPUs.
pub(super) struct Vcpus {
    gate: Arc<Gate>,
    threads: Vec<JoinHandle<()>>,
}

extern "C" fn do_nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

impl Vcpus {
    /// Starts one parked thread for each CPU.
    pub(super) fn start(cpus: Vec<Vcpu>, gate: Arc<Gate>, bus: &Arc<Bus>) -> Result<Self> {
        register_signal_handler(SIGRTMIN(), do_nothing).map_err(|e| {
            Error::io(
                "cannot install the signal that stops CPUs",
                std::io::Error::from_raw_os_error(e.errno()),
            )
        })?;
        let mut threads = Vec::new();
        for cpu in cpus {
            let thread_gate = Arc::clone(&gate);
            let bus = Arc::clone(bus);
            gate.lock().live += 1;
            let thread = std::thread::Builder::new()
                .name(format!("cpu{}", cpu.index))
                .spawn(move || {
                    let leaving = Leaving(&thread_gate, &bus);
                    cpu.run(leaving.0, &bus);
                })
                .map_err(|e| Error::io("cannot start a CPU thread", e))?;
            threads.push(thread);
        }
        Ok(Vcpus { gate, threads })
    }

    fn kick(&self) {
        for thread in &self.threads {
            if !thread.is_finished() {
                let _ = thread.kill(SIGRTMIN());
            }
        }
    }

    /// Returns when no CPU runs guest code any more; `Busy` when one did not come out in time (then all run on).
    pub(super) fn pause(&self) -> Result<()> {
        self.gate.close();
        let begun = Instant::now();
        let mut state = self.gate.lock();
        while state.parked < state.live {
            self.kick();
            let (next, _) = self
                .gate
                .changed
                .wait_timeout(state, KICK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            if begun.elapsed() > PARK_LIMIT {
                drop(state);
                self.gate.open();
                return Err(Error::busy("a CPU waits for storage and cannot be stopped"));
            }
        }
        Ok(())
    }

    pub(super) fn resume(&self) {
        self.gate.open();
    }

    /// All CPUs start over at the reset vector when they next run. They must be paused.
    pub(super) fn reset(&self) {
        self.gate.lock().resets += 1;
    }

    /// Ends all threads; false when one is stuck in storage and was left behind: guest memory must then stay mapped.
    pub(super) fn end(mut self) -> bool {
        let begun = Instant::now();
        loop {
            {
                let mut state = self.gate.lock();
                state.wanted = Wanted::Exit;
                self.gate.attention.store(true, Ordering::Release);
                self.gate.changed.notify_all();
                if state.live == 0 {
                    break;
                }
            }
            if begun.elapsed() > PARK_LIMIT {
                return false;
            }
            self.kick();
            std::thread::sleep(KICK_AGAIN);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        true
    }
}

/// Counts a thread out, however it ends.
struct Leaving<'a>(&'a Gate, &'a Bus);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = "a CPU thread ended unexpectedly".to_owned();
            self.1.report(GuestEvent::CpuFailed(text));
        }
        let mut state = self.0.lock();
        state.live -= 1;
        self.0.changed.notify_all();
    }
}
