//! One queue of requests on a device: submit with a token, collect completions, wait on an eventfd; orders nothing by itself.

use super::BlockDevice;
use crate::model::{Extent, Result};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Memory of a request: iovecs that stay valid and unaliased until the completion has been collected.
#[derive(Debug)]
pub struct Buffers(Vec<libc::iovec>);

// SAFETY: the constructor's contract makes the memory valid on any thread until completion.
unsafe impl Send for Buffers {}

impl Buffers {
    /// # Safety
    /// Every iovec must stay readable (writes) or writable (reads) until the request has completed.
    pub unsafe fn new(parts: Vec<libc::iovec>) -> Self {
        Buffers(parts)
    }
    pub fn parts(&self) -> &[libc::iovec] {
        &self.0
    }
    pub fn into_parts(self) -> Vec<libc::iovec> {
        self.0
    }
    pub fn total(&self) -> u64 {
        self.0.iter().map(|part| part.iov_len as u64).sum()
    }
}

#[derive(Debug)]
pub enum Op {
    Read { offset: u64, into: Buffers },
    Write { offset: u64, from: Buffers },
    WriteZeroes { extent: Extent, may_unmap: bool },
    Discard { extent: Extent },
    Flush,
}

impl Op {
    /// Does the request with the blocking calls of a device.
    pub fn run_on<D: BlockDevice + ?Sized>(self, device: &D) -> Result<()> {
        match self {
            Op::Read { mut offset, into } => {
                for part in into.parts() {
                    // SAFETY: `Buffers::new` promises valid, writable memory until completion.
                    let slice = unsafe {
                        std::slice::from_raw_parts_mut(part.iov_base.cast::<u8>(), part.iov_len)
                    };
                    device.read_at(offset, slice)?;
                    offset += part.iov_len as u64;
                }
                Ok(())
            }
            Op::Write { mut offset, from } => {
                for part in from.parts() {
                    // SAFETY: `Buffers::new` promises valid, readable memory until completion.
                    let slice = unsafe {
                        std::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len)
                    };
                    device.write_at(offset, slice)?;
                    offset += part.iov_len as u64;
                }
                Ok(())
            }
            Op::WriteZeroes { extent, may_unmap } => device.write_zeroes(extent, may_unmap),
            Op::Discard { extent } => device.discard(extent),
            Op::Flush => device.flush(),
        }
    }
}

#[derive(Debug)]
pub struct Completion {
    pub token: u64,
    pub result: Result<()>,
}

/// Used by one thread at a time.
pub trait IoChannel: Send {
    /// Takes the request; its completion may already be there when this returns. Errors of the request itself come as
    /// completions; an `Err` here means the channel is broken or full (see `room`).
    fn submit(&mut self, op: Op, token: u64) -> Result<()>;
    /// Hands everything submitted to the kernel (one call for many submits). What is finished by then is not announced: call
    /// `completions` afterwards, before waiting.
    fn commit(&mut self) -> Result<()>;
    /// Moves finished requests to `out`; never blocks.
    fn completions(&mut self, out: &mut Vec<Completion>);
    /// An eventfd that is written when completions may be waiting. Nobody reads it: watch it edge-triggered.
    fn event(&self) -> RawFd;
    fn in_flight(&self) -> usize;
    /// Requests that may still be submitted now.
    fn room(&self) -> usize;
}

/// Channel over the blocking calls of any device: each request is done inside `submit`.
pub struct BlockingChannel<D: BlockDevice + ?Sized> {
    device: Arc<D>,
    done: VecDeque<Completion>,
    event: OwnedFd,
    depth: u16,
}

impl<D: BlockDevice + ?Sized> BlockingChannel<D> {
    pub fn new(device: Arc<D>, depth: u16) -> Result<Self> {
        let event = rustix::event::eventfd(
            0,
            rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC,
        )
        .map_err(|e| crate::model::Error::io("cannot make an eventfd", e.into()))?;
        Ok(BlockingChannel {
            device,
            done: VecDeque::new(),
            event,
            depth,
        })
    }
}

impl<D: BlockDevice + ?Sized> IoChannel for BlockingChannel<D> {
    fn submit(&mut self, op: Op, token: u64) -> Result<()> {
        let result = op.run_on(self.device.as_ref());
        self.done.push_back(Completion { token, result });
        Ok(())
    }
    fn commit(&mut self) -> Result<()> {
        Ok(())
    }
    fn completions(&mut self, out: &mut Vec<Completion>) {
        out.extend(self.done.drain(..));
    }
    fn event(&self) -> RawFd {
        self.event.as_raw_fd()
    }
    fn in_flight(&self) -> usize {
        self.done.len()
    }
    fn room(&self) -> usize {
        usize::from(self.depth).saturating_sub(self.done.len())
    }
}
