//! One test binary; each module is a story with its own sentence.

/// Machines run on real KVM and are controlled through their sockets.
mod machine;
/// The map holds: arrows between rooms, file and function sizes, purity.
mod tidy;
