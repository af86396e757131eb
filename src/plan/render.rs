//! A plan as text people can read.

use super::Step;

/// One step in one line.
pub fn step_line(step: &Step) -> String {
    serde_json::to_string(step).unwrap_or_default()
}
