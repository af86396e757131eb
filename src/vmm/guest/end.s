# The last 16 of the 64 KiB: where the processor starts.
.code16
.org g_rom + 0xfff0, 0
    .byte 0xea                          # jmp f000:0000
    .word 0x0000, 0xf000
.org g_rom + 0x10000, 0
.globl volvisor_guest_end
volvisor_guest_end:
.code64
.text
