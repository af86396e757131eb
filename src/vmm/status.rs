//! The run state of a machine, shared between the operator, who changes it, and everybody who asks.

use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RunState {
    /// Built, no instruction run yet.
    Prelaunch,
    Running,
    Paused,
    /// The guest ended, the process is about to.
    Shutdown,
    InternalError,
}

impl RunState {
    pub(super) fn name(self) -> &'static str {
        match self {
            RunState::Prelaunch => "prelaunch",
            RunState::Running => "running",
            RunState::Paused => "paused",
            RunState::Shutdown => "shutdown",
            RunState::InternalError => "internal-error",
        }
    }
}

pub(super) struct Status(AtomicU8);

impl Status {
    pub(super) fn new(state: RunState) -> Self {
        Status(AtomicU8::new(state as u8))
    }
    pub(super) fn set(&self, state: RunState) {
        self.0.store(state as u8, Ordering::Release);
    }
    pub(super) fn get(&self) -> RunState {
        let states = [
            RunState::Prelaunch,
            RunState::Running,
            RunState::Paused,
            RunState::Shutdown,
            RunState::InternalError,
        ];
        let now = self.0.load(Ordering::Acquire);
        states
            .into_iter()
            .find(|state| *state as u8 == now)
            .unwrap_or(RunState::InternalError)
    }
}
