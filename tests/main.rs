//! One test binary; each module is a story with its own sentence.

/// The map holds: arrows between rooms, file and function sizes, purity.
mod tidy;
