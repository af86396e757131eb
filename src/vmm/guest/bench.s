# Rings kept full: chains are built once, then a batch is `avail.idx += depth`, doorbell, wait; about ten instructions.

# bench N r|w DEPTH BATCHES poll|irq SPAN: 4 KiB requests at DEPTH random places below sector SPAN.
# DEPTH is a power of two, three descriptors each must fit the queue. ok REQUESTS TICKS IRQS
g_cmd_bench:
    mov r12, [rbp + V_ARGV + 24]        # depth
    mov r13, [rbp + V_ARGV + 32]        # batches
    lea rax, [r12 - 1]
    test rax, r12
    jnz g_bench_usage
    lea rax, [r12 + r12 * 2]
    mov ecx, [r15 + D_SIZE]
    cmp rax, rcx
    ja g_bench_usage
    cmp qword ptr [rbp + V_ARGV + 48], 8
    jb g_bench_usage
    test r12, r12
    jz g_bench_usage
    test r13, r13
    jz g_bench_usage
    xor ebx, ebx                        # 1: interrupts
    mov rax, [rbp + V_ARGP + 40]
    cmp byte ptr [rax], 'i'
    jne 2f
    cmp qword ptr [r15 + D_MSIX], 0
    je g_unsupported
    inc ebx
    mov dword ptr [rbp + V_VECTOR], 0
    mov ecx, 1
    call g_msix
2:  call g_setup
    mov qword ptr [rbp + V_IRQS], 0
    call g_bench_build
    rdtsc
    shl rdx, 32
    or rax, rdx
    push rax
    call g_bench_run
    rdtsc
    shl rdx, 32
    or rax, rdx
    pop rcx
    sub rax, rcx
    mov r14, rax                        # ticks
    mov rdx, [r15 + D_QUEUE]            # the statuses of the last batch
    xor r8d, r8d
    mov ecx, r12d
3:  or r8b, [rdx + Q_STATUS]
    inc rdx
    dec ecx
    jnz 3b
    mov r13, r8
    mov dword ptr [rbp + V_VECTOR], 0xffff
    xor ecx, ecx
    call g_msix
    call g_setup
    mov rax, r13
    mov r12, [rbp + V_ARGV + 24]
    test al, al
    jnz g_io_error
    call g_ok
    mov rax, r12
    imul rax, [rbp + V_ARGV + 32]
    call g_hex
    mov rax, r14
    call g_hex
    mov rax, [rbp + V_IRQS]
    jmp g_hex
g_bench_usage:
    say "err usage"
    ret

# Chain i: descriptors 3i..3i+2, header i, 4 KiB at BENCH + i * 4 KiB, status i; the whole ring names them in turn.
g_bench_build:
    push rbx
    mov rbx, [r15 + D_QUEUE]
    mov r9, rbx
    xor r11d, r11d
    movabs r14, 0x5851f42d4c957f2d      # LCG state
2:  mov r10d, r11d
    shl r10d, 4
    lea rdi, [rbx + r10 + Q_HEAD]
    xor eax, eax
    mov r8d, 2
    mov rcx, [rbp + V_ARGP + 16]
    cmp byte ptr [rcx], 'w'
    jne 3f
    inc eax
    xor r8d, r8d
3:  mov esi, r8d
    mov [rdi], eax
    mov dword ptr [rdi + 4], 0
    movabs rax, 6364136223846793005
    imul r14, rax
    add r14, 12345677
    mov rax, r14
    shr rax, 33
    xor edx, edx
    mov rcx, [rbp + V_ARGV + 48]
    shr rcx, 3
    div rcx
    shl rdx, 3
    mov [rdi + 8], rdx
    lea r10d, [r11 + r11 * 2 + 1]
    mov rax, rdi
    mov ecx, 16
    mov r8d, 1
    call g_desc
    inc r10d
    mov eax, r11d
    shl eax, 12
    add eax, BENCH
    mov ecx, 4096
    lea r8d, [rsi + 1]
    call g_desc
    lea rax, [rbx + r11 + Q_STATUS]
    mov byte ptr [rax], 0xff
    mov ecx, 1
    mov r8d, 2
    xor r10d, r10d
    call g_desc
    inc r11d
    cmp r11d, r12d
    jb 2b
    xor ecx, ecx
4:  lea eax, [r12 - 1]
    and eax, ecx
    lea eax, [rax + rax * 2]
    mov [rbx + rcx * 2 + Q_AVAIL + 4], ax
    inc ecx
    cmp ecx, [r15 + D_SIZE]
    jb 4b
    pop rbx
    ret

# r13 batches of r12; ebx: 1 sleep until the interrupt, 0 look at the ring.
g_bench_run:
    mov rdi, [r15 + D_QUEUE]
    mov rdx, [r15 + D_BELL]
    mov esi, [r15 + D_SIZE]
    lea rsi, [rdi + rsi * 2 + Q_AVAIL + 4]
    add rdi, Q_AVAIL
    xor ecx, ecx
    test ebx, ebx
    jnz 4f
2:  add ecx, r12d
    lea eax, [rcx + 0x4000]
    mov [rsi], ax                       # used_event: never
    mov [rdi + 2], cx
    mov word ptr [rdx], 0
3:  cmp cx, [rdi + Q_USED - Q_AVAIL + 2]
    jne 3b
    dec r13
    jnz 2b
    ret
4:  add ecx, r12d
    lea eax, [rcx - 1]
    mov [rsi], ax                       # used_event: the last of the batch
    mov [rdi + 2], cx
    mov word ptr [rdx], 0
5:  cmp cx, [rdi + Q_USED - Q_AVAIL + 2]
    je 6f
    sti
    hlt
    cli
    jmp 5b
6:  dec r13
    jnz 4b
    sti                                 # a last interrupt may be waiting
    nop
    cli
    ret
