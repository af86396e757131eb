//! Sizes, places and runs of bytes as types, so that a count cannot be taken for a place; conversions are named and exact.

use super::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

/// A place in a volume or file, in bytes from its start.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteOffset(pub u64);

impl ByteCount {
    pub const KIB: u64 = 1 << 10;
    pub const MIB: u64 = 1 << 20;
    pub const GIB: u64 = 1 << 30;

    pub fn get(self) -> u64 {
        self.0
    }
    pub fn from_kib(kib: u64) -> Option<Self> {
        kib.checked_mul(Self::KIB).map(ByteCount)
    }
    /// Whole KiB, rounded down, as Proxmox's tables show sizes.
    pub fn whole_kib(self) -> u64 {
        self.0 / Self::KIB
    }
    /// Rounded up to a multiple of `step` (a power of two); `None` on overflow.
    pub fn align_up(self, step: u64) -> Option<Self> {
        self.0
            .checked_add(step - 1)
            .map(|n| ByteCount(n & !(step - 1)))
    }
}

impl ByteOffset {
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteCount {
    /// The largest unit that divides exactly, as Proxmox prints `size=`: `32G`, `528K`, `1000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0;
        let mut unit = 0;
        while unit < 4 && value % 1024 == 0 {
            value /= 1024;
            unit += 1;
        }
        write!(f, "{value}{}", ["", "K", "M", "G", "T"][unit])
    }
}

/// A run of bytes: never empty, and its end fits an `i64`, so that no system call can misread it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    start: u64,
    length: u64,
}

impl Extent {
    pub fn new(start: ByteOffset, length: ByteCount) -> Result<Self> {
        let end = start
            .0
            .checked_add(length.0)
            .filter(|end| *end <= i64::MAX as u64);
        if length.0 == 0 || end.is_none() {
            return Err(Error::usage(format!(
                "extent of {} bytes at {} is empty or too far",
                length.0, start.0
            )));
        }
        Ok(Extent {
            start: start.0,
            length: length.0,
        })
    }
    pub fn start(self) -> u64 {
        self.start
    }
    pub fn len(self) -> u64 {
        self.length
    }
    /// Always false: an extent holds at least one byte.
    pub fn is_empty(self) -> bool {
        false
    }
    pub fn end(self) -> u64 {
        self.start + self.length
    }
}
