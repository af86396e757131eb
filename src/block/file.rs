//! A raw image file (or block special file) as a device, with io_uring channels where the kernel allows; knows nothing of formats.

use crate::model::{Error, ErrorKind, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
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
pub fn open_locked(path: &Path, options: FileOptions) -> Result<File> {
    let mut flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    if options.direct {
        flags |= libc::O_DIRECT;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(options.writable)
        .custom_flags(flags)
        .open(path)
        .map_err(|e| Error::io(format!("cannot open '{}'", path.display()), e))?;
    let kind = file
        .metadata()
        .map_err(|e| Error::io(format!("cannot look at '{}'", path.display()), e))?
        .file_type();
    use std::os::unix::fs::FileTypeExt;
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Error::usage(format!(
            "'{}' is neither a file nor a block device",
            path.display()
        )));
    }
    super::lock::take(&file, path, options.writable)?;
    Ok(file)
}

/// Bytes of a file, or of the device behind a block special file.
pub fn length(file: &File) -> std::io::Result<u64> {
    let about = file.metadata()?;
    if about.is_file() {
        return Ok(about.len());
    }
    Ok(rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?)
}

/// Shares the source's blocks with the (empty, new) target file: FICLONE. `Unsupported` where the file system cannot.
pub fn reflink(source: &File, target: &File) -> Result<()> {
    crate::sys::crash::point("before reflink");
    let done = rustix::fs::ioctl_ficlone(target, source);
    crate::sys::crash::point("after reflink");
    done.map_err(|errno| {
        use rustix::io::Errno;
        let error = Error::io("cannot share blocks between files", errno.into());
        match errno {
            Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS => {
                error.with_kind(ErrorKind::Unsupported)
            }
            _ => error,
        }
    })
}

/// Copies everything that may be data, skipping what already reads as zeros in a new target; `progress` gets bytes done.
pub fn copy_range(
    _source: &dyn super::BlockDevice,
    _target: &dyn super::BlockDevice,
    _progress: &mut dyn FnMut(u64),
) -> Result<()> {
    Err(Error::unsupported("copy not written yet"))
}
