//! One snapshot of a running machine, from pause to resume: who asked, until when, and the times that are reported.

use std::time::{Duration, Instant};

pub(super) struct Session {
    client: u64,
    begun: Instant,
    deadline: Instant,
    was_running: bool,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Session {
    pub(super) fn new(client: u64, begun: Instant, timeout: Duration, was_running: bool) -> Self {
        Session {
            client,
            begun,
            deadline: begun + timeout,
            was_running,
            first: None,
            last: None,
        }
    }

    pub(super) fn client(&self) -> u64 {
        self.client
    }

    /// Until the machine resumes by itself.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether the CPUs run again afterwards.
    pub(super) fn resumes(&self) -> bool {
        self.was_running
    }

    /// Somebody asked for a stop meanwhile.
    pub(super) fn stay_stopped(&mut self) {
        self.was_running = false;
    }

    pub(super) fn volume_done(&mut self) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// How long the CPUs were stopped; zero when they were stopped anyway.
    pub(super) fn pause(&self) -> Duration {
        if self.was_running {
            self.begun.elapsed()
        } else {
            Duration::ZERO
        }
    }

    /// Between the first and the last volume.
    pub(super) fn skew(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last - first,
            _ => Duration::ZERO,
        }
    }
}
