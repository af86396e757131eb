//! One test binary; each module is a story with its own sentence.

/// The map holds: arrows between rooms, file and function sizes, purity.
mod tidy;

/// A qcow2 image survives SIGKILL at every write and a full disk.
mod qcow2_crash;
/// Damaged and lying qcow2 images give errors, nothing worse.
mod qcow2_hostile;
/// The qcow2 engine and QEMU's tools agree on every byte and every count.
mod qcow2_interop;
