//! The process of one machine, as `qm start` spawns it; not for people.

use crate::engine::Paths;
use crate::model::VmId;

/// Runs machine `vmid` in this process until it ends; returns the exit code.
pub fn main(_paths: &Paths, vmid: VmId, _paused: bool) -> i32 {
    super::output::complain(&format!(
        "error: machine {vmid} cannot be run by this build\n"
    ));
    1
}
