//! Intent and observed world to a plan or a refusal. Pure: no I/O, no clock, no environment, no randomness of its own.

pub mod intent;
pub mod render;
pub mod step;
pub mod world;

pub use intent::Intent;
pub use step::{Direction, Plan, Step};
pub use world::{StorageView, VmView, World};

use crate::model::{Error, Result};

/// The one door: what has to be done to make `intent` true in `world`, or why it cannot be.
///
/// An `Err` is a refusal: it names the object, who holds it and the next command.
pub fn plan(intent: &Intent, _world: &World) -> Result<Plan> {
    Err(Error::unsupported(format!(
        "no planner for {} yet",
        intent.verb()
    )))
}
