//! The freestanding test guest, 64 KiB of ROM assembled into this program; it needs no firmware and no operating system.
//!
//! It runs on our machine and, unchanged, on QEMU (`-machine q35 -bios ROM`), where it drives up to eight modern virtio-blk
//! devices of PCI bus 0 in slot order. On COM1 it prints `volvisor-guest 1 ready` and then answers each line with one line,
//! `ok ...` or `err CODE ...`. Every number is hexadecimal without prefix; N is a device, LBA and COUNT are 512-byte sectors.
//!
//! | command                                        | answer behind `ok`                                                       |
//! |------------------------------------------------|--------------------------------------------------------------------------|
//! | `devs`                                         | count; for each capacity, features offered, negotiated, queue size        |
//! | `id N`                                         | the 20 bytes of the serial as 40 digits                                   |
//! | `write N LBA COUNT SEED`                       | COUNT; the sectors hold [`pattern::sector`]                               |
//! | `verify N LBA COUNT SEED`                      | COUNT, or `err mismatch LBA` with the first bad sector                    |
//! | `digest N LBA COUNT`                           | [`pattern::digest`] of the bytes read                                     |
//! | `zero N LBA COUNT [UNMAP]`, `discard N LBA COUNT` | COUNT                                                                  |
//! | `flush N`                                      |                                                                          |
//! | `loop N LBA SEED`                              | `running`; after any byte a second line with the number of generations    |
//! | `bench N r\|w DEPTH BATCHES poll\|irq SPAN`    | requests, TSC ticks, interrupts                                          |
//! | `evil N KIND`                                  | completions, status byte (`ff`: untouched), device status (bit `40`: needs reset) |
//! | `wants MASK`                                   | features accepted from now on, low 32 bits                                |
//! | `echo NUMBER`                                  | `pong NUMBER`                                                            |
//! | `power`                                        | 1 when the power button was pressed (the idle guest also obeys it)        |
//! | `reset`, `off`, `exit CODE`                    | none: the machine resets, powers off, or ends through port 0xf4           |
//!
//! Errors: `err io STATUS LBA`, `err mismatch LBA`, `err unsupported`, `err usage`, `err device`, `err command`,
//! `err setup STEP`, and `err fault` when the guest itself is broken. Requests carry at most 256 sectors, in pieces of 32 KiB.

pub mod client;
pub mod pattern;

use std::arch::global_asm;

global_asm!(
    include_str!("boot.s"),
    include_str!("serial.s"),
    include_str!("pci.s"),
    include_str!("machine.s"),
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
