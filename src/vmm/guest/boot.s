# Reset vector to long mode with an identity map of 4 GiB; never writes to the ROM.
# Only base integer instructions: the emulating KVM of some hosts knows no SSE, no `int n`, no popcnt.

# Fixed places in RAM (the guest needs 8 MiB).
.set PML4,   0x10000            # page tables: 1 + 1 + 4 pages
.set IDT,    0x16000            # 256 gates
.set STACK,  0x1f000            # grows down
.set VARS,   0x20000            # rbp, always
.set LINE,   0x21000            # the command line, 256 bytes
.set DEVS,   0x22000            # device table, DEV_SIZE each
.set QUEUES, 0x100000           # 64 KiB of ring memory for each device
.set BUF,    0x200000           # 128 KiB of data for one request
.set BENCH,  0x300000           # 4 KiB for each chain of a benchmark
.set BASE,   0xf0000            # where the ROM is executed

# Variables, relative to rbp.
.set V_NDEV,   0x00             # devices found
.set V_WANTS,  0x08             # features the driver accepts
.set V_LIMIT,  0x10             # TSC ticks a request may take
.set V_IRQS,   0x18             # completion interrupts seen
.set V_NARG,   0x20             # words on the line
.set V_VECTOR, 0x28             # MSI-X table entry of queue 0, 0xffff: none
.set V_ENABLE, 0x30             # queue_enable value the next set-up writes
.set V_PM,     0x38             # 1: there are power management ports
.set V_ARGV,   0x40             # 8 numbers
.set V_ARGP,   0x80             # 8 pointers to words

# Prints a literal: the text stands behind the call.
.macro say text
    call g_say
    .asciz "\text"
.endm

.macro out8 port, value
    mov dx, \port
    mov al, \value
    out dx, al
.endm

.section .rodata.volvisor_guest, "a", @progbits
.balign 16
.globl volvisor_guest_rom
volvisor_guest_rom:
g_rom:
.code16
g_real:
    cli
    cld
    mov ax, cs
    mov ds, ax
    .byte 0x66, 0x0f, 0x01, 0x16        # lgdt [g_gdtr], 32-bit base
    .word g_gdtr - g_rom
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea                    # far jump to 32-bit code
    .long g_prot - g_rom + BASE
    .word 0x08

.balign 8
g_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # 08: 32-bit code (accessed bits set: the ROM cannot be written)
    .quad 0x00cf93000000ffff            # 10: data
    .quad 0x00af9b000000ffff            # 18: 64-bit code
g_gdtr:
    .word g_gdtr - g_gdt - 1
    .long g_gdt - g_rom + BASE

.code32
g_prot:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, STACK
    mov edi, PML4
    xor eax, eax
    mov ecx, 0x6000 / 4
    rep stosd
    mov dword ptr [PML4], PML4 + 0x1003
    mov edi, PML4 + 0x1000              # four page directories
    mov eax, PML4 + 0x2003
    mov ecx, 4
2:  mov [edi], eax
    add eax, 0x1000
    add edi, 8
    dec ecx
    jnz 2b
    mov edi, PML4 + 0x2000              # 2048 pages of 2 MiB
    mov eax, 0x83
    mov ecx, 2048
2:  mov [edi], eax
    add eax, 0x200000
    add edi, 8
    dec ecx
    jnz 2b
    mov eax, cr4
    or eax, 0x20                        # PAE
    mov cr4, eax
    mov eax, PML4
    mov cr3, eax
    mov ecx, 0xc0000080                 # EFER.LME
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000001
    mov cr0, eax
    .byte 0xea                          # far jump to 64-bit code
    .long g_long - g_rom + BASE
    .word 0x18

.code64
g_long:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, STACK
    mov edi, VARS                       # variables, line, device table
    xor eax, eax
    mov ecx, 0x3000 / 8
    rep stosq
    mov ebp, VARS
    mov rax, 0xffffffffffffffff
    mov [rbp + V_WANTS], rax
    mov dword ptr [rbp + V_VECTOR], 0xffff
    mov byte ptr [rbp + V_ENABLE], 1
    mov rax, 0x2000000000               # about a minute
    mov [rbp + V_LIMIT], rax
    call g_interrupts
    call g_serial_init
    call g_power_init
    call g_scan
    say "volvisor-guest 1 ready\n"
    jmp g_commands

# Every gate is a fault, but 0x30 (queue), 0x31 (timer) and 0xff (spurious).
g_interrupts:
    out8 0x21, 0xff                     # both PICs masked
    out8 0xa1, 0xff
    mov edi, IDT
    mov ecx, 256
2:  lea rax, [rip + g_fault]
    call g_gate
    dec ecx
    jnz 2b
    mov edi, IDT + 0x30 * 16
    lea rax, [rip + g_queue_irq]
    call g_gate
    lea rax, [rip + g_timer_irq]
    call g_gate
    mov edi, IDT + 0xff * 16
    lea rax, [rip + g_spurious]
    call g_gate
    sub rsp, 16
    mov word ptr [rsp], 256 * 16 - 1
    mov qword ptr [rsp + 2], IDT
    lidt [rsp]
    add rsp, 16
    mov edi, 0xfee00000                 # local APIC: enable, timer one-shot on 0x31
    mov dword ptr [rdi + 0xf0], 0x1ff
    mov dword ptr [rdi + 0x80], 0
    mov dword ptr [rdi + 0x3e0], 0xb
    mov dword ptr [rdi + 0x320], 0x31
    ret

# Writes the gate at rdi for the handler at rax; rdi moves on.
g_gate:
    mov [rdi], ax
    mov word ptr [rdi + 2], 0x18
    mov word ptr [rdi + 4], 0x8e00
    mov rdx, rax
    shr rdx, 16
    mov [rdi + 6], dx
    mov qword ptr [rdi + 8], 0
    add rdi, 16
    ret

g_queue_irq:
    inc qword ptr [rbp + V_IRQS]
g_timer_irq:
    push rax
    mov eax, 0xfee000b0
    mov dword ptr [rax], 0
    pop rax
g_spurious:
    iretq

# The guest itself is broken: say where and stay.
g_fault:
    say "err fault "
    mov rax, [rsp + 8]
    call g_hex
    mov rax, [rsp]
    call g_hex
    call g_newline
2:  hlt
    jmp 2b
