//! What the operator has for the control thread: answers, events and the end; a queue and an eventfd, nothing more.

use super::irq::new_event;
use crate::model::Result;
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use vmm_sys_util::eventfd::EventFd;

pub(super) enum Out {
    Reply { client: u64, line: Value },
    Event(Value),
    Finish(i32),
}

pub(super) struct Outbox {
    queue: Mutex<Vec<Out>>,
    event: EventFd,
}

impl Outbox {
    pub(super) fn new() -> Result<Self> {
        Ok(Outbox {
            queue: Mutex::default(),
            event: new_event()?,
        })
    }
    pub(super) fn push(&self, out: Out) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(out);
        let _ = self.event.write(1);
    }
    pub(super) fn reply(&self, client: u64, line: Value) {
        self.push(Out::Reply { client, line });
    }
    /// For poll.
    pub(super) fn event(&self) -> &EventFd {
        &self.event
    }
    pub(super) fn take(&self) -> Vec<Out> {
        let _ = self.event.read();
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
