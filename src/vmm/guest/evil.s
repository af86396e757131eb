# Requests no good driver makes; afterwards the device is set up again, so that the next command finds it well.

.balign 16
g_evils:
    command "loop",     g_evil_loop,     3, 1
    command "past",     g_evil_past,     3, 1
    command "len",      g_evil_len,      3, 1
    command "short",    g_evil_short,    3, 1
    command "notready", g_evil_notready, 3, 1
    command "garbage",  g_evil_garbage,  3, 1
    command "type",     g_evil_type,     3, 1
    command "indirect", g_evil_indirect, 3, 1
    command "odd",      g_evil_odd,      3, 1
    command "ro",       g_evil_ro,       3, 1
    command "jump",     g_evil_jump,     3, 1
    command "rings",    g_evil_rings,    3, 1
    command "beyond",   g_evil_beyond,   3, 1
    .quad 0, 0

# evil N KIND: ok USED STATUS DEVICE: completions seen, status byte (ff: untouched), device status (40: needs reset)
g_cmd_evil:
    lea rbx, [rip + g_evils]
    mov rsi, [rbp + V_ARGP + 16]
    call g_lookup
    jnz g_unsupported
    call g_setup
    mov r14, [r15 + D_QUEUE]
    mov byte ptr [r14 + Q_STATUS], 0xff
    mov dword ptr [rbp + V_LIMIT], 0x10000000
    mov dword ptr [rbp + V_LIMIT + 4], 0
    mov edi, 0                          # a correct read of one sector to spoil
    call g_evil_chain
    call g_jump
    call g_wait
    movzx r12d, word ptr [r14 + Q_USED + 2]
    mov rax, [r15 + D_COMMON]
    movzx r13d, byte ptr [rax + 0x14]
    movzx r14d, byte ptr [r14 + Q_STATUS]
    mov rax, 0x2000000000
    mov [rbp + V_LIMIT], rax
    mov byte ptr [rbp + V_ENABLE], 1
    call g_setup
    test al, al
    jnz 2f
    call g_ok
    mov rax, r12
    call g_hex
    mov rax, r14
    call g_hex
    mov rax, r13
    jmp g_hex
2:  movzx ebx, al
    say "err setup"
    mov rax, rbx
    jmp g_hex

# Descriptors 0-2 of r14: a read of sector 0, request type edi.
g_evil_chain:
    mov [r14 + Q_HEAD], edi
    mov dword ptr [r14 + Q_HEAD + 4], 0
    mov qword ptr [r14 + Q_HEAD + 8], 0
    mov r9, r14
g_evil_chain_at:
    lea rax, [r14 + Q_HEAD]
    mov ecx, 16
    mov r8d, 1
    mov r10d, 1
    call g_desc
    mov eax, BUF
    mov ecx, 512
    mov r8d, 3
    mov r10d, 2
    call g_desc
    lea rax, [r14 + Q_STATUS]
    mov ecx, 1
    mov r8d, 2
    xor r10d, r10d
    jmp g_desc

g_evil_go:
    xor eax, eax
    jmp g_offer

# A chain that never ends.
g_evil_loop:
    mov word ptr [r14 + 0x2c], 3
    mov word ptr [r14 + 0x2e], 0
    jmp g_evil_go

# Data where there is no memory.
g_evil_past:
    mov dword ptr [r14 + 0x14], 0x40
    jmp g_evil_go

# A length near 4 GiB.
g_evil_len:
    mov dword ptr [r14 + 0x18], 0xfffffe00
    jmp g_evil_go

# A lone header: no place for a status.
g_evil_short:
    mov word ptr [r14 + 0x0c], 0
    jmp g_evil_go

# The doorbell of a queue that was never enabled.
g_evil_notready:
    mov byte ptr [rbp + V_ENABLE], 0
    call g_setup
    xor edi, edi
    call g_evil_chain
    jmp g_evil_go

# 64 ring entries of any value, most of them no descriptor.
g_evil_garbage:
    mov eax, 0x2545f491
    xor ecx, ecx
2:  imul eax, eax, 1103515245
    add eax, 12345
    mov edx, eax
    shr edx, 13
    or edx, 0x4000
    mov [r14 + rcx * 2 + Q_AVAIL + 4], dx
    inc ecx
    cmp ecx, 64
    jb 2b
    mov word ptr [r15 + D_AVAIL], 63
    mov eax, 0xfffe
    jmp g_offer

# A request type nobody knows.
g_evil_type:
    mov dword ptr [r14 + Q_HEAD], 0x1234
    jmp g_evil_go

# An indirect table whose entry is indirect again.
g_evil_indirect:
    lea r9, [r14 + Q_TABLE]
    call g_evil_chain_at
    or word ptr [r14 + Q_TABLE + 12], 4
    mov ecx, 48
    jmp g_evil_table

# An indirect table of 17 bytes.
g_evil_odd:
    lea r9, [r14 + Q_TABLE]
    call g_evil_chain_at
    mov ecx, 17
g_evil_table:
    lea rax, [r14 + Q_TABLE]
    mov r9, r14
    mov r8d, 4
    xor r10d, r10d
    call g_desc
    jmp g_evil_go

# A read into memory the device may only read.
g_evil_ro:
    mov word ptr [r14 + 0x1c], 1
    jmp g_evil_go

# An index further ahead than the ring is long.
g_evil_jump:
    mov word ptr [r15 + D_AVAIL], 0x7fff
    jmp g_evil_go

# Rings where there is no memory.
g_evil_rings:
    mov byte ptr [rbp + V_ENABLE], 0
    call g_setup
    mov rdx, [r15 + D_COMMON]
    mov dword ptr [rdx + 0x24], 0x40
    mov dword ptr [rdx + 0x2c], 0x40
    mov dword ptr [rdx + 0x34], 0x40
    mov word ptr [rdx + 0x1c], 1
    jmp g_evil_go

# A sector beyond any disk.
g_evil_beyond:
    mov rax, 0x7fffffffffffffff
    mov [r14 + Q_HEAD + 8], rax
    jmp g_evil_go
