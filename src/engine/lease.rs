//! Who works on what right now: one file an object, flocked by its holder and naming pid, start time, boot id, operation and
//! since. The kernel frees the lock when the holder dies, so a dead owner never needs a person; it never breaks a live lock.

use crate::model::{Error, OpId, Result};
use crate::sys::process::ProcessId;
use crate::sys::{clock, fs};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a lease file says about its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub owner: ProcessId,
    pub operation: String,
    pub op: Option<OpId>,
    /// Unix seconds.
    pub since: u64,
}

/// A held lease; dropped, it is free again.
#[derive(Debug)]
pub struct Lease {
    pub object: String,
    file: File,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// How long a command waits for another one on the same object (Proxmox waits as long for its locks).
pub const WAIT: Duration = Duration::from_secs(10);

/// Takes the lease of `object` (`vm-100`, `storage-local`), waiting up to `wait`; `Busy` names the holder.
pub fn acquire(dir: &Path, object: &str, operation: &str, wait: Duration) -> Result<Lease> {
    fs::create_dirs(dir)?;
    let path = dir.join(format!("{object}.lease"));
    let file = open_lock_file(&path)?;
    if !lock_within(&file, wait) {
        return Err(held_by(object, read_holder(&path)));
    }
    let holder = Holder {
        owner: ProcessId::current(),
        operation: operation.to_owned(),
        op: None,
        since: clock::now(),
    };
    let mut lease = Lease {
        object: object.to_owned(),
        file,
    };
    lease.write(&holder);
    Ok(lease)
}

impl Lease {
    /// The lock is what holds; the text only tells others who it is, and a full disk must not keep the object from being freed.
    fn write(&mut self, holder: &Holder) {
        let text = serde_json::to_string(holder).unwrap_or_default();
        let _ =
            fs::set_len(&self.file, 0).and_then(|()| fs::write_at(&self.file, 0, text.as_bytes()));
    }
    /// Names the operation once its journal exists.
    pub fn name_operation(&mut self, op: &OpId, operation: &str) {
        let holder = Holder {
            owner: ProcessId::current(),
            operation: operation.to_owned(),
            op: Some(op.clone()),
            since: clock::now(),
        };
        self.write(&holder);
    }
}

fn held_by(object: &str, holder: Option<Holder>) -> Error {
    let who = match &holder {
        Some(h) => format!(
            "{object} is busy: process {} does '{}'{} since {} s",
            h.owner.pid,
            h.operation,
            h.op.as_ref()
                .map(|op| format!(" (operation {op})"))
                .unwrap_or_default(),
            clock::now().saturating_sub(h.since)
        ),
        None => format!("{object} is busy: another process works on it"),
    };
    Error::busy(who).hint("wait for it, or look with: volvisor task list")
}

fn read_holder(path: &Path) -> Option<Holder> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn open_lock_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| {
            Error::io(format!("cannot open lock file '{}'", path.display()), e)
                .hint("run as a user who may write there")
        })
}

fn lock_within(file: &File, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return true,
            Err(_) if Instant::now() >= until => return false,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Proxmox's own flock of a config or a storage, held while `work` runs; the text of the timeout is Proxmox's.
pub fn with_proxmox_lock<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if let Some(dir) = path.parent() {
        fs::create_dirs(dir)?;
    }
    let file = open_lock_file(path)?;
    if !lock_within(&file, WAIT) {
        return Err(Error::busy(format!(
            "can't lock file '{}' - got timeout",
            path.display()
        ))
        .hint("another program (Proxmox?) holds that lock; try again when it is done"));
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_is_told_who_holds_the_object() {
        let dir = tempfile::tempdir().unwrap();
        let lease = acquire(dir.path(), "vm-100", "snapshot", Duration::ZERO).unwrap();
        let refused = acquire(dir.path(), "vm-100", "rollback", Duration::ZERO).unwrap_err();
        assert!(
            refused
                .message()
                .contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        assert!(refused.message().contains("snapshot"), "{refused}");
        drop(lease);
        acquire(dir.path(), "vm-100", "rollback", Duration::ZERO).unwrap();
    }

    #[test]
    fn what_a_dead_holder_wrote_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("vm-100.lease"),
            "{\"owner\":{\"pid\":1,\"start\":1,\"boot\":\"\"},\"op",
        )
        .unwrap();
        acquire(dir.path(), "vm-100", "rollback", Duration::ZERO).unwrap();
    }
}
