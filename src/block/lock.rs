//! QEMU's image locks: open-file-description locks on single bytes that say which rights a holder uses and which it denies others.

use crate::model::{Error, Result};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Byte of the first right in use (QEMU block/file-posix.c RAW_LOCK_PERM_BASE).
const USED: i64 = 100;
/// Byte of the first right denied to others (RAW_LOCK_SHARED_BASE).
const DENIED: i64 = 200;

/// Rights as QEMU numbers them.
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// What a reader and a writer use; both deny writing and resizing to everybody else.
const READER: &[i64] = &[READ];
const WRITER: &[i64] = &[READ, WRITE, RESIZE];
const DENY: &[i64] = &[WRITE, RESIZE];

fn call(file: &File, command: i32, kind: i32, byte: i64) -> std::io::Result<libc::flock> {
    // SAFETY: flock is plain data; all zeros is a valid value, and l_pid must be 0 for OFD locks.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = byte;
    lock.l_len = 1;
    // SAFETY: the descriptor is open and `lock` outlives the call, which reads and writes only that struct.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) };
    if done == -1 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(lock)
}

/// Takes the locks of a reader or writer on an open file; they go when the last copy of the descriptor is closed.
pub fn take(file: &File, path: &Path, writable: bool) -> Result<()> {
    let used = if writable { WRITER } else { READER };
    // A process that is being started by a thread of the holder shares the descriptor until its exec: wait that out.
    let mut done = take_bytes(file, used);
    for _ in 0..10 {
        if !matches!(done, Ok(false)) {
            break;
        }
        release(file, used);
        std::thread::sleep(std::time::Duration::from_millis(10));
        done = take_bytes(file, used);
    }
    match done {
        Ok(true) => Ok(()),
        Ok(false) => {
            release(file, used);
            Err(busy(file, path))
        }
        Err(error) => {
            release(file, used);
            Err(Error::io(
                format!("cannot lock '{}'", path.display()),
                error,
            ))
        }
    }
}

fn take_bytes(file: &File, used: &[i64]) -> std::io::Result<bool> {
    let own = used.iter().map(|right| USED + right);
    let own = own.chain(DENY.iter().map(|right| DENIED + right));
    for byte in own {
        match call(file, libc::F_OFD_SETLK, libc::F_RDLCK, byte) {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    let foreign = used.iter().map(|right| DENIED + right);
    let foreign = foreign.chain(DENY.iter().map(|right| USED + right));
    for byte in foreign {
        let found = call(file, libc::F_OFD_GETLK, libc::F_WRLCK, byte)?;
        if found.l_type != libc::F_UNLCK as libc::c_short {
            return Ok(false);
        }
    }
    Ok(true)
}

fn release(file: &File, used: &[i64]) {
    for byte in used.iter().map(|right| USED + right) {
        let _ = call(file, libc::F_OFD_SETLK, libc::F_UNLCK, byte);
    }
    for byte in DENY.iter().map(|right| DENIED + right) {
        let _ = call(file, libc::F_OFD_SETLK, libc::F_UNLCK, byte);
    }
}

fn busy(file: &File, path: &Path) -> Error {
    let shown = path.display();
    let message = match holder(file) {
        Some((pid, name)) => format!("'{shown}' is in use by process {pid} ({name})"),
        None => format!("'{shown}' is in use by another process"),
    };
    Error::busy(message).hint("stop the VM or program that has the image open, then try again")
}

/// Another process that has the same file open, where /proc shows it.
fn holder(file: &File) -> Option<(u32, String)> {
    let own = file.metadata().ok()?;
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let same = open
            .flatten()
            .filter_map(|fd| std::fs::metadata(fd.path()).ok())
            .any(|other| other.dev() == own.dev() && other.ino() == own.ino());
        if same {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}
