//! Virtio 1.2 devices behind PCI; what a guest writes is checked once at the edge and can at worst stop its own device.

pub(super) mod blk;
pub(super) mod pci_transport;
pub(super) mod registers;

/// How a device tells its driver something; the transport decides which wire carries it.
pub(super) trait Interrupts: Send + Sync {
    /// Buffers were used; `vector` is the one the driver chose for the queue.
    fn queue(&self, vector: u16);
    /// The configuration or status changed.
    fn config(&self, vector: u16);
}

/// "No interrupt wanted" (virtio 1.2, 4.1.5.1.2).
pub(super) const NO_VECTOR: u16 = 0xffff;
