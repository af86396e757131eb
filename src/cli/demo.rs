//! The demonstration: one disk from its name to a guest and back, in a throw-away root.

use std::path::PathBuf;

/// Runs the demonstration and returns the exit code. `keep`: leave everything in this directory.
pub fn main(_keep: Option<PathBuf>) -> i32 {
    super::output::complain("error: the demonstration is not part of this build\n");
    1
}
