//! A queue of requests on a raw file through io_uring; each request owns its iovecs until its completion has arrived.

use super::file::RawFile;
use super::{BlockDevice, Buffers, Completion, IoChannel, Op};
use crate::model::{Error, Extent, Result};
use io_uring::{IoUring, opcode, squeue, types};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Most parts one call takes (UIO_MAXIOV); longer requests go in several calls.
const MAX_PARTS: usize = 1024;
/// Flag of io_uring_enter: wait for completions.
const GET_EVENTS: u32 = 1;
/// Longest read that is tried in the page cache first, bytes.
const CACHED_LIMIT: u64 = 64 << 10;
/// Reads that go straight to the ring after one that was not in the page cache.
const BLIND: u8 = 32;

/// What a request in the kernel still has to do.
enum Work {
    /// `parts` is what is left; its heap memory does not move while the kernel may look at it.
    Move {
        write: bool,
        offset: u64,
        parts: Vec<libc::iovec>,
        first: usize,
    },
    Zero {
        extent: Extent,
        may_unmap: bool,
    },
    Discard {
        extent: Extent,
    },
    Flush,
}

struct Slot {
    token: u64,
    work: Work,
}

// SAFETY: the iovecs point at memory that `Buffers` promised valid on any thread until completion.
unsafe impl Send for Slot {}

pub(super) struct UringChannel {
    ring: IoUring,
    file: Arc<RawFile>,
    event: OwnedFd,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Slots whose entries are in the submission queue and that the kernel has not taken, in order.
    queued: VecDeque<usize>,
    /// The ring failed: the kernel is never called with it again to submit, requests are done by blocking calls.
    broken: bool,
    /// Reads that go to the ring without a look into the page cache, because the last look was in vain.
    blind: u8,
    /// Errno that submitting gives, once.
    #[cfg(test)]
    refuse: Option<i32>,
    done: VecDeque<Completion>,
}

impl UringChannel {
    /// `None` when the kernel or its policy refuses io_uring.
    pub(super) fn open(file: Arc<RawFile>, depth: u16) -> Result<Option<Self>> {
        let depth = depth.max(1);
        let Ok(ring) = IoUring::new(u32::from(depth)) else {
            return Ok(None);
        };
        use rustix::event::EventfdFlags as Flags;
        let event = rustix::event::eventfd(0, Flags::NONBLOCK | Flags::CLOEXEC)
            .map_err(|e| Error::io("cannot make an eventfd", e.into()))?;
        if ring
            .submitter()
            .register_eventfd(event.as_raw_fd())
            .is_err()
        {
            return Ok(None);
        }
        Ok(Some(UringChannel {
            ring,
            file,
            event,
            slots: (0..depth).map(|_| None).collect(),
            free: (0..usize::from(depth)).rev().collect(),
            queued: VecDeque::new(),
            broken: false,
            blind: 0,
            #[cfg(test)]
            refuse: None,
            done: VecDeque::new(),
        }))
    }

    fn ring_bell(&self) {
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    fn finish(&mut self, token: u64, result: Result<()>) {
        self.done.push_back(Completion { token, result });
    }

    fn entry(&self, index: usize) -> Option<squeue::Entry> {
        let fd = types::Fd(self.file.file().as_raw_fd());
        let entry = match &self.slots[index].as_ref()?.work {
            Work::Move {
                write,
                offset,
                parts,
                first,
            } => {
                let rest = &parts[*first..];
                let count = rest.len().min(MAX_PARTS) as u32;
                match write {
                    true => opcode::Writev::new(fd, rest.as_ptr(), count)
                        .offset(*offset)
                        .build(),
                    false => opcode::Readv::new(fd, rest.as_ptr(), count)
                        .offset(*offset)
                        .build(),
                }
            }
            Work::Zero { extent, may_unmap } => {
                let mode = if *may_unmap {
                    libc::FALLOC_FL_PUNCH_HOLE
                } else {
                    libc::FALLOC_FL_ZERO_RANGE
                };
                opcode::Fallocate::new(fd, extent.len())
                    .offset(extent.start())
                    .mode(mode | libc::FALLOC_FL_KEEP_SIZE)
                    .build()
            }
            Work::Discard { extent } => opcode::Fallocate::new(fd, extent.len())
                .offset(extent.start())
                .mode(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE)
                .build(),
            Work::Flush => opcode::Fsync::new(fd)
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
        };
        Some(entry.user_data(index as u64))
    }

    /// Puts the request of a slot into the submission queue.
    fn enqueue(&mut self, index: usize) -> Result<()> {
        let Some(entry) = self.entry(index) else {
            return Ok(());
        };
        for _ in 0..2 {
            // SAFETY: the slot owns the iovecs until the completion, and they point at memory `Buffers` promised until then.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                self.queued.push_back(index);
                return Ok(());
            }
            self.commit()?;
            if self.broken {
                break;
            }
        }
        Err(Error::failed(
            "the queue of the disk takes no more requests",
        ))
    }

    fn start(&mut self, token: u64, work: Work) -> Result<()> {
        let Some(index) = self.free.pop() else {
            return Err(Error::busy("the queue of the disk is full"));
        };
        self.slots[index] = Some(Slot { token, work });
        let queued = self.enqueue(index);
        if queued.is_err() {
            self.slots[index] = None;
            self.free.push(index);
        }
        queued
    }

    /// Does a request with the blocking calls of the device (unaligned memory, calls the file system refused).
    fn inline(&mut self, op: Op) -> Result<()> {
        op.run_on(self.file.as_ref())
    }

    fn check(&self, op: &Op) -> Result<()> {
        match op {
            Op::Read { offset, into } => self.file.check(*offset, into.total(), false),
            Op::Write { offset, from } => self.file.check(*offset, from.total(), true),
            Op::WriteZeroes { extent, .. } | Op::Discard { extent } => {
                self.file.check(extent.start(), extent.len(), true)
            }
            Op::Flush => self.file.not_lost(),
        }
    }

    fn is_direct_fit(&self, offset: u64, buffers: &Buffers) -> bool {
        let parts = buffers.parts().iter();
        let mut parts = parts.map(|part| (part.iov_base as usize, part.iov_len));
        self.file.is_aligned(0, offset, 0)
            && parts.all(|(base, length)| self.file.is_aligned(base, 0, length))
    }

    fn complete(&mut self, index: usize, result: i32) {
        let Some(mut slot) = self.slots.get_mut(index).and_then(Option::take) else {
            return;
        };
        let again = matches!(-result, libc::EINTR | libc::EAGAIN);
        let outcome = if again {
            None
        } else {
            self.judge(&mut slot.work, result)
        };
        let token = slot.token;
        match outcome {
            Some(outcome) => {
                self.free.push(index);
                self.finish(token, outcome);
            }
            None => {
                self.slots[index] = Some(slot);
                if let Err(error) = self.enqueue(index) {
                    self.slots[index] = None;
                    self.free.push(index);
                    self.finish(token, Err(error));
                }
            }
        }
    }

    /// What became of a request; `None` when it has to go on.
    fn judge(&mut self, work: &mut Work, result: i32) -> Option<Result<()>> {
        if result < 0 {
            let refused = matches!(
                -result,
                libc::EOPNOTSUPP | libc::EINVAL | libc::ENODEV | libc::ENOSYS
            );
            let error = std::io::Error::from_raw_os_error(-result);
            return Some(match work {
                Work::Zero { extent, may_unmap } if refused => {
                    self.file.write_zeroes(*extent, *may_unmap)
                }
                Work::Discard { .. } if refused => Ok(()),
                Work::Move { write, offset, .. } => {
                    Err(self
                        .file
                        .failed(if *write { "write" } else { "read" }, *offset, error))
                }
                Work::Zero { extent, .. } | Work::Discard { extent } => {
                    Err(self.file.failed("zero", extent.start(), error))
                }
                Work::Flush => Err(self.file.sync_failed(error)),
            });
        }
        let Work::Move {
            write,
            offset,
            parts,
            first,
        } = work
        else {
            return Some(Ok(()));
        };
        if result == 0 {
            if *write {
                let error = std::io::Error::from(std::io::ErrorKind::WriteZero);
                return Some(Err(self.file.failed("write", *offset, error)));
            }
            // The file ends before its size (another program cut it): zeros.
            for part in &parts[*first..] {
                // SAFETY: the memory is valid until completion, which is only now announced.
                unsafe { std::ptr::write_bytes(part.iov_base.cast::<u8>(), 0, part.iov_len) };
            }
            return Some(Ok(()));
        }
        *offset += result as u64;
        let mut left = result as usize;
        while let Some(part) = parts.get_mut(*first) {
            if left < part.iov_len {
                // SAFETY: stays inside the part, `left` is below its length.
                part.iov_base = unsafe { part.iov_base.cast::<u8>().add(left) }.cast();
                part.iov_len -= left;
                return None;
            }
            left -= part.iov_len;
            *first += 1;
        }
        Some(Ok(()))
    }

    /// Tells the kernel of new entries; how many it took.
    fn enter(&mut self) -> std::io::Result<usize> {
        #[cfg(test)]
        if let Some(errno) = self.refuse.take() {
            return Err(std::io::Error::from_raw_os_error(errno));
        }
        self.ring.submit()
    }

    /// The ring takes no entries any more: what it has not taken fails, what it has taken still completes.
    fn give_up(&mut self) {
        self.broken = true;
        for index in std::mem::take(&mut self.queued) {
            if let Some(slot) = self.slots.get_mut(index).and_then(Option::take) {
                self.free.push(index);
                let error = Error::failed("the queue of the disk is broken");
                self.finish(slot.token, Err(error));
            }
        }
        self.ring_bell();
    }

    /// A short read whose bytes are in the page cache needs no ring. False: not all of them are (nothing is lost by that).
    fn read_cached(&mut self, op: &Op) -> bool {
        let Op::Read { offset, into } = op else {
            return false;
        };
        let total = into.total();
        let fits = (1..=CACHED_LIMIT).contains(&total) && into.parts().len() <= MAX_PARTS;
        if !fits || !self.file.is_cached() {
            return false;
        }
        if self.blind > 0 {
            self.blind -= 1;
            return false;
        }
        // SAFETY: `Buffers::new` promises valid, writable memory until completion.
        let got = unsafe {
            libc::preadv2(
                self.file.file().as_raw_fd(),
                into.parts().as_ptr(),
                into.parts().len() as libc::c_int,
                *offset as libc::off_t,
                libc::RWF_NOWAIT,
            )
        };
        let all = u64::try_from(got) == Ok(total);
        if !all {
            self.blind = BLIND;
        }
        all
    }

    fn reap(&mut self) {
        loop {
            let next = self.ring.completion().next();
            let Some(entry) = next else {
                break;
            };
            self.complete(entry.user_data() as usize, entry.result());
        }
    }
}

impl IoChannel for UringChannel {
    fn submit(&mut self, op: Op, token: u64) -> Result<()> {
        if self.room() == 0 {
            return Err(Error::busy("the queue of the disk is full"));
        }
        if let Err(error) = self.check(&op) {
            self.finish(token, Err(error));
            return Ok(());
        }
        if self.broken || self.read_cached(&op) {
            let result = match self.broken {
                true => self.inline(op),
                false => Ok(()),
            };
            self.finish(token, result);
            return Ok(());
        }
        let fits = match &op {
            Op::Read {
                offset,
                into: buffers,
            }
            | Op::Write {
                offset,
                from: buffers,
            } => self.is_direct_fit(*offset, buffers) && buffers.total() > 0,
            _ => true,
        };
        if !fits {
            let result = self.inline(op);
            self.finish(token, result);
            return Ok(());
        }
        let work = match op {
            Op::Read { offset, into } => Work::Move {
                write: false,
                offset,
                parts: into.into_parts(),
                first: 0,
            },
            Op::Write { offset, from } => Work::Move {
                write: true,
                offset,
                parts: from.into_parts(),
                first: 0,
            },
            Op::WriteZeroes { extent, may_unmap } => Work::Zero { extent, may_unmap },
            Op::Discard { extent } => Work::Discard { extent },
            Op::Flush => Work::Flush,
        };
        self.start(token, work)
    }

    fn commit(&mut self) -> Result<()> {
        while !self.queued.is_empty() && !self.broken {
            match self.enter() {
                Ok(count) => drop(self.queued.drain(..count.min(self.queued.len()))),
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                // The completion queue must be emptied first, or memory is short. What waits goes with the next call, and
                // the bell sees to it that there is one: with nothing in the kernel no completion would.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                    self.ring_bell();
                    return Ok(());
                }
                Err(e) => {
                    let error = self.file.failed("submit requests to", 0, e);
                    self.give_up();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn completions(&mut self, out: &mut Vec<Completion>) {
        self.reap();
        // Requests that go on, and those the kernel was too busy for.
        let _ = self.commit();
        out.extend(self.done.drain(..));
    }

    fn event(&self) -> RawFd {
        self.event.as_raw_fd()
    }
    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len() + self.done.len()
    }
    fn room(&self) -> usize {
        self.free.len().saturating_sub(self.done.len())
    }
}

impl Drop for UringChannel {
    /// Waits for everything in flight: the kernel may still write into the callers' memory.
    fn drop(&mut self) {
        while self.free.len() < self.slots.len() {
            // A broken ring still holds entries whose memory is gone: it must never submit them.
            let waited = match self.broken {
                false => self.ring.submit_and_wait(1),
                // SAFETY: submits nothing and passes no pointer.
                true => unsafe {
                    let wait = self.ring.submitter();
                    wait.enter::<libc::sigset_t>(0, 1, GET_EVENTS, None)
                },
            };
            match waited {
                Ok(_) => {}
                Err(e)
                    if matches!(
                        e.raw_os_error(),
                        Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)
                    ) => {}
                Err(_) => {
                    // Nothing can be known of the requests: their iovecs must stay.
                    std::mem::forget(std::mem::take(&mut self.slots));
                    return;
                }
            }
            self.reap();
        }
    }
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
