//! The command line: arguments to intents, results to tables, JSON and exit codes; decides nothing about storage.

use std::ffi::OsString;

/// Runs the program and returns its exit code.
pub fn main(_args: Vec<OsString>) -> i32 {
    0
}
