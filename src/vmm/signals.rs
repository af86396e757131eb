//! SIGTERM and SIGINT as a readable descriptor, so that they end the machine in order; it handles no other signal.

use crate::model::{Error, Result};
use std::os::fd::{FromRawFd, OwnedFd};
use vmm_sys_util::signal::{block_signal, create_sigset};

const ENDING: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];

/// Blocks the ending signals in this thread and all it starts from now on; the descriptor is readable when one came.
pub(super) fn ending_signals() -> Result<OwnedFd> {
    let failed = |what: String| Error::failed(format!("cannot prepare for signals: {what}"));
    for signal in ENDING {
        match block_signal(signal) {
            Ok(()) | Err(vmm_sys_util::signal::Error::SignalAlreadyBlocked(_)) => {}
            Err(e) => return Err(failed(e.to_string())),
        }
    }
    let set = create_sigset(&ENDING).map_err(|e| failed(e.to_string()))?;
    // SAFETY: the set is valid for the call; a new descriptor is asked for (-1).
    let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
    if fd < 0 {
        return Err(Error::io(
            "cannot prepare for signals",
            std::io::Error::last_os_error(),
        ));
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
