//! A raw image file (or block special file) as a device, with io_uring channels where the kernel allows; knows nothing of formats.

use crate::model::{Error, Result};
use std::fs::File;
use std::path::Path;

/// How a file is opened as an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileOptions {
    pub writable: bool,
    /// O_DIRECT (cache=none, directsync).
    pub direct: bool,
}

/// Opens an image file (raw or the file below a qcow2 engine) and takes QEMU's byte-range locks (OFD) on it, so that neither a
/// second Volvisor nor QEMU opens it for writing. `Busy` names the file and, where it can be found, the holder.
pub fn open_locked(path: &Path, _options: FileOptions) -> Result<File> {
    Err(Error::unsupported(format!("open {}", path.display())))
}

/// Shares the source's blocks with the (empty, new) target file: FICLONE. `Unsupported` where the file system cannot.
pub fn reflink(_source: &File, _target: &File) -> Result<()> {
    Err(Error::unsupported("reflink not written yet"))
}

/// Copies everything that may be data, skipping what already reads as zeros in a new target; `progress` gets bytes done.
pub fn copy_range(
    _source: &dyn super::BlockDevice,
    _target: &dyn super::BlockDevice,
    _progress: &mut dyn FnMut(u64),
) -> Result<()> {
    Err(Error::unsupported("copy not written yet"))
}
