//! Volvisor: snapshots you can trust on Proxmox-style storage, and a small KVM monitor that boots them.
//!
//! The map. A room may use the rooms named on its line and nothing else of this crate; `tests/tidy.rs` checks it.
//!
//! | room    | what it is                                                        | may use                                  |
//! |---------|-------------------------------------------------------------------|------------------------------------------|
//! | model   | the nouns, always valid                                           |                                          |
//! | format  | bytes and text to nouns and back, lossless, total                 | model                                    |
//! | plan    | intent + world to plan or refusal                                 | model format                             |
//! | sys     | the edge to the kernel: atomic files, locks, clock, crash points  | model                                    |
//! | block   | data plane: bytes of one open volume                              | model format sys                         |
//! | backend | control plane: one storage                                        | model format sys block                   |
//! | vmm     | the machine                                                       | model sys block                          |
//! | engine  | observe, plan, journal, apply, recover                            | model format plan sys block backend vmm  |
//! | cli     | arguments in; tables, JSON and exit codes out                     | model format plan sys block backend vmm engine |
//!
//! `model`, `format` and `plan` are pure: no I/O, no clock, no environment.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]

pub mod backend;
pub mod block;
pub mod cli;
pub mod engine;
pub mod format;
pub mod model;
pub mod plan;
pub mod sys;
pub mod vmm;
