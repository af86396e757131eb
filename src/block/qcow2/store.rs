//! The file below an image: reads give zeros past the end, errors carry the image's name; knows nothing of the format.

use crate::model::{Error, Result};
use crate::sys::fs;
use std::fs::File;

pub(super) struct Store {
    file: File,
    pub(super) shown: String,
    /// No byte at or behind this place was ever written: it reads as zeros.
    end: u64,
    /// A sync failed: what reached the disk is unknown, so nothing more may be written.
    failed: bool,
    /// Something was written since the last good sync, or may have been before this was opened.
    dirty: bool,
    /// What was done to the file, for the power-cut test.
    #[cfg(test)]
    pub(super) trace: Option<Vec<Event>>,
}

#[cfg(test)]
#[derive(Debug, Clone)]
pub(super) enum Event {
    Write(u64, Vec<u8>),
    Punch(u64, u64),
    Sync,
}

impl Store {
    pub(super) fn new(file: File, shown: String) -> Result<Self> {
        let end = crate::block::file::length(&file)
            .map_err(|e| Error::io(format!("cannot find the length of '{shown}'"), e))?;
        Ok(Store {
            file,
            shown,
            end,
            failed: false,
            dirty: true,
            #[cfg(test)]
            trace: None,
        })
    }
    pub(super) fn end(&self) -> u64 {
        self.end
    }
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes past the end of the file are zeros.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        fs::read_at_or_zeros(&self.file, offset, into)
            .map_err(|e| Error::io(format!("cannot read '{}' at {offset:#x}", self.shown), e))
    }

    pub(super) fn read_vec(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::failed(format!(
                "'{}' failed to reach the disk before; nothing more is written to it",
                self.shown
            ))
            .hint("close the image, check the device, then check the image"));
        }
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.usable()?;
        self.dirty = true;
        self.end = self.end.max(offset + bytes.len() as u64);
        #[cfg(test)]
        self.note(Event::Write(offset, bytes.to_vec()));
        crate::sys::fs::write_at(&self.file, offset, bytes)
            .map_err(|e| Error::io(format!("cannot write '{}' at {offset:#x}", self.shown), e))
    }

    #[cfg(test)]
    fn note(&mut self, event: Event) {
        if let Some(trace) = &mut self.trace {
            trace.push(event);
        }
    }

    /// Everything written is durable afterwards. Free of charge when nothing was: all writes to the file come through here.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.usable()?;
        if !self.dirty {
            return Ok(());
        }
        #[cfg(test)]
        self.note(Event::Sync);
        crate::sys::fs::sync(&self.file).map_err(|e| {
            self.failed = true;
            Error::io(format!("cannot sync '{}'", self.shown), e)
        })?;
        self.dirty = false;
        Ok(())
    }

    /// The file is about to be changed past this store.
    pub(super) fn touched(&mut self) {
        self.dirty = true;
    }

    pub(super) fn set_failed(&mut self) {
        self.failed = true;
    }

    /// Makes the file at least this long.
    pub(super) fn extend(&mut self, length: u64) -> Result<()> {
        self.usable()?;
        if length > self.end {
            self.dirty = true;
            crate::sys::fs::set_len(&self.file, length)
                .map_err(|e| Error::io(format!("cannot extend '{}'", self.shown), e))?;
            self.end = length;
        }
        Ok(())
    }

    /// Gives the space of a range back where the file system can; its bytes are of no interest any more.
    pub(super) fn punch(&mut self, offset: u64, length: u64) {
        self.dirty = true;
        #[cfg(test)]
        self.note(Event::Punch(offset, length));
        use rustix::fs::FallocateFlags as Flags;
        let mode = Flags::PUNCH_HOLE | Flags::KEEP_SIZE;
        let _ = crate::sys::fs::fallocate(&self.file, mode, offset, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_reaches_the_disk_when_and_only_when_something_was_written() {
        let mut store = Store::new(tempfile::tempfile().unwrap(), "image".to_owned()).unwrap();
        store.trace = Some(Vec::new());
        let syncs = |store: &Store| {
            let trace = store.trace.as_ref().unwrap().iter();
            trace.filter(|e| matches!(e, Event::Sync)).count()
        };
        store.sync().unwrap();
        assert_eq!(
            syncs(&store),
            1,
            "who opened it last may have left something"
        );
        store.sync().unwrap();
        assert_eq!(syncs(&store), 1);
        store.write(0, &[1]).unwrap();
        store.sync().unwrap();
        store.extend(4096).unwrap();
        store.sync().unwrap();
        store.punch(0, 4096);
        store.sync().unwrap();
        assert_eq!(syncs(&store), 4);
    }
}
