//! The process of one machine, as `qm start` spawns it; not for people.

use crate::engine::{Engine, Paths};
use crate::model::VmId;

/// Runs machine `vmid` in this process until it ends; returns the exit code. Errors go to the machine's log (stderr) in the
/// form that the starting process reads back: `error: ...`, `help: ...`.
pub fn main(paths: &Paths, vmid: VmId, paused: bool) -> i32 {
    match Engine::open(paths.clone()).run_machine(vmid, paused) {
        Ok(code) => code,
        Err(error) => {
            super::output::complain(&format!("error: {}\n", error.full_text()));
            if let Some(hint) = error.hint_text() {
                super::output::complain(&format!("help: {hint}\n"));
            }
            1
        }
    }
}
