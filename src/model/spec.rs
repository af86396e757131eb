//! What a changing verb of a backend is told, complete and immutable; a plan's steps are made of these.

use super::storage::words;
use super::{ByteCount, ImageFormat, SnapshotName, VolumeName};
use serde::{Deserialize, Serialize};
use std::fmt;

words! {
    /// How much of a new image is allocated at once.
    Preallocation { Off = "off", Metadata = "metadata", Falloc = "falloc", Full = "full" }
}

words! {
    CloneMode { Linked = "linked", Full = "full" }
}

/// Make a new volume of zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSpec {
    pub name: VolumeName,
    pub size: ByteCount,
    pub format: ImageFormat,
    pub preallocation: Preallocation,
}

/// Make a new volume from another one of the same storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneSpec {
    pub source: VolumeName,
    /// Clone the state the source had at this snapshot.
    pub snapshot: Option<SnapshotName>,
    /// For a linked clone on path storages this is the full form that names the base.
    pub target: VolumeName,
    pub mode: CloneMode,
    pub format: ImageFormat,
}

/// Whether the world had to be changed. Both are success: every verb may be run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    #[serde(rename = "changed")]
    Changed,
    #[serde(rename = "already-so")]
    AlreadySo,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Changed => "changed",
            Outcome::AlreadySo => "already so",
        })
    }
}
