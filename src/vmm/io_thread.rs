//! The I/O thread: waits for doorbells and completions of all devices and lets each work; it holds no state of its own.

use super::event::GuestEvent;
use super::irq::new_event;
use super::operator::Job;
use super::say;
use super::virtio::blk::Blk;
use crate::model::{Error, Result};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

const STOP: u64 = u64::MAX;

/// Tells the operator when the thread ends although nobody asked it to: guests would wait for ever.
struct Watch(Sender<Job>, bool);

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.1 {
            let text = "the I/O thread ended unexpectedly".to_owned();
            let _ = self.0.send(Job::Guest(GuestEvent::CpuFailed(text)));
        }
    }
}

pub(super) struct IoThread {
    stop: EventFd,
    thread: JoinHandle<()>,
}

fn wait_failed(error: std::io::Error) -> Error {
    Error::io("cannot wait for events of the block devices", error)
}

/// Edge-triggered: every write to the eventfd is an event, and nobody has to read it.
fn watch(epoll: &Epoll, fd: RawFd, token: u64) -> Result<()> {
    let events = EventSet::IN | EventSet::EDGE_TRIGGERED;
    epoll
        .ctl(ControlOperation::Add, fd, EpollEvent::new(events, token))
        .map_err(wait_failed)
}

fn prepare(devices: &[Arc<Blk>], stop: RawFd) -> Result<Epoll> {
    let epoll = Epoll::new().map_err(wait_failed)?;
    watch(&epoll, stop, STOP)?;
    for (index, device) in devices.iter().enumerate() {
        let token = index as u64 * 2;
        watch(&epoll, device.kick().as_raw_fd(), token)?;
        watch(&epoll, device.open_channel()?, token + 1)?;
    }
    Ok(epoll)
}

/// True when it was asked to end.
fn serve(devices: &[Arc<Blk>], epoll: &Epoll) -> bool {
    let mut events = [EpollEvent::default(); 32];
    loop {
        let count = match epoll.wait(-1, &mut events) {
            Ok(count) => count,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => {
                say::host("io", &wait_failed(e).full_text());
                return false;
            }
        };
        for event in &events[..count] {
            let token = event.data();
            if token == STOP {
                return true;
            }
            let Some(device) = devices.get((token / 2) as usize) else {
                continue;
            };
            device.process();
        }
    }
}

impl IoThread {
    /// Opens the channels of all devices on the new thread; an error of any of them is returned here.
    pub(super) fn start(devices: Vec<Arc<Blk>>, jobs: Sender<Job>) -> Result<Self> {
        let stop = new_event()?;
        let stop_fd = stop.as_raw_fd();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("io".to_owned())
            .spawn(move || match prepare(&devices, stop_fd) {
                Ok(epoll) => {
                    let _ = ready.send(Ok(()));
                    let mut watch = Watch(jobs, false);
                    watch.1 = serve(&devices, &epoll);
                }
                Err(e) => {
                    let _ = ready.send(Err(e));
                }
            })
            .map_err(|e| Error::io("cannot start the I/O thread", e))?;
        is_ready
            .recv()
            .map_err(|e| Error::failed("the I/O thread ended at once").with_source(e))??;
        Ok(IoThread { stop, thread })
    }

    /// Ends the thread. The devices must be idle.
    pub(super) fn end(self) {
        let _ = self.stop.write(1);
        let _ = self.thread.join();
    }
}
