//! One test binary; each module is a story with its own sentence.

/// The command line as people and scripts use it: tables, exit codes, stories from alloc to destroy.
mod cli;
/// The map holds: arrows between rooms, file and function sizes, purity.
mod tidy;
