//! Sizes in text: `32G` of drive strings, `10G` and `+2G` of command lines, KiB of `pvesm alloc`; never rounds silently.

use crate::model::{ByteCount, Error, Result};

/// A drive's `size=` text (`8G`, `528K`, `1.5T`, `100`): bytes. `None` when it is not a size.
pub fn parse_disk_size(_text: &str) -> Option<ByteCount> {
    None
}

/// `qm resize` argument: `10G` (absolute) or `+2G` (relative).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeChange {
    To(ByteCount),
    Plus(ByteCount),
}

pub fn parse_size_change(text: &str) -> Result<SizeChange> {
    Err(Error::usage(format!("size '{text}'")))
}

/// `pvesm alloc` size: `\d+[MG]?`, plain numbers are KiB.
pub fn parse_alloc_size(text: &str) -> Result<ByteCount> {
    Err(Error::usage(format!("size '{text}'")))
}
