//! Guest memory: RAM from one memfd below and above the PCI hole, and the ROM; the only place that maps pages into a guest.

use super::kvm;
use crate::model::{Error, Result};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use std::fs::File;
use std::sync::Arc;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap, MmapRegion,
};

/// RAM as every device sees it; the mappings live as long as any clone of this.
pub(super) type Ram = Arc<GuestMemoryMmap<()>>;

/// First address of the hole: configuration space, PCI windows, interrupt controllers and the ROM lie above.
const LOW_RAM_END: u64 = 0xb000_0000;
const FOUR_GIB: u64 = 1 << 32;
const MIB: u64 = 1 << 20;
/// Part of a ROM that real mode can reach below 1 MiB.
const ROM_SHADOW: usize = 128 << 10;
/// Larger images would reach the fixed pages below them.
const ROM_LIMIT: usize = 16 << 20;

/// Where the regions of `mib` MiB of RAM begin and how long they are.
fn layout(mib: u32) -> Vec<(u64, u64)> {
    let total = u64::from(mib) * MIB;
    let low = total.min(LOW_RAM_END);
    let mut regions = vec![(0, low)];
    if total > low {
        regions.push((FOUR_GIB, total - low));
    }
    regions
}

fn memfd(name: &str, length: u64) -> Result<File> {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|e| Error::io("cannot make a memory file", e.into()))?;
    rustix::fs::ftruncate(&fd, length).map_err(|e| {
        Error::io(
            format!("cannot give a memory file {length} bytes"),
            e.into(),
        )
    })?;
    Ok(File::from(fd))
}

/// RAM of `mib` MiB, zeroed, not yet known to any VM.
pub(super) fn allocate(mib: u32) -> Result<Ram> {
    if mib < 2 {
        return Err(Error::usage(format!(
            "a machine needs at least 2 MiB of memory, not {mib}"
        )));
    }
    let file = Arc::new(memfd("guest-ram", u64::from(mib) * MIB)?);
    let mut offset = 0;
    let mut ranges = Vec::new();
    for (base, length) in layout(mib) {
        let part = FileOffset::from_arc(Arc::clone(&file), offset);
        ranges.push((GuestAddress(base), length as usize, Some(part)));
        offset += length;
    }
    GuestMemoryMmap::from_ranges_with_files(ranges)
        .map(Arc::new)
        .map_err(|e| Error::failed(format!("cannot map {mib} MiB of guest memory")).with_source(e))
}

/// A firmware image: read-only below 4 GiB, and the bytes that are copied below 1 MiB at every reset.
pub(super) struct Rom {
    image: Vec<u8>,
    region: MmapRegion<()>,
}

impl Rom {
    pub(super) fn new(image: Vec<u8>) -> Result<Self> {
        if image.is_empty() || image.len() % 4096 != 0 || image.len() > ROM_LIMIT {
            return Err(Error::usage(format!(
                "a ROM image has a multiple of 4096 bytes up to {ROM_LIMIT}, not {}",
                image.len()
            )));
        }
        let file = memfd("guest-rom", image.len() as u64)?;
        std::os::unix::fs::FileExt::write_all_at(&file, &image, 0)
            .map_err(|e| Error::io("cannot fill the ROM", e))?;
        let region = MmapRegion::from_file(FileOffset::new(file, 0), image.len())
            .map_err(|e| Error::failed("cannot map the ROM").with_source(e))?;
        Ok(Rom { image, region })
    }

    /// Writes the copy that real-mode code runs from; the guest may have overwritten it.
    pub(super) fn copy_low(&self, ram: &Ram) -> Result<()> {
        let length = self.image.len().min(ROM_SHADOW);
        let tail = &self.image[self.image.len() - length..];
        ram.write_slice(tail, GuestAddress(MIB - length as u64))
            .map_err(|e| Error::failed("cannot copy the ROM below 1 MiB").with_source(e))
    }
}

/// Makes RAM and ROM visible to the guest of `vm`. Both must outlive it.
pub(super) fn attach(vm: &VmFd, ram: &Ram, rom: &Rom) -> Result<()> {
    let mut slots = Vec::new();
    for region in ram.iter() {
        slots.push((region.start_addr().0, region.len(), host_address(region), 0));
    }
    let length = rom.region.size() as u64;
    let address = rom.region.as_ptr() as u64;
    slots.push((FOUR_GIB - length, length, address, KVM_MEM_READONLY));
    for (slot, (base, length, host, flags)) in (0..).zip(slots) {
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: base,
            memory_size: length,
            userspace_addr: host,
        };
        // SAFETY: the mapping is ours, of this length, and the machine keeps RAM and ROM alive longer than the VM.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(|e| kvm::failed("map guest memory", e))?;
    }
    Ok(())
}

fn host_address(region: &GuestRegionMmap<()>) -> u64 {
    region.as_ptr() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_never_covers_the_pci_hole() {
        assert_eq!(layout(32), vec![(0, 32 * MIB)]);
        let large = layout(8192);
        assert_eq!(large[0], (0, LOW_RAM_END));
        assert_eq!(large[1], (FOUR_GIB, 8192 * MIB - LOW_RAM_END));
    }

    #[test]
    fn the_end_of_the_rom_is_copied_below_one_mebibyte() {
        let ram = allocate(2).unwrap();
        let mut image = vec![0u8; 192 << 10];
        let last = image.len() - 1;
        image[last] = 0x5a;
        image[64 << 10] = 0x77;
        Rom::new(image).unwrap().copy_low(&ram).unwrap();
        assert_eq!(ram.read_obj::<u8>(GuestAddress(MIB - 1)).unwrap(), 0x5a);
        assert_eq!(ram.read_obj::<u8>(GuestAddress(0xe0000)).unwrap(), 0x77);
    }

    #[test]
    fn odd_rom_sizes_are_refused() {
        for length in [0, 1, 4097, ROM_LIMIT + 4096] {
            assert!(Rom::new(vec![0; length]).is_err(), "{length}");
        }
    }
}
