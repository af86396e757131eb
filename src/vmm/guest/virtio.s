# virtio-blk driver: set-up of queue 0, one request at a time, waiting with a limit.
# r15 is the device of the current command throughout; rbx rbp r12-r15 survive calls.

# Features known: SEG_MAX RO BLK_SIZE FLUSH DISCARD WRITE_ZEROES INDIRECT_DESC EVENT_IDX, and VERSION_1.
.set KNOWN, 0x30006264
.set F_FLUSH, 9
.set F_DISCARD, 13
.set F_ZEROES, 14
.set F_INDIRECT, 28
.set F_EVENT, 29

# Ring memory of a device, relative to D_QUEUE.
.set Q_AVAIL,  0x1000
.set Q_USED,   0x2000
.set Q_TABLE,  0x3000           # indirect descriptors
.set Q_HEAD,   0x4000           # request headers
.set Q_STATUS, 0x5000           # status bytes

# Resets and sets up the device of r15 (also recovers from anything): al = 0, or the step that failed.
g_setup:
    push rbx
    mov rbx, [r15 + D_COMMON]
    mov byte ptr [rbx + 0x14], 0
    mov ecx, 100000
2:  cmp byte ptr [rbx + 0x14], 0
    je 3f
    dec ecx
    jnz 2b
    mov al, 1
    jmp 9f
3:  mov byte ptr [rbx + 0x14], 1        # ACKNOWLEDGE, DRIVER
    mov byte ptr [rbx + 0x14], 3
    mov dword ptr [rbx], 1
    mov eax, [rbx + 4]
    mov [r15 + D_OFFER + 4], eax
    mov dword ptr [rbx], 0
    mov eax, [rbx + 4]
    mov [r15 + D_OFFER], eax
    and eax, KNOWN
    and eax, [rbp + V_WANTS]
    mov [r15 + D_FEAT], eax
    mov dword ptr [rbx + 8], 0
    mov [rbx + 12], eax
    mov eax, [r15 + D_OFFER + 4]
    and eax, 1                          # VERSION_1
    mov [r15 + D_FEAT + 4], eax
    mov dword ptr [rbx + 8], 1
    mov [rbx + 12], eax
    mov byte ptr [rbx + 0x14], 11       # FEATURES_OK
    mov al, [rbx + 0x14]
    test al, 8
    mov al, 2
    jz 9f
    mov word ptr [rbx + 0x16], 0        # queue 0, at most 256 descriptors
    movzx eax, word ptr [rbx + 0x18]
    cmp eax, 256
    jbe 4f
    mov eax, 256
4:  test eax, eax
    jz 8f
    mov [r15 + D_SIZE], eax
    mov [rbx + 0x18], ax
    mov rdi, [r15 + D_QUEUE]            # empty rings
    push rdi
    xor eax, eax
    mov ecx, 0x3000 / 8
    rep stosq
    mov word ptr [r15 + D_AVAIL], 0
    pop rdi
    mov [rbx + 0x20], edi
    mov dword ptr [rbx + 0x24], 0
    lea eax, [rdi + Q_AVAIL]
    mov [rbx + 0x28], eax
    mov dword ptr [rbx + 0x2c], 0
    lea eax, [rdi + Q_USED]
    mov [rbx + 0x30], eax
    mov dword ptr [rbx + 0x34], 0
    mov ax, [rbp + V_VECTOR]
    mov [rbx + 0x1a], ax
    cmp ax, 0                           # a vector: interrupts wanted
    je 5f
    mov word ptr [rdi + Q_AVAIL], 1
5:  movzx eax, word ptr [rbx + 0x1e]
    imul eax, [r15 + D_MULT]
    add rax, [r15 + D_NOTIFY]
    mov [r15 + D_BELL], rax
    movzx eax, byte ptr [rbp + V_ENABLE]
    mov [rbx + 0x1c], ax
    mov byte ptr [rbx + 0x14], 15       # DRIVER_OK
    xor eax, eax
    jmp 9f
8:  mov al, 3
9:  pop rbx
    ret

# Offers the chain with head eax: ring entry, index, doorbell. Asks for an interrupt only where V_VECTOR is one.
g_offer:
    mov rdi, [r15 + D_QUEUE]
    mov edx, [r15 + D_SIZE]
    dec edx
    movzx ecx, word ptr [r15 + D_AVAIL]
    and edx, ecx
    mov [rdi + rdx * 2 + Q_AVAIL + 4], ax
    inc ecx
    mov [r15 + D_AVAIL], cx
    mov edx, [r15 + D_SIZE]             # used_event: far away
    lea eax, [rcx + 0x4000]
    mov [rdi + rdx * 2 + Q_AVAIL + 4], ax
    mfence
    mov [rdi + Q_AVAIL + 2], cx
    mfence
    mov rdx, [r15 + D_BELL]
    mov word ptr [rdx], 0
    ret

# Waits until all that was offered is used: zero flag set, or clear after V_LIMIT ticks.
g_wait:
    push rbx
    mov rdi, [r15 + D_QUEUE]
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov rbx, rax
2:  mov cx, [rdi + Q_USED + 2]
    cmp cx, [r15 + D_AVAIL]
    je 3f
    pause
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, rbx
    cmp rax, [rbp + V_LIMIT]
    jb 2b
    or eax, 1
3:  pop rbx
    ret

# Writes one descriptor at r9: address rax, length ecx, flags r8d, next r10d; r9 moves on.
g_desc:
    mov [r9], rax
    mov [r9 + 8], ecx
    mov [r9 + 12], r8w
    mov [r9 + 14], r10w
    add r9, 16
    ret

# One request: type edi, sector rsi, data rdx, bytes ecx, r8d = 2 when the device writes the data.
# al = status byte, 0xff when none came. Data goes in pieces of 32 KiB, indirectly where negotiated.
g_request:
    push rbx
    push r12
    push r13
    push r14
    mov rbx, [r15 + D_QUEUE]
    mov [rbx + Q_HEAD], edi
    mov dword ptr [rbx + Q_HEAD + 4], 0
    mov [rbx + Q_HEAD + 8], rsi
    mov byte ptr [rbx + Q_STATUS], 0xff
    mov r12, rdx
    mov r13d, ecx
    mov r14d, r8d
    mov r9, rbx
    bt dword ptr [r15 + D_FEAT], F_INDIRECT
    jnc 2f
    lea r9, [rbx + Q_TABLE]
2:  push r9
    lea rax, [rbx + Q_HEAD]
    mov ecx, 16
    mov r8d, 1
    mov r10d, 1
    call g_desc
3:  test r13d, r13d
    jz 5f
    mov ecx, r13d
    cmp ecx, 0x8000
    jbe 4f
    mov ecx, 0x8000
4:  mov rax, r12
    add r12, rcx
    sub r13d, ecx
    lea r8d, [r14 + 1]
    inc r10d
    call g_desc
    jmp 3b
5:  lea rax, [rbx + Q_STATUS]
    mov ecx, 1
    mov r8d, 2
    call g_desc
    mov word ptr [r9 - 2], 0
    pop rax
    bt dword ptr [r15 + D_FEAT], F_INDIRECT
    jnc 6f
    mov rcx, r9
    sub rcx, rax
    mov r9, rbx
    mov r8d, 4
    xor r10d, r10d
    call g_desc
6:  xor eax, eax
    call g_offer
    call g_wait
    mov al, 0xff
    jnz 7f
    mov al, [rbx + Q_STATUS]
7:  pop r14
    pop r13
    pop r12
    pop rbx
    ret

# The pattern: word i of sector LBA is b + i * MIX3, where b = x ^ x >> 29, x = seed * MIX1 ^ (LBA + 1) * MIX2.
.set MIX1, 0x9e3779b97f4a7c15
.set MIX2, 0xd1b54a32d192ed03
.set MIX3, 0xbf58476d1ce4e5b9

# rax = b of sector rsi with seed r9, rdx = MIX3.
g_base:
    movabs rax, MIX1
    imul rax, r9
    movabs rdx, MIX2
    lea r10, [rsi + 1]
    imul r10, rdx
    xor rax, r10
    mov r10, rax
    shr r10, 29
    xor rax, r10
    movabs rdx, MIX3
    ret

# Fills ecx sectors at rdi, the first of them sector rsi, with seed r9.
g_fill:
    call g_base
    mov r8d, 64
2:  stosq
    add rax, rdx
    dec r8d
    jnz 2b
    inc rsi
    dec ecx
    jnz g_fill
    ret

# Compares ecx sectors at rdi with the pattern: zero flag set when equal, else rsi is the first bad sector.
g_compare:
    call g_base
    mov r8d, 64
2:  cmp rax, [rdi]
    jne 3f
    add rdi, 8
    add rax, rdx
    dec r8d
    jnz 2b
    inc rsi
    dec ecx
    jnz g_compare
3:  ret

# Digest: for each 64-bit word, d = rotate_left(d ^ word, 23) * MIX1; ecx sectors at rdi, d in and out in rax.
.set DIGEST, 0xcbf29ce484222325
g_digest:
    shl ecx, 6
    movabs rdx, MIX1
2:  xor rax, [rdi]
    rol rax, 23
    imul rax, rdx
    add rdi, 8
    dec ecx
    jnz 2b
    ret
