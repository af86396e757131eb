//! The operator: the one thread that stops, resumes, resets, snapshots and ends the machine, one job at a time; it owns no socket.

use super::bus::Bus;
use super::event::GuestEvent;
use super::irq::Chips;
use super::memory::{Ram, Rom};
use super::outbox::{Out, Outbox};
use super::protocol::{self, Action, Failure, Outcome};
use super::say;
use super::session::Session;
use super::status::{RunState, Status};
use super::vcpu::Vcpus;
use super::virtio::blk::Blk;
use crate::block::LiveSnapshots;
use crate::model::{Error, Result, SnapshotName};
use crate::sys::clock;
use kvm_ioctls::VmFd;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long the end of the machine, a reset or a short drain waits for requests in flight.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Work for the operator.
pub(super) enum Job {
    Command {
        client: u64,
        id: Option<Value>,
        action: Action,
    },
    /// A client's connection is gone.
    ClientGone(u64),
    Guest(GuestEvent),
    /// SIGTERM or SIGINT.
    Terminate,
}

/// Everything the operator works on.
pub(super) struct Operator {
    pub(super) name: String,
    pub(super) vm: Arc<VmFd>,
    pub(super) chips: Chips,
    pub(super) ram: Ram,
    pub(super) rom: Rom,
    pub(super) bus: Arc<Bus>,
    pub(super) devices: Vec<Arc<Blk>>,
    pub(super) vcpus: Vcpus,
    pub(super) status: Arc<Status>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) session: Option<Session>,
}

/// Why the machine ends.
struct End {
    code: i32,
    guest: bool,
    reason: &'static str,
}

impl Operator {
    /// Works until the machine ends.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let job = match &self.session {
                Some(session) => jobs.recv_timeout(session.time_left()),
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let end = match job {
                Ok(Job::Command { client, id, action }) => self.command(client, id, action),
                Ok(Job::ClientGone(client)) => {
                    if self.session.as_ref().is_some_and(|s| s.client() == client) {
                        self.log("a client left in the middle of a snapshot; resuming");
                        self.end_session();
                    }
                    None
                }
                Ok(Job::Guest(event)) => self.guest(event),
                Ok(Job::Terminate) => Some(End {
                    code: 0,
                    guest: false,
                    reason: "host-signal",
                }),
                Err(RecvTimeoutError::Timeout) => {
                    self.log("a snapshot took longer than it asked for; resuming");
                    self.end_session();
                    None
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(end) = end {
                return self.finish(end);
            }
        }
    }

    fn log(&self, text: &str) {
        say::host(&self.name, text);
    }

    fn announce(&self, name: &str, data: Value) {
        let line = protocol::event(name, data, clock::now_micros());
        self.outbox.push(Out::Event(line));
    }

    fn command(&mut self, client: u64, id: Option<Value>, action: Action) -> Option<End> {
        if action == Action::Quit {
            // Drained and flushed before the answer, so that "quit done" means "all is on disk".
            let outcome = match self.settle() {
                Ok(()) => Ok(json!({})),
                Err(e) => Err(e.into()),
            };
            let code = i32::from(outcome.is_err());
            self.outbox.reply(client, protocol::answer(id, outcome));
            return Some(End {
                code,
                guest: false,
                reason: "host-qmp-quit",
            });
        }
        let outcome = self.act(client, action);
        self.outbox.reply(client, protocol::answer(id, outcome));
        None
    }

    fn act(&mut self, client: u64, action: Action) -> Outcome {
        match action {
            Action::Stop => self.stop()?,
            Action::Cont => self.cont()?,
            Action::Reset => self.reset(false)?,
            Action::PowerDown => {
                self.bus.platform.press_power_button();
                self.announce("POWERDOWN", Value::Null);
            }
            Action::Drain => self.short_drain(&self.devices)?,
            Action::Resize { device, size } => self.device(&device)?.resize(size)?,
            Action::SnapshotBegin { timeout } => return self.begin(client, timeout),
            Action::SnapshotVolume {
                device,
                name,
                created,
            } => self.snapshot(client, &device, &name, created)?,
            Action::SnapshotDelete { device, name } => return self.delete(&device, &name),
            Action::SnapshotNames { device } => {
                let blk = self.device(&device)?;
                return Ok(json!(live(&blk)?.names()?));
            }
            Action::SnapshotEnd => {
                self.own_session(client)?;
                return Ok(self.end_session());
            }
            // Handled by the caller.
            Action::Quit => {}
        }
        Ok(json!({}))
    }

    fn device(&self, id: &str) -> std::result::Result<Arc<Blk>, Failure> {
        let found = self.devices.iter().find(|device| device.id() == id);
        found.cloned().ok_or_else(|| {
            Failure::new(
                "DeviceNotFound",
                format!("this machine has no device '{id}'"),
            )
        })
    }

    fn stop(&mut self) -> Result<()> {
        match self.status.get() {
            RunState::Running => {}
            RunState::Prelaunch => {
                self.status.set(RunState::Paused);
                return Ok(());
            }
            RunState::Paused | RunState::InternalError | RunState::Shutdown => return Ok(()),
        }
        match &mut self.session {
            Some(session) => session.stay_stopped(),
            None => self.vcpus.pause()?,
        }
        self.status.set(RunState::Paused);
        self.announce("STOP", Value::Null);
        Ok(())
    }

    fn cont(&mut self) -> Result<()> {
        if self.session.is_some() {
            return Err(Error::busy("a snapshot of this machine is being taken"));
        }
        match self.status.get() {
            RunState::Running => return Ok(()),
            RunState::InternalError => {
                return Err(Error::failed(
                    "the machine stopped on an internal error and must be reset first",
                )
                .hint("send system_reset"));
            }
            RunState::Paused | RunState::Prelaunch | RunState::Shutdown => {}
        }
        self.status.set(RunState::Running);
        self.vcpus.resume();
        self.announce("RESUME", Value::Null);
        Ok(())
    }

    fn reset(&mut self, guest: bool) -> Result<()> {
        if self.session.is_some() {
            return Err(Error::busy("a snapshot of this machine is being taken"));
        }
        self.still_cpus()?;
        let drained = self.hold(&self.devices, DRAIN_LIMIT);
        if let Err(e) = drained {
            if self.status.get() == RunState::Running {
                self.vcpus.resume();
            }
            return Err(e);
        }
        self.bus.pci.reset();
        self.bus.serial.reset();
        self.bus.platform.reset();
        self.release(&self.devices);
        self.rom.copy_low(&self.ram)?;
        self.chips.restore(&self.vm)?;
        self.vcpus.reset();
        let reason = if guest {
            "guest-reset"
        } else {
            "host-qmp-system-reset"
        };
        self.announce("RESET", json!({"guest": guest, "reason": reason}));
        match self.status.get() {
            RunState::Running => self.vcpus.resume(),
            RunState::InternalError | RunState::Shutdown => self.status.set(RunState::Paused),
            RunState::Paused | RunState::Prelaunch => {}
        }
        Ok(())
    }

    fn guest(&mut self, event: GuestEvent) -> Option<End> {
        match event {
            GuestEvent::PowerOff => Some(End {
                code: 0,
                guest: true,
                reason: "guest-shutdown",
            }),
            GuestEvent::TestExit(code) => Some(End {
                code,
                guest: true,
                reason: "guest-test-exit",
            }),
            GuestEvent::Reset => {
                if let Err(e) = self.reset(true) {
                    self.fail(&format!("the guest's reset failed: {}", e.full_text()));
                }
                None
            }
            GuestEvent::CpuFailed(text) => {
                self.fail(&text);
                None
            }
        }
    }

    /// The machine stands still for someone to look at; control goes on.
    fn fail(&mut self, text: &str) {
        self.log(&format!("stopped on an internal error: {text}"));
        let paused = self.vcpus.pause();
        if let Err(e) = paused {
            self.log(&e.full_text());
        }
        self.status.set(RunState::InternalError);
        self.announce("STOP", Value::Null);
    }

    /// Pauses the CPUs. The devices are told to take nothing more first: a CPU in a register access of a device waits for
    /// the batch of requests that device is doing. On failure all goes on.
    fn still_cpus(&self) -> Result<()> {
        for device in &self.devices {
            device.stop_taking();
        }
        self.vcpus
            .pause()
            .inspect_err(|_| self.release(&self.devices))
    }

    /// Stops taking requests on all of `devices`; on failure none is held.
    fn hold(&self, devices: &[Arc<Blk>], limit: Duration) -> Result<()> {
        let begun = Instant::now();
        for device in devices {
            if let Err(e) = device.hold(limit.saturating_sub(begun.elapsed())) {
                self.release(devices);
                return Err(e);
            }
        }
        Ok(())
    }

    fn release(&self, devices: &[Arc<Blk>]) {
        for device in devices {
            device.release();
        }
    }

    fn flush(&self, devices: &[Arc<Blk>]) -> Result<()> {
        for device in devices.iter().filter(|device| !device.read_only()) {
            device.device().flush().map_err(|e| {
                let kind = e.kind();
                Error::new(kind, format!("cannot flush device '{}'", device.id())).with_source(e)
            })?;
        }
        Ok(())
    }

    /// Finishes what is in flight and flushes, without stopping the CPUs.
    fn short_drain(&self, devices: &[Arc<Blk>]) -> Result<()> {
        if self.session.is_some() {
            // Everything is held and flushed already.
            return Ok(());
        }
        self.hold(devices, DRAIN_LIMIT)?;
        let flushed = self.flush(devices);
        self.release(devices);
        flushed
    }

    fn begin(&mut self, client: u64, timeout: Duration) -> Outcome {
        if self.session.is_some() {
            return Err(Error::busy("another snapshot of this machine is being taken").into());
        }
        let was_running = self.status.get() == RunState::Running;
        // Most of what is dirty goes to disk while the guest still runs, so that the flush in the pause finds little.
        self.flush(&self.devices)?;
        let begun = Instant::now();
        self.still_cpus()?;
        let ready = self.hold(&self.devices, timeout).and_then(|()| {
            self.flush(&self.devices)
                .inspect_err(|_| self.release(&self.devices))
        });
        if let Err(e) = ready {
            if was_running {
                self.vcpus.resume();
            }
            return Err(e.into());
        }
        self.session = Some(Session::new(client, begun, timeout, was_running));
        Ok(json!({"drain_us": begun.elapsed().as_micros() as u64}))
    }

    fn own_session(&mut self, client: u64) -> std::result::Result<&mut Session, Failure> {
        match &mut self.session {
            Some(session) if session.client() == client => Ok(session),
            Some(_) => Err(Error::busy("another client is taking a snapshot").into()),
            None => Err(Failure::new(
                "GenericError",
                "no snapshot has begun, or it took longer than its timeout",
            )),
        }
    }

    fn snapshot(
        &mut self,
        client: u64,
        device: &str,
        name: &SnapshotName,
        created: u64,
    ) -> std::result::Result<(), Failure> {
        let blk = self.device(device)?;
        self.own_session(client)?;
        live(&blk)?.create(name, created)?;
        self.own_session(client)?.volume_done();
        Ok(())
    }

    fn delete(&mut self, device: &str, name: &SnapshotName) -> Outcome {
        let blk = self.device(device)?;
        let snapshots = live(&blk)?;
        let one = std::slice::from_ref(&blk);
        let own_hold = self.session.is_none();
        if own_hold {
            self.hold(one, DRAIN_LIMIT)?;
        }
        let deleted = self.flush(one).and_then(|()| snapshots.delete(name));
        if own_hold {
            self.release(one);
        }
        Ok(json!({"deleted": deleted?}))
    }

    /// Resumes what the session stopped; how long that was.
    fn end_session(&mut self) -> Value {
        let Some(session) = self.session.take() else {
            return json!({});
        };
        self.release(&self.devices);
        if session.resumes() {
            self.vcpus.resume();
        }
        json!({
            "pause_us": session.pause().as_micros() as u64,
            "skew_us": session.skew().as_micros() as u64,
        })
    }

    /// CPUs stopped, nothing in flight, everything on disk; devices stay held.
    fn settle(&mut self) -> Result<()> {
        self.session = None;
        let paused = self.still_cpus();
        let held = self.hold(&self.devices, DRAIN_LIMIT);
        if held.is_err() {
            // The kernel may still write into guest memory: it must never be given back.
            std::mem::forget(Arc::clone(&self.ram));
        }
        let flushed = self.flush(&self.devices);
        paused.and(held).and(flushed)
    }

    fn finish(mut self, end: End) {
        let mut code = end.code;
        if let Err(e) = self.settle() {
            self.log(&format!("not everything may be on disk: {}", e.full_text()));
            if code == 0 {
                code = 1;
            }
        }
        self.status.set(RunState::Shutdown);
        self.announce(
            "SHUTDOWN",
            json!({"guest": end.guest, "reason": end.reason}),
        );
        if !self.vcpus.end() {
            std::mem::forget(Arc::clone(&self.ram));
            std::mem::forget(self.rom);
        }
        self.outbox.push(Out::Finish(code));
    }
}

/// The snapshots of a device that has them.
fn live(blk: &Blk) -> Result<&dyn LiveSnapshots> {
    blk.device().live_snapshots().ok_or_else(|| {
        Error::unsupported(format!(
            "device '{}' cannot take snapshots itself",
            blk.id()
        ))
        .hint("snapshot its storage between x-snapshot-begin and x-snapshot-end")
    })
}
