//! Copying one device onto another, holes left out; does not make the copy durable (flush the target).

use super::BlockDevice;
use crate::model::{Error, Result};

/// Bytes moved at once.
const PIECE: u64 = 1 << 20;

/// Copies everything `source` may hold onto `target`, which must be at least as large and read as zeros where nothing was
/// written. `progress` is told the bytes of data done so far and in all; zero blocks inside data are not written either.
pub fn copy_range(
    source: &dyn BlockDevice,
    target: &dyn BlockDevice,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let (from, to) = (source.geometry().size.get(), target.geometry().size.get());
    if to < from {
        return Err(Error::usage(format!(
            "the target of {to} bytes is smaller than the source of {from}"
        )));
    }
    let extents = source.data_extents()?;
    let total = extents.iter().map(|extent| extent.len()).sum();
    let mut done = 0;
    progress(0, total);
    let mut buffer = vec![0; PIECE as usize];
    for extent in extents {
        let mut at = extent.start();
        while at < extent.end() {
            let length = (extent.end() - at).min(PIECE - at % PIECE);
            let piece = &mut buffer[..length as usize];
            source.read_at(at, piece)?;
            write_sparse(target, at, piece)?;
            at += length;
            done += length;
            progress(done, total);
        }
    }
    Ok(())
}

/// Writes the 4 KiB blocks that are not zero, neighbours together.
fn write_sparse(target: &dyn BlockDevice, at: u64, bytes: &[u8]) -> Result<()> {
    const BLOCK: usize = 4096;
    let mut start = None;
    let mut offset = 0;
    for block in bytes.chunks(BLOCK) {
        let empty = block.iter().all(|b| *b == 0);
        match (empty, start) {
            (false, None) => start = Some(offset),
            (true, Some(from)) => {
                target.write_at(at + from as u64, &bytes[from..offset])?;
                start = None;
            }
            _ => {}
        }
        offset += block.len();
    }
    match start {
        Some(from) => target.write_at(at + from as u64, &bytes[from..]),
        None => Ok(()),
    }
}
