//! The process of one machine, as `qm start` spawns it; not for people.

use crate::engine::{Engine, Paths};
use crate::model::VmId;

/// Runs machine `vmid` in this process until it ends; returns the exit code. What goes wrong is written to standard error,
/// which is the machine's log.
pub fn main(paths: &Paths, vmid: VmId, paused: bool) -> i32 {
    match Engine::open(paths.clone()).run_machine(vmid, paused) {
        Ok(code) => code,
        Err(error) => {
            super::output::complain(&super::output::native_error(&error, false));
            error.kind().exit_code()
        }
    }
}
