//! One block device: pops descriptors, sends checked requests to the volume's channel, answers; a bad guest stops only this device.

use super::super::Interrupts;
use super::super::registers::{QUEUE_SIZE, Registers, status};
use super::config::{self, CONFIG_WCE, FLUSH};
use super::request::{Answer, Chain, Kind, Limits, Request, SECTOR, Span, Status, serial_bytes};
use super::stats::{Counters, Stats};
use crate::block::{BlockDevice, Buffers, Completion, IoChannel, Op};
use crate::model::{Error, Result};
use crate::vmm::memory::Ram;
use crate::vmm::say;
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};
use vmm_sys_util::eventfd::EventFd;

/// Rounds over the queue before other devices of the I/O thread get their turn.
const ROUNDS: usize = 8;
/// The available ring says "no interrupts please" with this bit (virtio 1.2, 2.7.6).
const NO_INTERRUPT: u16 = 1;

/// What a device is made from.
pub(in crate::vmm) struct BlkSpec {
    pub(in crate::vmm) id: String,
    pub(in crate::vmm) device: Arc<dyn BlockDevice>,
    pub(in crate::vmm) serial: String,
    pub(in crate::vmm) read_only: bool,
    pub(in crate::vmm) write_cache: bool,
}

#[derive(Clone, Copy)]
enum Counted {
    Read,
    Write,
    Flush,
    Unmap,
}

/// A request between submission and answer.
struct InFlight {
    answer: Answer,
    counted: Counted,
    bytes: u64,
    /// Operations that follow the one in the channel, if it succeeds.
    rest: VecDeque<Op>,
    begun: Instant,
}

pub(super) struct State {
    pub(super) registers: Registers,
    channel: Option<Box<dyn IoChannel>>,
    slots: Vec<Option<InFlight>>,
    free: Vec<usize>,
    pub(super) sectors: u64,
    /// The driver's write cache switch.
    pub(super) writeback: bool,
    /// A reset waits for requests in flight.
    pub(super) resetting: bool,
    /// Used entries were added that the driver may have to be told about.
    answered: bool,
}

pub(in crate::vmm) struct Blk {
    pub(super) spec: BlkSpec,
    pub(super) ram: Ram,
    pub(super) state: Mutex<State>,
    pub(super) idle: Condvar,
    pub(super) kick: EventFd,
    pub(super) interrupts: Arc<dyn Interrupts>,
    stats: Stats,
    /// Nothing new is taken from the queue. Outside the lock, so that it cuts a batch of slow requests short.
    pub(super) held: AtomicBool,
}

impl State {
    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn finish_reset(&mut self, writeback: bool) {
        self.registers.reset();
        self.resetting = false;
        self.answered = false;
        self.writeback = writeback;
    }
}

impl Blk {
    pub(in crate::vmm) fn new(
        spec: BlkSpec,
        ram: Ram,
        kick: EventFd,
        interrupts: Arc<dyn Interrupts>,
        vectors: u16,
    ) -> Self {
        let geometry = spec.device.geometry();
        let read_only = spec.read_only || geometry.read_only;
        let spec = BlkSpec { read_only, ..spec };
        let offered = config::features(&geometry, read_only, spec.write_cache);
        let slots = usize::from(QUEUE_SIZE);
        let state = State {
            registers: Registers::new(offered, vectors),
            channel: None,
            slots: (0..slots).map(|_| None).collect(),
            free: (0..slots).rev().collect(),
            sectors: geometry.size.get() / SECTOR,
            writeback: spec.write_cache,
            resetting: false,
            answered: false,
        };
        Blk {
            spec,
            ram,
            state: Mutex::new(state),
            idle: Condvar::new(),
            kick,
            interrupts,
            stats: Stats::default(),
            held: AtomicBool::new(false),
        }
    }

    fn held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::vmm) fn id(&self) -> &str {
        &self.spec.id
    }
    pub(in crate::vmm) fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.spec.device
    }
    pub(in crate::vmm) fn read_only(&self) -> bool {
        self.spec.read_only
    }
    pub(in crate::vmm) fn counters(&self) -> Counters {
        self.stats.counters()
    }
    /// The doorbell: written by the kernel when the guest kicks.
    pub(in crate::vmm) fn kick(&self) -> &EventFd {
        &self.kick
    }

    /// Makes the channel. Called once, on the thread that will call `process`; returns the event to wait for.
    pub(in crate::vmm) fn open_channel(&self) -> Result<RawFd> {
        let channel = Arc::clone(&self.spec.device).channel(QUEUE_SIZE)?;
        let event = channel.event();
        self.lock().channel = Some(channel);
        Ok(event)
    }

    /// Collects what is finished, takes what is new, answers, tells the driver. I/O thread only.
    pub(in crate::vmm) fn process(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        self.collect(state);
        let mut again = false;
        for _ in 0..ROUNDS {
            again = false;
            if !state.registers.running() || self.held() || state.resetting {
                break;
            }
            let _ = state.registers.queue.disable_notification(&*self.ram);
            let full = self.take_new(state);
            self.collect(state);
            if full && state.in_flight() > 0 {
                // A completion brings us back.
                break;
            }
            match state.registers.queue.enable_notification(&*self.ram) {
                Ok(more) => again = more || full,
                Err(_) => self.broken(state, "its used ring cannot be written"),
            }
            if !again {
                break;
            }
        }
        if again {
            let _ = self.kick.write(1);
        }
        self.tell_driver(state);
    }

    /// Submits new requests, at most one ring full: requests that are refused at once take no room, and a guest that
    /// refills the ring from another CPU must not keep this thread (and the lock) for ever. True when there may be more.
    fn take_new(&self, state: &mut State) -> bool {
        let geometry = self.spec.device.geometry();
        let limits = Limits::new(&geometry, state.sectors, self.spec.read_only);
        let mut full = true;
        for _ in 0..state.registers.queue.size() {
            let room = state.channel.as_ref().is_some_and(|c| c.room() > 0);
            if !room || state.free.is_empty() {
                break;
            }
            if !state.registers.running() || self.held() {
                full = false;
                break;
            }
            let queue = &mut state.registers.queue;
            // An index that runs ahead by more than the queue holds is a broken driver, not an empty queue.
            let ahead = match queue.avail_idx(&*self.ram, Ordering::Acquire) {
                Ok(index) => index.0.wrapping_sub(queue.next_avail()),
                Err(_) => queue.size() + 1,
            };
            if ahead == 0 {
                full = false;
                break;
            }
            let next = (ahead <= queue.size())
                .then(|| queue.pop_descriptor_chain(&*self.ram))
                .flatten();
            let Some(chain) = next else {
                self.broken(state, "its available ring is nonsense");
                full = false;
                break;
            };
            match Chain::collect(chain) {
                Ok(chain) => self.begin(state, chain, &limits),
                Err(fault) => {
                    self.broken(state, &format!("a descriptor chain is bad: {fault:?}"));
                    full = false;
                    break;
                }
            }
        }
        if let Some(channel) = &mut state.channel {
            if let Err(e) = channel.commit() {
                say::host(
                    &self.spec.id,
                    &format!("submitting failed: {}", e.full_text()),
                );
            }
        }
        full
    }

    fn begin(&self, state: &mut State, chain: Chain, limits: &Limits) {
        let request = match Request::parse(chain, limits) {
            Ok(request) => request,
            Err(refusal) => {
                self.stats.invalid.count(0, false, Duration::ZERO);
                self.answer(state, refusal.answer, refusal.status);
                return;
            }
        };
        let (answer, bytes) = (request.answer(), request.bytes());
        let through = !self.writeback(state);
        let (counted, first, rest) = match self.operations(request.into_kind(), through) {
            Ok(work) => work,
            Err(status) => {
                self.answer(state, answer, status);
                return;
            }
        };
        let Some(first) = first else {
            self.answer(state, answer, Status::Ok);
            return;
        };
        let Some(slot) = state.free.pop() else {
            // Unreachable: the caller checked. The request fails rather than vanishes.
            self.answer(state, answer, Status::IoError);
            return;
        };
        state.slots[slot] = Some(InFlight {
            answer,
            counted,
            bytes,
            rest,
            begun: Instant::now(),
        });
        self.submit(state, slot, first);
    }

    /// The channel operations of a request, in order; none when it is answered from here.
    fn operations(
        &self,
        kind: Kind,
        through: bool,
    ) -> std::result::Result<(Counted, Option<Op>, VecDeque<Op>), Status> {
        let flush = through.then_some(Op::Flush);
        Ok(match kind {
            Kind::Read { offset, into } => {
                let into = self.buffers(&into)?;
                (
                    Counted::Read,
                    Some(Op::Read { offset, into }),
                    VecDeque::new(),
                )
            }
            Kind::Write { offset, from } => {
                let from = self.buffers(&from)?;
                (
                    Counted::Write,
                    Some(Op::Write { offset, from }),
                    flush.into_iter().collect(),
                )
            }
            Kind::Flush if self.spec.read_only => (Counted::Flush, None, VecDeque::new()),
            Kind::Flush => (Counted::Flush, Some(Op::Flush), VecDeque::new()),
            Kind::GetId { into } => {
                self.write_serial(&into)?;
                (Counted::Read, None, VecDeque::new())
            }
            Kind::Discard(extents) => {
                let discard = |extent| Op::Discard { extent };
                let mut ops: VecDeque<Op> = extents.into_iter().map(discard).collect();
                (Counted::Unmap, ops.pop_front(), ops)
            }
            Kind::WriteZeroes(ranges) => {
                let zero = |(extent, may_unmap)| Op::WriteZeroes { extent, may_unmap };
                let mut ops: VecDeque<Op> = ranges.into_iter().map(zero).chain(flush).collect();
                (Counted::Write, ops.pop_front(), ops)
            }
        })
    }

    /// Host addresses of checked guest memory.
    fn buffers(&self, spans: &[Span]) -> std::result::Result<Buffers, Status> {
        let mut parts = Vec::with_capacity(spans.len());
        for span in spans {
            let slices = self
                .ram
                .get_slices(GuestAddress(span.address()), span.len());
            for slice in slices {
                let slice = slice.map_err(|_| Status::IoError)?;
                parts.push(libc::iovec {
                    iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                    iov_len: slice.len(),
                });
            }
        }
        // SAFETY: the parts lie in mappings of `self.ram`, which this device holds; the machine neither drops a device nor its
        // RAM before the channel is idle (it leaks the RAM when a drain fails). Other writers to guest memory are the guest's
        // own CPUs; what they race with is the content of the guest's own request, never ours.
        Ok(unsafe { Buffers::new(parts) })
    }

    fn write_serial(&self, into: &[Span]) -> std::result::Result<(), Status> {
        let serial = serial_bytes(&self.spec.serial);
        let mut rest = &serial[..];
        for span in into {
            let (now, later) = rest.split_at(span.len().min(rest.len()));
            self.ram
                .write_slice(now, GuestAddress(span.address()))
                .map_err(|_| Status::IoError)?;
            rest = later;
        }
        Ok(())
    }

    fn submit(&self, state: &mut State, slot: usize, op: Op) {
        let result = match &mut state.channel {
            Some(channel) => channel.submit(op, slot as u64),
            None => Err(Error::failed("the device has no channel")),
        };
        if let Err(e) = result {
            say::guest(
                &self.spec.id,
                &format!("request not taken: {}", e.full_text()),
            );
            self.finish(state, slot, Err(e));
        }
    }

    /// Answers everything that is finished; a request with another step goes back into the channel.
    fn collect(&self, state: &mut State) {
        let mut done: Vec<Completion> = Vec::new();
        loop {
            if let Some(channel) = &mut state.channel {
                channel.completions(&mut done);
            }
            if done.is_empty() {
                break;
            }
            let mut stepped = false;
            for completion in done.drain(..) {
                let slot = completion.token as usize;
                let Some(Some(request)) = state.slots.get_mut(slot) else {
                    continue;
                };
                match (completion.result, request.rest.pop_front()) {
                    (Ok(()), Some(next)) => {
                        self.submit(state, slot, next);
                        stepped = true;
                    }
                    (result, _) => self.finish(state, slot, result),
                }
            }
            if !stepped {
                break;
            }
            if let Some(channel) = &mut state.channel {
                let _ = channel.commit();
            }
        }
        if state.in_flight() == 0 {
            if state.resetting {
                state.finish_reset(self.spec.write_cache);
            }
            self.idle.notify_all();
        }
    }

    fn finish(&self, state: &mut State, slot: usize, result: Result<()>) {
        let Some(request) = state.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        state.free.push(slot);
        let counter = match request.counted {
            Counted::Read => &self.stats.read,
            Counted::Write => &self.stats.write,
            Counted::Flush => &self.stats.flush,
            Counted::Unmap => &self.stats.unmap,
        };
        counter.count(request.bytes, result.is_ok(), request.begun.elapsed());
        let status = match result {
            Ok(()) => Status::Ok,
            Err(e) => {
                let errors = counter.reading().failed;
                // The first few of a kind, then one in a thousand: a dying disk must not fill the log.
                if errors <= 10 || errors % 1000 == 0 {
                    say::host(&self.spec.id, &format!("request failed: {}", e.full_text()));
                }
                match e.kind() {
                    crate::model::ErrorKind::Unsupported => Status::Unsupported,
                    _ => Status::IoError,
                }
            }
        };
        self.answer(state, request.answer, status);
    }

    fn answer(&self, state: &mut State, answer: Answer, outcome: Status) {
        // A driver that reset the device no longer owns this memory for us.
        if state.resetting || !state.registers.queue.ready() {
            return;
        }
        let written = self
            .ram
            .write_obj(outcome as u8, GuestAddress(answer.status_address()));
        let used = state
            .registers
            .queue
            .add_used(&*self.ram, answer.head(), answer.used(outcome));
        state.answered = true;
        if written.is_err() || used.is_err() {
            self.broken(state, "its used ring cannot be written");
        }
    }

    fn tell_driver(&self, state: &mut State) {
        if !state.answered || !state.registers.queue.ready() {
            return;
        }
        state.answered = false;
        let queue = &mut state.registers.queue;
        let wanted = if queue.event_idx_enabled() {
            queue.needs_notification(&*self.ram).unwrap_or(true)
        } else {
            // The used ring must be visible before the flags are looked at: the driver does it the other way round.
            fence(Ordering::SeqCst);
            let flags = self
                .ram
                .load::<u16>(GuestAddress(queue.avail_ring()), Ordering::Acquire);
            flags.map_or(true, |flags| u16::from_le(flags) & NO_INTERRUPT == 0)
        };
        if wanted {
            self.interrupts.queue(state.registers.queue_vector);
        }
    }

    /// The driver broke the rules: the device stops until it is reset (virtio 1.2, 2.1.2).
    pub(super) fn broken(&self, state: &mut State, why: &str) {
        if state.registers.status & status::NEEDS_RESET != 0 {
            return;
        }
        say::guest(
            &self.spec.id,
            &format!("the guest's driver is broken: {why}"),
        );
        state.registers.status |= status::NEEDS_RESET;
        if state.registers.status & status::DRIVER_OK != 0 {
            self.interrupts.config(state.registers.config_vector);
        }
    }

    /// Whether completed writes may stay in a volatile cache (virtio 1.2, 5.2.6.2).
    pub(super) fn writeback(&self, state: &State) -> bool {
        if !self.spec.write_cache {
            false
        } else if state.registers.agreed(CONFIG_WCE) {
            state.writeback
        } else {
            state.registers.agreed(FLUSH)
        }
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
