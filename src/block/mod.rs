//! The data plane: bytes of one open volume. `BlockDevice` is the volume, `IoChannel` one queue of work on it; never knows names.

pub mod channel;
pub mod copy;
pub mod faulty;
pub mod file;
pub mod lock;
pub mod qcow2;
mod uring;

pub use channel::{BlockingChannel, Buffers, Completion, IoChannel, Op};
pub use copy::copy_range;

use crate::model::{ByteCount, Extent, Result, SnapshotName};
use std::sync::Arc;

/// What does not change while the device is open, except announced growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub size: ByteCount,
    /// Smallest unit a guest may address, bytes (512).
    pub logical_block: u32,
    /// Unit below which writes cost a read, bytes.
    pub physical_block: u32,
    /// Alignment of memory and offset that avoids a bounce buffer, bytes (1: none needed).
    pub alignment: u32,
    pub read_only: bool,
    pub can_discard: bool,
}

/// The bytes of one open volume. All methods may be called from several threads.
///
/// Range: the caller may pass any extent; a range beyond `geometry().size` is refused with `ErrorKind::Usage` and changes
/// nothing. Ordering: a completed `flush` makes every write completed before it durable; nothing else does. Reads of never
/// written or discarded ranges give zeros (discard may also leave the old bytes when `can_discard` is false).
pub trait BlockDevice: Send + Sync {
    fn geometry(&self) -> Geometry;
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()>;
    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()>;
    /// Range reads as zeros afterwards; `may_unmap` allows giving the space back.
    fn write_zeroes(&self, extent: Extent, may_unmap: bool) -> Result<()>;
    fn discard(&self, extent: Extent) -> Result<()>;
    fn flush(&self) -> Result<()>;
    /// Grow to `size` while open.
    fn resize(&self, size: ByteCount) -> Result<()>;
    /// Runs of the volume that may hold data, in order (holes and zero clusters left out).
    fn data_extents(&self) -> Result<Vec<Extent>>;
    /// Snapshots taken by whoever holds the volume open (qcow2 internal, reflink of a raw file).
    fn live_snapshots(&self) -> Option<&dyn LiveSnapshots> {
        None
    }
    /// A queue of at most `depth` requests in flight. Devices with an asynchronous engine override this.
    fn channel(self: Arc<Self>, depth: u16) -> Result<Box<dyn IoChannel>>;
}

/// Snapshots of an open volume. The caller has drained and flushed; each call is all or nothing, also after SIGKILL.
pub trait LiveSnapshots {
    /// `Conflict` when the name exists. `created` in seconds since 1970.
    fn create(&self, name: &SnapshotName, created: u64) -> Result<()>;
    /// `AlreadySo` semantics: deleting what is not there is fine and returns false.
    fn delete(&self, name: &SnapshotName) -> Result<bool>;
    fn names(&self) -> Result<Vec<String>>;
}
