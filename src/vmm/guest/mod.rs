//! The freestanding test guest, 64 KiB of ROM assembled into this program; it needs no firmware and no operating system.

use std::arch::global_asm;

global_asm!(
    include_str!("boot.s"),
    include_str!("serial.s"),
    include_str!("pci.s"),
    include_str!("virtio.s"),
    include_str!("commands.s"),
    include_str!("bench.s"),
    include_str!("evil.s"),
    include_str!("end.s"),
);

/// Bytes of the ROM.
pub const ROM_SIZE: usize = 64 << 10;

unsafe extern "C" {
    #[link_name = "volvisor_guest_rom"]
    static ROM: [u8; ROM_SIZE];
}

/// The image: to be placed at 4 GiB - 64 KiB and again at 0xf0000.
pub fn rom() -> &'static [u8] {
    // SAFETY: the symbol starts 64 KiB of constant data in a read-only section, which the `.org` lines of `end.s` fill exactly.
    unsafe { &ROM }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_processor_starts_with_a_far_jump_to_the_first_byte() {
        let rom = super::rom();
        assert_eq!(rom.len(), 0x10000);
        assert_eq!(rom[0xfff0..0xfff5], [0xea, 0, 0, 0, 0xf0]);
        assert_eq!(rom[0], 0xfa, "cli");
    }
}
