# The command loop: one line in, one line out, `ok ...` or `err <code> ...`; all numbers hexadecimal.

# A table entry is 16 bytes: handler, least words on the line, 1 when the first argument is a device, name.
.macro command name, handler, words, device
    .word \handler - g_rom
    .byte \words
    .byte \device
    .asciz "\name"
    .balign 16
.endm

.balign 16
g_table:
    command "devs",    g_cmd_devs,    1, 0
    command "id",      g_cmd_id,      2, 1
    command "write",   g_cmd_write,   5, 1
    command "verify",  g_cmd_verify,  5, 1
    command "digest",  g_cmd_digest,  4, 1
    command "zero",    g_cmd_zero,    4, 1
    command "discard", g_cmd_discard, 4, 1
    command "flush",   g_cmd_flush,   2, 1
    command "loop",    g_cmd_loop,    4, 1
    command "bench",   g_cmd_bench,   7, 1
    command "evil",    g_cmd_evil,    3, 1
    command "wants",   g_cmd_wants,   2, 0
    command "echo",    g_cmd_echo,    2, 0
    command "power",   g_cmd_power,   1, 0
    command "reset",   g_cmd_reset,   1, 0
    command "off",     g_power_off,   1, 0
    command "exit",    g_cmd_exit,    2, 0
    .quad 0, 0

g_commands:
    mov esp, STACK
    call g_read_line
    cmp dword ptr [rbp + V_NARG], 0
    je g_commands
    lea rbx, [rip + g_table]
    mov rsi, [rbp + V_ARGP]
    call g_lookup
    jnz 3f
    mov cl, [rbx + 2]
    cmp [rbp + V_NARG], cl
    jb 4f
    cmp byte ptr [rbx + 3], 0
    je 2f
    mov rax, [rbp + V_ARGV + 8]
    mov ecx, [rbp + V_NDEV]
    cmp rax, rcx
    jae 5f
    shl eax, 8                          # DEV_SIZE
    add eax, DEVS
    mov r15, rax
2:  call g_jump
    call g_newline
    jmp g_commands
3:  say "err command\n"
    jmp g_commands
4:  say "err usage\n"
    jmp g_commands
5:  say "err device\n"
    jmp g_commands

# Finds the word at rsi in the table at rbx: zero flag set and rbx the entry, or clear.
g_lookup:
    push rsi
2:  lea rdi, [rbx + 4]
    cmp byte ptr [rdi], 1               # carry at the end of the table
    jb 3f
    mov rsi, [rsp]
    call g_streq
    je 4f
    add rbx, 16
    jmp 2b
3:  or eax, 1
4:  pop rsi
    ret

# Calls the handler of the entry at rbx.
g_jump:
    movzx eax, word ptr [rbx]
    lea rdx, [rip + g_rom]
    add rax, rdx
    jmp rax

g_ok:
    say "ok"
    ret

# The request failed with status al; r12 is the sector.
g_io_error:
    movzx ebx, al
    say "err io"
    mov rax, rbx
    call g_hex
    mov rax, r12
    jmp g_hex

g_unsupported:
    say "err unsupported"
    ret

# devs: count, then for each device capacity, features offered, features negotiated, queue size.
g_cmd_devs:
    call g_ok
    mov ebx, [rbp + V_NDEV]
    mov rax, rbx
    call g_hex
    mov r15d, DEVS
2:  test ebx, ebx
    jz 3f
    call g_capacity
    call g_hex
    mov rax, [r15 + D_OFFER]
    call g_hex
    mov rax, [r15 + D_FEAT]
    call g_hex
    mov eax, [r15 + D_SIZE]
    call g_hex
    add r15d, DEV_SIZE
    dec ebx
    jmp 2b
3:  ret

# rax = capacity in sectors.
g_capacity:
    mov rdx, [r15 + D_DEVICE]
    mov eax, [rdx + 4]
    mov ecx, [rdx]
    shl rax, 32
    or rax, rcx
    ret

# id N: the 20 bytes as 40 digits.
g_cmd_id:
    xor r12d, r12d
    mov edi, BUF
    xor eax, eax
    mov ecx, 4
    rep stosq
    mov edi, 8
    xor esi, esi
    mov edx, BUF
    mov ecx, 20
    mov r8d, 2
    call g_request
    test al, al
    jnz g_io_error
    call g_ok
    mov al, 32
    call g_putc
    mov ebx, BUF
2:  mov al, [rbx]
    shr al, 4
    call g_digit
    mov al, [rbx]
    and al, 15
    call g_digit
    inc ebx
    cmp ebx, BUF + 20
    jb 2b
    ret
g_digit:
    add al, 48
    cmp al, 58
    jb g_putc
    add al, 39
    jmp g_putc

# r12 = first sector, r13 = sectors left, r14 = seed, from the line.
g_span:
    mov r12, [rbp + V_ARGV + 16]
    mov r13, [rbp + V_ARGV + 24]
    mov r14, [rbp + V_ARGV + 32]
    ret

# ebx = sectors of the next request, at most 256; zero flag set when none are left.
g_chunk:
    mov ebx, 256
    cmp r13, rbx
    jae 2f
    mov ebx, r13d
2:  test ebx, ebx
    ret

# Reads ebx sectors at r12 into BUF: al = status.
g_read_chunk:
    xor edi, edi
    mov r8d, 2
    jmp g_move_chunk
# Writes them.
g_write_chunk:
    mov edi, 1
    xor r8d, r8d
g_move_chunk:
    mov rsi, r12
    mov edx, BUF
    mov ecx, ebx
    shl ecx, 9
    jmp g_request

# write N LBA COUNT SEED: ok COUNT
g_cmd_write:
    call g_span
2:  call g_chunk
    jz g_done
    mov edi, BUF
    mov rsi, r12
    mov ecx, ebx
    mov r9, r14
    call g_fill
    call g_write_chunk
    test al, al
    jnz g_io_error
    add r12, rbx
    sub r13, rbx
    jmp 2b
g_done:
    call g_ok
    mov rax, [rbp + V_ARGV + 24]
    jmp g_hex

# verify N LBA COUNT SEED: ok COUNT, or err mismatch LBA
g_cmd_verify:
    call g_span
2:  call g_chunk
    jz g_done
    call g_read_chunk
    test al, al
    jnz g_io_error
    mov edi, BUF
    mov rsi, r12
    mov ecx, ebx
    mov r9, r14
    call g_compare
    jne 3f
    add r12, rbx
    sub r13, rbx
    jmp 2b
3:  mov r12, rsi
    say "err mismatch"
    mov rax, r12
    jmp g_hex

# digest N LBA COUNT: ok DIGEST
g_cmd_digest:
    call g_span
    movabs r14, DIGEST
2:  call g_chunk
    jz 3f
    call g_read_chunk
    test al, al
    jnz g_io_error
    mov edi, BUF
    mov ecx, ebx
    mov rax, r14
    call g_digest
    mov r14, rax
    add r12, rbx
    sub r13, rbx
    jmp 2b
3:  call g_ok
    mov rax, r14
    jmp g_hex

# zero N LBA COUNT [UNMAP]: ok COUNT
g_cmd_zero:
    bt dword ptr [r15 + D_FEAT], F_ZEROES
    jnc g_unsupported
    mov eax, 13
    mov ecx, 48                         # max_write_zeroes_sectors
    jmp g_ranges

# discard N LBA COUNT: ok COUNT
g_cmd_discard:
    bt dword ptr [r15 + D_FEAT], F_DISCARD
    jnc g_unsupported
    mov qword ptr [rbp + V_ARGV + 32], 0
    mov eax, 11
    mov ecx, 36                         # max_discard_sectors

# One segment a request, of at most the device's limit, which stands at ecx of its configuration; type eax.
g_ranges:
    push rax
    add rcx, [r15 + D_DEVICE]
    mov r14d, [rcx]
    call 4f
    pop rax
    ret
4:  mov r12, [rbp + V_ARGV + 16]
    mov r13, [rbp + V_ARGV + 24]
    test r14d, r14d
    jz g_unsupported
2:  test r13, r13
    jz g_done
    mov rbx, r14
    cmp rbx, r13
    jbe 3f
    mov rbx, r13
3:  mov edx, BUF
    mov [rdx], r12
    mov [rdx + 8], ebx
    mov rax, [rbp + V_ARGV + 32]
    and eax, 1
    mov [rdx + 12], eax
    mov edi, [rsp + 8]
    xor esi, esi
    mov ecx, 16
    xor r8d, r8d
    call g_request
    test al, al
    jnz g_io_error
    add r12, rbx
    sub r13, rbx
    jmp 2b

# flush N: ok
g_cmd_flush:
    xor r12d, r12d
    bt dword ptr [r15 + D_FEAT], F_FLUSH
    jnc g_unsupported
    mov edi, 4
    xor esi, esi
    xor ecx, ecx
    call g_request
    test al, al
    jnz g_io_error
    jmp g_ok

# loop N LBA SEED: until a byte arrives, write generation 1, 2, ... one sector each, into a ring of 64 sectors:
# generation g at LBA + g % 64, pattern of seed + g with the first word g and the second the seed. ok COUNT STATUS
g_cmd_loop:
    xor r12d, r12d
    mov r13, [rbp + V_ARGV + 16]
    mov r14, [rbp + V_ARGV + 24]
    say "ok running\n"
2:  call g_rx_ready
    jnz 4f
    lea rax, [r12 + 1]
    and eax, 63
    lea rbx, [r13 + rax]
    mov edi, BUF
    mov rsi, rbx
    mov ecx, 1
    lea r9, [r14 + r12 + 1]
    call g_fill
    mov edi, BUF
    lea rax, [r12 + 1]
    mov [rdi], rax
    mov [rdi + 8], r14
    mov rsi, rbx
    mov rdx, rdi
    mov edi, 1
    mov ecx, 512
    xor r8d, r8d
    call g_request
    test al, al
    jnz g_io_error
    inc r12
    jmp 2b
4:  call g_getc
    call g_ok
    mov rax, r12
    jmp g_hex

# wants MASK: features the driver accepts from now on; all devices are set up again. ok
g_cmd_wants:
    mov rax, [rbp + V_ARGV + 8]
    mov [rbp + V_WANTS], rax
    mov r15d, DEVS
    mov ebx, [rbp + V_NDEV]
2:  test ebx, ebx
    jz g_ok
    call g_setup
    add r15d, DEV_SIZE
    dec ebx
    jmp 2b

# echo NUMBER: ok pong NUMBER
g_cmd_echo:
    say "ok pong"
    mov rax, [rbp + V_ARGV + 8]
    jmp g_hex
