//! Who a process is: pid, start time and boot id together, so that a reused pid is never taken for the one that was meant.

use serde::{Deserialize, Serialize};

/// A process that cannot be confused with a later one of the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    pub start: u64,
    pub boot: String,
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl ProcessId {
    pub fn of(pid: u32) -> Option<Self> {
        Some(ProcessId {
            pid,
            start: start_time(pid)?,
            boot: boot_id(),
        })
    }
    pub fn current() -> Self {
        let pid = std::process::id();
        ProcessId::of(pid).unwrap_or(ProcessId {
            pid,
            start: 0,
            boot: boot_id(),
        })
    }
    /// The very process is still running (a zombie is not).
    pub fn is_alive(&self) -> bool {
        self.boot == boot_id() && start_time(self.pid) == Some(self.start)
    }
}
