//! The edge to the kernel: files that change atomically, locks, clock, processes, and the points where tests kill us.

pub mod clock;
pub mod crash;
pub mod fs;
pub mod process;
