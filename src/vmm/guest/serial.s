# COM1, polled: characters, hexadecimal numbers, command lines; sleeps between polls and watches the power button.

.set COM1, 0x3f8

g_serial_init:
    out8 COM1+1, 0                      # no interrupts
    out8 COM1+3, 0x80
    out8 COM1+0, 1                      # 115200 8n1
    out8 COM1+1, 0
    out8 COM1+3, 3
    out8 COM1+2, 7                      # FIFOs on and empty
    out8 COM1+4, 3
    ret

# Prints al; keeps everything else.
g_putc:
    push rdx
    push rax
    mov dx, COM1 + 5
2:  in al, dx
    test al, 0x20
    jz 2b
    pop rax
    mov dx, COM1
    out dx, al
    pop rdx
    ret

g_newline:
    mov al, 10
    jmp g_putc

# Prints the text behind the call and returns behind it.
g_say:
    pop rsi
2:  lodsb
    test al, al
    jz 3f
    call g_putc
    jmp 2b
3:  push rsi
    ret

# Prints a blank and rax in hexadecimal without leading zeros; keeps rbx rdi rbp r8-r15.
g_hex:
    mov rdx, rax
    mov al, 32
    call g_putc
    mov ecx, 60
2:  mov rax, rdx                        # find the first digit
    shr rax, cl
    test al, 15
    jnz 3f
    test ecx, ecx
    jz 3f
    sub ecx, 4
    jmp 2b
3:  mov rax, rdx
    shr rax, cl
    and eax, 15
    add al, 48
    cmp al, 58
    jb 4f
    add al, 39
4:  call g_putc
    sub ecx, 4
    jns 3b
    ret

# Zero flag clear when a byte waits.
g_rx_ready:
    mov dx, COM1 + 5
    in al, dx
    test al, 1
    ret

# Waits for a byte: al.
g_getc:
    mov ecx, 200                        # awake for a while, then asleep for 1 ms at a time
2:  call g_rx_ready
    jnz 4f
    dec ecx
    jnz 2b
    call g_power_poll
    mov edx, 0xfee00380
    mov dword ptr [rdx], 1000000
    sti
    hlt
    cli
    mov ecx, 4
    jmp 2b
4:  mov dx, COM1
    in al, dx
    ret

# Reads a line into LINE and splits it: V_NARG words, V_ARGP pointers, V_ARGV numbers (0 where no number).
g_read_line:
    push rbx
    mov ebx, LINE
2:  call g_getc
    cmp al, 13
    je 3f
    cmp al, 10
    je 3f
    cmp ebx, LINE + 250                 # the rest of a long line is dropped
    jae 2b
    mov [rbx], al
    inc ebx
    jmp 2b
3:  mov byte ptr [rbx], 0
    mov dword ptr [rbp + V_NARG], 0
    lea rdi, [rbp + V_ARGV]
    xor eax, eax
    mov ecx, 8
    rep stosq
    mov esi, LINE
4:  mov al, [rsi]                       # to the next word
    test al, al
    jz 9f
    cmp al, 32
    ja 5f
    mov byte ptr [rsi], 0
    inc rsi
    jmp 4b
5:  mov ecx, [rbp + V_NARG]
    cmp ecx, 8
    jae 9f
    mov [rbp + rcx * 8 + V_ARGP], rsi
    inc dword ptr [rbp + V_NARG]
    xor edx, edx
6:  movzx eax, byte ptr [rsi]
    cmp al, 32
    jbe 8f
    inc rsi
    sub al, 48
    jb 6b
    cmp al, 10
    jb 7f
    sub al, 39                          # a-f
    cmp al, 10
    jb 6b
    cmp al, 15
    ja 6b
7:  shl rdx, 4
    or rdx, rax
    jmp 6b
8:  mov [rbp + rcx * 8 + V_ARGV], rdx
    jmp 4b
9:  pop rbx
    ret

# Compares the texts at rsi and rdi; zero flag set when equal.
g_streq:
    mov al, [rsi]
    cmp al, [rdi]
    jne 3f
    inc rsi
    inc rdi
    test al, al
    jnz g_streq
3:  ret
