//! What one device has done since the machine started; counters only, read without stopping anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One kind of request.
#[derive(Default)]
pub(super) struct Counter {
    operations: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    nanoseconds: AtomicU64,
}

/// A reading of one counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::vmm) struct Reading {
    pub(in crate::vmm) operations: u64,
    pub(in crate::vmm) bytes: u64,
    pub(in crate::vmm) failed: u64,
    pub(in crate::vmm) nanoseconds: u64,
}

impl Counter {
    pub(super) fn count(&self, bytes: u64, ok: bool, took: Duration) {
        if ok {
            self.operations.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.nanoseconds
                .fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn reading(&self) -> Reading {
        Reading {
            operations: self.operations.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
        }
    }
}

#[derive(Default)]
pub(super) struct Stats {
    pub(super) read: Counter,
    pub(super) write: Counter,
    pub(super) flush: Counter,
    pub(super) unmap: Counter,
    pub(super) invalid: Counter,
}

/// A reading of all counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::vmm) struct Counters {
    pub(in crate::vmm) read: Reading,
    pub(in crate::vmm) write: Reading,
    pub(in crate::vmm) flush: Reading,
    pub(in crate::vmm) unmap: Reading,
    /// Requests that were refused before they reached the volume.
    pub(in crate::vmm) invalid: u64,
}

impl Stats {
    pub(super) fn counters(&self) -> Counters {
        Counters {
            read: self.read.reading(),
            write: self.write.reading(),
            flush: self.flush.reading(),
            unmap: self.unmap.reading(),
            invalid: self.invalid.reading().failed,
        }
    }
}
