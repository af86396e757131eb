//! The virtio block device (virtio 1.2, 5.2): checked requests in, status bytes out; the volume behind it is never named here.

mod config;
mod device;
mod lifecycle;
mod request;
mod stats;

pub(in crate::vmm) use device::{Blk, BlkSpec};
pub(in crate::vmm) use stats::Counters;
