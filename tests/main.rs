//! One test binary; each module is a story with its own sentence.

/// What an administrator trips over: wrong values, odd roots, snapshots left behind, dry runs that must be dry.
mod admin;
/// The command line as people and scripts use it: tables, exit codes, stories from alloc to destroy.
mod cli;
/// The test guest under QEMU: the yardstick for the same guest on our machine.
mod guest_qemu;
/// Machines run on real KVM and are controlled through their sockets.
mod machine;
/// The built-in test guest drives the devices of a real machine.
mod machine_guest;

/// Helpers of the stories.
mod support;

/// Bad input of every kind.
mod bad_input;
/// What every backend guarantees, told on each of them.
mod conformance;
/// The process dies at every point of every operation.
mod crash;
/// A directory storage in hostile surroundings.
mod dir_hostile;
/// Every call that changes the world fails once.
mod faults;
/// The machine process itself dies, at any point of a live snapshot.
mod machine_crash;
/// The crash matrix of the original, row by row.
mod original_crashes;
/// Recovery when others were at work meanwhile: edited configs, offline storages, damaged journals, two at once.
mod recovery;
/// The map holds: arrows between rooms, file and function sizes, purity.
mod tidy;

/// Texts of the storage layer are read as the original reads them.
mod cases_storage;
/// A qcow2 image survives SIGKILL at every write and a full disk.
mod qcow2_crash;
/// Damaged and lying qcow2 images give errors, nothing worse.
mod qcow2_hostile;
/// The qcow2 engine and QEMU's tools agree on every byte and every count.
mod qcow2_interop;

/// Retention marks agree with what the original answers.
mod cases_prune;
/// Rescan agrees with the original, minus its hazards.
mod cases_rescan;
/// Texts of the VM layer are read as the original reads them.
mod cases_vm;
/// What planners promise: right steps, refusals with a way out, nothing to do twice.
mod plan_stories;
/// Readers and printers of the VM layer are total and lossless.
mod properties;
/// The qcow2 engine next to QEMU's tools, one situation after another.
mod qcow2_stories;
