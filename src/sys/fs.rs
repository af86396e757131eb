//! Calls that change files, each a crash point before and after, plus the atomic replacement built from them; decides nothing.

use super::crash::{gate, point};
use crate::model::{Error, Result};
use rustix::fs::{AtFlags, CWD, RenameFlags};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

/// Opens a new file for reading and writing; fails when the name exists.
pub fn create_new(path: &Path, mode: u32) -> Result<File> {
    let file = gate("before create").and_then(|()| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
    });
    point("after create");
    file.map_err(|e| Error::io(format!("cannot create '{}'", shown(path)), e))
}

/// Writes all bytes at an offset. Durable only after `sync`.
pub fn write_at(file: &File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    gate("before write")?;
    let done = file.write_all_at(bytes, offset);
    point("after write");
    done
}

/// Appends all bytes.
pub fn append(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    gate("before append")?;
    let done = file.write_all(bytes);
    point("after append");
    done
}

/// Data and size reach the disk (fdatasync).
pub fn sync(file: &File) -> std::io::Result<()> {
    gate("before sync")?;
    let done = file.sync_data();
    point("after sync");
    done
}

pub fn set_len(file: &File, length: u64) -> std::io::Result<()> {
    gate("before truncate")?;
    let done = file.set_len(length);
    point("after truncate");
    done
}

/// Reserves, punches or zeroes a range of a file (fallocate); `mode` says which.
pub fn fallocate(
    file: &File,
    mode: rustix::fs::FallocateFlags,
    offset: u64,
    length: u64,
) -> std::io::Result<()> {
    gate("before fallocate")?;
    let done = rustix::fs::fallocate(file, mode, offset, length);
    point("after fallocate");
    done.map_err(Into::into)
}

/// Names in this directory reach the disk.
pub fn sync_dir(path: &Path) -> Result<()> {
    let done = File::open(path).and_then(|dir| {
        gate("before sync directory")?;
        let done = dir.sync_all();
        point("after sync directory");
        done
    });
    done.map_err(|e| Error::io(format!("cannot sync directory '{}'", shown(path)), e))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Atomic; replaces the target; durable on return.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    rename_with(from, to, RenameFlags::empty())
}

/// Atomic; fails with `Conflict` when the target exists; durable on return.
pub fn rename_new(from: &Path, to: &Path) -> Result<()> {
    rename_with(from, to, RenameFlags::NOREPLACE)
}

/// Swaps two names atomically; durable on return.
pub fn rename_exchange(from: &Path, to: &Path) -> Result<()> {
    rename_with(from, to, RenameFlags::EXCHANGE)
}

fn rename_with(from: &Path, to: &Path, flags: RenameFlags) -> Result<()> {
    gate("before rename").map_err(|e| {
        Error::io(
            format!("cannot rename '{}' to '{}'", shown(from), shown(to)),
            e,
        )
    })?;
    let mut done = rustix::fs::renameat_with(CWD, from, CWD, to, flags);
    // A file system without RENAME_NOREPLACE (NFS): link then unlink has the same meaning.
    if done == Err(rustix::io::Errno::INVAL) && flags == RenameFlags::NOREPLACE {
        done = rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty());
        if done.is_ok() {
            point("between link and unlink");
            done = rustix::fs::unlinkat(CWD, from, AtFlags::empty());
        }
    }
    point("after rename");
    done.map_err(|e| {
        Error::io(
            format!("cannot rename '{}' to '{}'", shown(from), shown(to)),
            e.into(),
        )
    })?;
    sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        sync_dir(parent(from))?;
    }
    Ok(())
}

/// Durable on return. `false` when there was nothing to remove.
pub fn remove_file(path: &Path) -> Result<bool> {
    let done = gate("before unlink").and_then(|()| std::fs::remove_file(path));
    point("after unlink");
    match done {
        Ok(()) => sync_dir(parent(path)).map(|()| true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(format!("cannot remove '{}'", shown(path)), e)),
    }
}

/// Makes the directory and its parents where missing.
pub fn create_dirs(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let done = gate("before mkdir").and_then(|()| std::fs::create_dir_all(path));
    point("after mkdir");
    done.map_err(|e| Error::io(format!("cannot create directory '{}'", shown(path)), e))
}

/// Removes an empty directory; a directory that is not empty or not there stays as it is.
pub fn remove_dir_if_empty(path: &Path) {
    point("before rmdir");
    let _ = std::fs::remove_dir(path);
    point("after rmdir");
}

/// The temporary name `replace_file` uses, so that recovery can remove what a crash left.
pub fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.volvisor-tmp"))
}

/// The file holds exactly `bytes` afterwards, or still what it held: write, fsync, rename, fsync of the directory.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let temporary = temporary_name(path);
    remove_file(&temporary)?;
    let file = create_new(&temporary, mode)?;
    let written = write_at(&file, 0, bytes).and_then(|()| sync(&file));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(Error::io(format!("cannot write '{}'", shown(path)), error)
            .hint("nothing was changed; make room on that file system and try again"));
    }
    drop(file);
    rename(&temporary, path).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

/// Whole file, refused above `limit` bytes.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file =
        File::open(path).map_err(|e| Error::io(format!("cannot read '{}'", shown(path)), e))?;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(format!("cannot read '{}'", shown(path)), e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::usage(format!(
            "'{}' is larger than {limit} bytes",
            shown(path)
        )));
    }
    Ok(bytes)
}

/// Permission bits of an open file; durable after `sync_all`.
pub fn set_mode(file: &File, mode: u32) -> std::io::Result<()> {
    gate("before chmod")?;
    let done = rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(mode));
    point("after chmod");
    done.map_err(Into::into)
}

/// Time of last modification, seconds since 1970; the access time stays.
pub fn set_modified(file: &File, seconds: u64) -> std::io::Result<()> {
    use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT as _,
        },
        last_modification: Timespec {
            tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
            tv_nsec: 0,
        },
    };
    gate("before set time")?;
    let done = rustix::fs::futimens(file, &times);
    point("after set time");
    done.map_err(Into::into)
}

/// Data, size, mode and times reach the disk (fsync).
pub fn sync_all(file: &File) -> std::io::Result<()> {
    gate("before sync")?;
    let done = file.sync_all();
    point("after sync");
    done
}

/// The immutable attribute (`chattr +i`). `Ok(false)` when it was so already; an error where the file system has none or
/// the process may not.
pub fn set_immutable(file: &File, immutable: bool) -> std::io::Result<bool> {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let now = ioctl_getflags(file)?;
    if now.contains(IFlags::IMMUTABLE) == immutable {
        return Ok(false);
    }
    let mut wanted = now;
    wanted.set(IFlags::IMMUTABLE, immutable);
    gate("before chattr")?;
    let done = ioctl_setflags(file, wanted);
    point("after chattr");
    done.map(|()| true).map_err(Into::into)
}

/// A symbolic link whose text is a note, made at once or not at all; `Conflict` when the name exists; durable on return.
pub fn symlink_note(text: &str, at: &Path) -> Result<()> {
    let done = gate("before symlink").and_then(|()| std::os::unix::fs::symlink(text, at));
    point("after symlink");
    done.map_err(|e| Error::io(format!("cannot create '{}'", shown(at)), e))?;
    sync_dir(parent(at))
}

/// A file without a name in a directory (O_TMPFILE): gone when it is closed, whatever happens.
pub fn nameless(dir: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
        .mode(0o600)
        .open(dir)
}

/// Fills `into` from an offset; bytes past the end of the file are zeros.
pub fn read_at_or_zeros(file: &File, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        match file.read_at(&mut into[done..], offset + done as u64) {
            Ok(0) => {
                into[done..].fill(0);
                return Ok(());
            }
            Ok(count) => done += count,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
