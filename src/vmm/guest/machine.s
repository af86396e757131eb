# The machine's own switches: power button, power off, reset, exit.

# Power management ports at 0x600; a bare ICH9 must be told so first. The button may then set its bit.
g_power_init:
    mov r15d, DEVS
    mov dword ptr [r15 + D_CFG], 0x8000f800
    xor ecx, ecx
    call g_cfg_read
    cmp eax, 0x29188086
    jne 2f
    mov ecx, 0x40
    mov eax, 0x601
    call g_cfg_write
    mov ecx, 0x44
    mov eax, 0x80
    call g_cfg_write
2:  mov dx, 0x600
    in ax, dx
    cmp ax, 0xffff
    je 3f
    mov byte ptr [rbp + V_PM], 1
    mov dx, 0x602
    mov ax, 0x100
    out dx, ax
3:  ret

# al = 1 when the power button was pressed.
g_power_button:
    xor eax, eax
    cmp byte ptr [rbp + V_PM], 0
    je 3f
    mov dx, 0x600
    in ax, dx
    shr eax, 8
    and eax, 1
3:  ret

# Obeys the power button.
g_power_poll:
    call g_power_button
    test al, al
    jnz g_power_off
    ret

# S5 with the usual sleep types, then the exit port.
g_power_off:
    mov dx, 0x604
    mov ax, 0x2000
    out dx, ax
    mov ax, 0x3400
    out dx, ax
    out8 0xf4, 0
2:  hlt
    jmp 2b

# power: ok 1 when the button was pressed
g_cmd_power:
    call g_ok
    call g_power_button
    movzx eax, al
    jmp g_hex

# reset: through the keyboard controller, then 0xcf9
g_cmd_reset:
    out8 0x64, 0xfe
    mov ecx, 1000
2:  pause
    dec ecx
    jnz 2b
    out8 0xcf9, 2
    out8 0xcf9, 6
2:  hlt
    jmp 2b

# exit CODE
g_cmd_exit:
    mov rax, [rbp + V_ARGV + 8]
    mov dx, 0xf4
    out dx, al
2:  hlt
    jmp 2b
