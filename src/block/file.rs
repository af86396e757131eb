//! A raw image file (or block special file) as a device, with io_uring channels where the kernel allows; knows nothing of formats.

use super::uring::UringChannel;
use super::{BlockDevice, BlockingChannel, Geometry, IoChannel};
use crate::model::{ByteCount, ByteOffset, Error, ErrorKind, Extent, Result};
use crate::sys::fs;
use rustix::fs::{FallocateFlags, SeekFrom};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Alignment every device accepts for O_DIRECT, bytes.
pub const DIRECT_ALIGNMENT: u32 = 4096;

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
    Ok(rustix::fs::seek(file, SeekFrom::End(0))?)
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

/// A raw image that is open and locked.
pub struct RawFile {
    file: File,
    shown: String,
    size: AtomicU64,
    writable: bool,
    /// Every transfer must be aligned to `DIRECT_ALIGNMENT`.
    direct: bool,
    regular: bool,
    allow_uring: bool,
    /// Held while a block is read, changed and written back for an unaligned write.
    patching: Mutex<()>,
    /// A sync failed: the kernel reports that once and then forgets the pages, so no later sync may claim success.
    lost: AtomicBool,
}

impl RawFile {
    /// Opens and locks. A file whose length is not a multiple of the alignment is used through the page cache even with
    /// `direct`, because its last block could not be written.
    pub fn open(path: &Path, options: FileOptions) -> Result<Self> {
        let file = open_locked(path, options)?;
        let failed = |e| Error::io(format!("cannot look at '{}'", path.display()), e);
        let size = length(&file).map_err(failed)?;
        let regular = file.metadata().map_err(failed)?.is_file();
        let raw = RawFile {
            file,
            shown: path.display().to_string(),
            size: AtomicU64::new(size),
            writable: options.writable,
            direct: options.direct && size % u64::from(DIRECT_ALIGNMENT) == 0,
            regular,
            allow_uring: true,
            patching: Mutex::new(()),
            lost: AtomicBool::new(false),
        };
        if options.direct && !raw.direct {
            raw.use_page_cache()?;
        }
        Ok(raw)
    }

    /// Channels of this device never use io_uring.
    pub fn without_uring(mut self) -> Self {
        self.allow_uring = false;
        self
    }

    fn use_page_cache(&self) -> Result<()> {
        let flags = rustix::fs::fcntl_getfl(&self.file);
        flags
            .and_then(|flags| {
                rustix::fs::fcntl_setfl(&self.file, flags & !rustix::fs::OFlags::DIRECT)
            })
            .map_err(|e| self.failed("change flags of", 0, e.into()))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(super) fn failed(&self, doing: &str, offset: u64, error: std::io::Error) -> Error {
        Error::io(
            format!("cannot {doing} '{}' at {offset:#x}", self.shown),
            error,
        )
    }

    pub(super) fn check(&self, offset: u64, length: u64, change: bool) -> Result<()> {
        if change && !self.writable {
            return Err(Error::usage(format!("'{}' is open read-only", self.shown)));
        }
        let size = self.size();
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Error::usage(format!(
                "{length} bytes at {offset} are beyond the end of '{}' at {size}",
                self.shown
            ))),
        }
    }

    /// Memory, place and length fit O_DIRECT, or need not.
    pub(super) fn is_aligned(&self, address: usize, offset: u64, length: usize) -> bool {
        let mask = u64::from(DIRECT_ALIGNMENT) - 1;
        !self.direct || (address as u64 | offset | length as u64) & mask == 0
    }

    /// Past the end of the file (another program cut it) there are zeros.
    fn read_through(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        fs::read_at_or_zeros(&self.file, offset, into).map_err(|e| self.failed("read", offset, e))
    }

    fn write_through(&self, offset: u64, from: &[u8]) -> Result<()> {
        fs::write_at(&self.file, offset, from).map_err(|e| self.failed("write", offset, e))
    }

    /// `true` when the file system did it.
    fn allocate(&self, mode: FallocateFlags, extent: Extent) -> Result<bool> {
        match fs::fallocate(&self.file, mode, extent.start(), extent.len()) {
            Ok(()) => Ok(true),
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS | libc::ENODEV)
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(self.failed("zero", extent.start(), e)),
        }
    }
}

impl RawFile {
    /// Refuses to promise durability after a sync has failed once.
    pub(super) fn not_lost(&self) -> Result<()> {
        if self.lost.load(Ordering::SeqCst) {
            return Err(Error::failed(format!(
                "'{}' failed to reach the disk before; what was written since the last good sync may be lost",
                self.shown
            ))
            .hint("stop the machine, check the storage below, then check the guest's file systems"));
        }
        Ok(())
    }

    /// Remembers that a sync failed.
    pub(super) fn sync_failed(&self, error: std::io::Error) -> Error {
        self.lost.store(true, Ordering::SeqCst);
        self.failed("sync", 0, error)
    }

    /// Reads of at most this many bytes are tried in the page cache before they go through a ring.
    pub(super) fn is_cached(&self) -> bool {
        self.regular && !self.direct
    }
}

/// Memory that fits O_DIRECT.
struct Bounce {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Bounce {
    fn new(length: usize) -> Self {
        let memory = vec![0; length + DIRECT_ALIGNMENT as usize];
        let start = memory.as_ptr().align_offset(DIRECT_ALIGNMENT as usize);
        Bounce {
            memory,
            start,
            length,
        }
    }
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

/// Bytes that pass through a bounce buffer at once.
const BOUNCE: u64 = 1 << 20;

impl RawFile {
    /// Calls `each` for aligned pieces around the range: place and length of the piece, and the part of the range in it.
    fn aligned_pieces(
        offset: u64,
        length: usize,
        mut each: impl FnMut(u64, usize, std::ops::Range<usize>, usize) -> Result<()>,
    ) -> Result<()> {
        let step = u64::from(DIRECT_ALIGNMENT);
        let end = offset + length as u64;
        let mut at = offset - offset % step;
        while at < end {
            let next = (at + BOUNCE).min(end.next_multiple_of(step));
            let from = offset.max(at);
            let to = end.min(next);
            each(
                at,
                (next - at) as usize,
                (from - offset) as usize..(to - offset) as usize,
                (from - at) as usize,
            )?;
            at = next;
        }
        Ok(())
    }
}

impl BlockDevice for RawFile {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: ByteCount(self.size()),
            logical_block: 512,
            physical_block: 4096,
            alignment: if self.direct { DIRECT_ALIGNMENT } else { 1 },
            read_only: !self.writable,
            can_discard: self.writable,
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.check(offset, into.len() as u64, false)?;
        if self.is_aligned(into.as_ptr() as usize, offset, into.len()) {
            return self.read_through(offset, into);
        }
        Self::aligned_pieces(offset, into.len(), |at, length, part, within| {
            let mut bounce = Bounce::new(length);
            self.read_through(at, bounce.bytes())?;
            let count = part.len();
            into[part].copy_from_slice(&bounce.bytes()[within..within + count]);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.check(offset, from.len() as u64, true)?;
        if self.is_aligned(from.as_ptr() as usize, offset, from.len()) {
            return self.write_through(offset, from);
        }
        let _one_at_a_time = self.patching.lock().unwrap_or_else(|e| e.into_inner());
        Self::aligned_pieces(offset, from.len(), |at, length, part, within| {
            let mut bounce = Bounce::new(length);
            if part.len() < length {
                self.read_through(at, bounce.bytes())?;
            }
            let count = part.len();
            bounce.bytes()[within..within + count].copy_from_slice(&from[part]);
            self.write_through(at, bounce.bytes())
        })
    }

    fn write_zeroes(&self, extent: Extent, may_unmap: bool) -> Result<()> {
        self.check(extent.start(), extent.len(), true)?;
        let keep = FallocateFlags::KEEP_SIZE;
        if may_unmap && self.allocate(FallocateFlags::PUNCH_HOLE | keep, extent)? {
            return Ok(());
        }
        if self.allocate(FallocateFlags::ZERO_RANGE | keep, extent)? {
            return Ok(());
        }
        let zeros = vec![0; extent.len().min(BOUNCE) as usize];
        let mut at = extent.start();
        while at < extent.end() {
            let piece = (extent.end() - at).min(BOUNCE);
            self.write_at(at, &zeros[..piece as usize])?;
            at += piece;
        }
        Ok(())
    }

    fn discard(&self, extent: Extent) -> Result<()> {
        self.check(extent.start(), extent.len(), true)?;
        self.allocate(
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            extent,
        )?;
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        if !self.writable {
            return Ok(());
        }
        self.not_lost()?;
        fs::sync(&self.file).map_err(|e| self.sync_failed(e))
    }

    fn resize(&self, size: ByteCount) -> Result<()> {
        let now = self.size();
        self.check(0, 0, true)?;
        if size.get() < now {
            return Err(Error::unsupported(format!(
                "'{}' has {now} bytes and cannot shrink to {}",
                self.shown,
                size.get()
            )));
        }
        if self.regular {
            if size.get() > now {
                if self.direct && size.get() % u64::from(DIRECT_ALIGNMENT) != 0 {
                    return Err(Error::usage(format!(
                        "'{}' is open with O_DIRECT and grows by whole blocks of {DIRECT_ALIGNMENT} bytes only",
                        self.shown
                    )));
                }
                fs::set_len(&self.file, size.get()).map_err(|e| self.failed("grow", now, e))?;
                fs::sync(&self.file).map_err(|e| self.failed("sync", 0, e))?;
            }
            self.size.store(size.get(), Ordering::Release);
            return Ok(());
        }
        // A block device was grown by its owner; here only the new end is looked up.
        let there = length(&self.file).map_err(|e| self.failed("measure", 0, e))?;
        if there < size.get() {
            return Err(Error::new(
                ErrorKind::NoSpace,
                format!("the device '{}' has only {there} bytes", self.shown),
            ));
        }
        self.size.store(size.get(), Ordering::Release);
        Ok(())
    }

    fn data_extents(&self) -> Result<Vec<Extent>> {
        let size = self.size();
        let whole = |from: u64, to: u64| Extent::new(ByteOffset(from), ByteCount(to - from));
        let mut found = Vec::new();
        let mut at = 0;
        while at < size {
            let data = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) if data < size => data,
                Ok(_) | Err(rustix::io::Errno::NXIO) => break,
                Err(_) => {
                    // No holes known here: everything may be data.
                    found.push(whole(at, size)?);
                    break;
                }
            };
            let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(data)).unwrap_or(size);
            let end = hole.clamp(data + 1, size);
            found.push(whole(data, end)?);
            at = end;
        }
        Ok(found)
    }

    fn channel(self: Arc<Self>, depth: u16) -> Result<Box<dyn IoChannel>> {
        if self.allow_uring
            && let Some(channel) = UringChannel::open(self.clone(), depth)?
        {
            return Ok(Box::new(channel));
        }
        Ok(Box::new(BlockingChannel::new(self, depth)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn file(size: usize) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir_in(".").unwrap();
        let path = dir.path().join("disk.raw");
        let bytes: Vec<u8> = (0..size).map(|n| (n / 100) as u8).collect();
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn unaligned_requests_work_with_and_without_o_direct() {
        for (size, direct) in [(65536, false), (65536, true), (65000, true)] {
            let (_dir, path) = file(size);
            let mut model = std::fs::read(&path).unwrap();
            let raw = match RawFile::open(
                &path,
                FileOptions {
                    writable: true,
                    direct,
                },
            ) {
                Ok(raw) => raw,
                Err(e) => {
                    println!("SKIPPED: O_DIRECT is refused here: {}", e.full_text());
                    continue;
                }
            };
            for (at, length) in [
                (0, 1),
                (511, 513),
                (4095, 4098),
                (4096, 8192),
                (9000, 20000),
            ] {
                raw.write_at(at, &vec![at as u8 ^ 0x5a; length]).unwrap();
                model[at as usize..at as usize + length].fill(at as u8 ^ 0x5a);
            }
            raw.write_zeroes(
                Extent::new(ByteOffset(100), ByteCount(5000)).unwrap(),
                false,
            )
            .unwrap();
            model[100..5100].fill(0);
            let mut seen = vec![1; size];
            raw.read_at(0, &mut seen).unwrap();
            assert!(seen == model, "direct {direct}");
            raw.flush().unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size as u64);
            assert!(raw.read_at(size as u64 - 1, &mut [0; 2]).is_err());
        }
    }

    #[test]
    fn a_second_writer_is_refused_and_readers_share() {
        let (_dir, path) = file(4096);
        let open = |writable| {
            RawFile::open(
                &path,
                FileOptions {
                    writable,
                    direct: false,
                },
            )
        };
        let writer = open(true).unwrap();
        assert_eq!(open(true).err().unwrap().kind(), ErrorKind::Busy);
        assert_eq!(open(false).err().unwrap().kind(), ErrorKind::Busy);
        drop(writer);
        let _one = open(false).unwrap();
        let _two = open(false).unwrap();
        assert_eq!(open(true).err().unwrap().kind(), ErrorKind::Busy);
    }

    #[test]
    fn holes_are_not_data() {
        let (_dir, path) = file(0);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(&[1; 4096], 4 << 20).unwrap();
        let raw = RawFile::open(
            &path,
            FileOptions {
                writable: true,
                direct: false,
            },
        )
        .unwrap();
        let extents = raw.data_extents().unwrap();
        assert!(
            extents
                .iter()
                .any(|e| e.start() <= 4 << 20 && e.end() >= (4 << 20) + 4096)
        );
        assert!(extents.iter().map(|e| e.len()).sum::<u64>() < 4 << 20);
        raw.resize(ByteCount(9 << 20)).unwrap();
        assert_eq!(raw.geometry().size.get(), 9 << 20);
        assert!(raw.resize(ByteCount(1 << 20)).is_err());
    }
}
