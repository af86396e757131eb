# PCI bus 0 through 0xcf8/0xcfc: finds virtio-blk functions, gives them addresses, walks their capabilities.

.set MMIO, 0xc0000000           # 1 MiB for each device, no firmware gave any out

# Device table entry, relative to r15.
.set D_CFG,    0x00             # configuration address of the function
.set D_COMMON, 0x08             # common configuration
.set D_NOTIFY, 0x10             # notification area
.set D_MULT,   0x18             # its multiplier
.set D_DEVICE, 0x20             # device configuration
.set D_MSIX,   0x28             # MSI-X table, 0: none
.set D_MSICAP, 0x30             # offset of the MSI-X capability
.set D_OFFER,  0x38             # features offered
.set D_FEAT,   0x40             # features negotiated
.set D_SIZE,   0x48             # descriptors in queue 0
.set D_BELL,   0x50             # address to write for a notification
.set D_QUEUE,  0x58             # ring memory
.set D_AVAIL,  0x60             # avail index, 16 bits
.set D_BARS,   0x70             # six addresses, 32 bits each
.set DEV_SIZE, 0x100

# eax = dword at offset ecx of the function of r15.
g_cfg_read:
    mov eax, [r15 + D_CFG]
    or eax, ecx
    and al, 0xfc
    mov dx, 0xcf8
    out dx, eax
    mov dx, 0xcfc
    in eax, dx
    ret

# Dword at offset ecx of the function of r15 = eax.
g_cfg_write:
    push rax
    mov eax, [r15 + D_CFG]
    or eax, ecx
    and al, 0xfc
    mov dx, 0xcf8
    out dx, eax
    mov dx, 0xcfc
    pop rax
    out dx, eax
    ret

# Fills the device table, in slot order.
g_scan:
    push rbx
    mov r15d, DEVS
    mov ebx, 0x80000000
2:  mov [r15 + D_CFG], rbx
    xor ecx, ecx
    call g_cfg_read
    cmp eax, 0x10421af4
    jne 3f
    call g_assign
    call g_capabilities
    cmp qword ptr [r15 + D_COMMON], 0
    je 3f
    mov eax, [rbp + V_NDEV]
    shl eax, 16
    add eax, QUEUES
    mov [r15 + D_QUEUE], rax
    inc dword ptr [rbp + V_NDEV]
    call g_setup
    add r15d, DEV_SIZE
    cmp dword ptr [rbp + V_NDEV], 8
    jae 4f
3:  add ebx, 0x800
    cmp ebx, 0x80010000
    jb 2b
4:  pop rbx
    ret

# Gives every memory BAR of r15 an address and switches decoding and bus mastering on.
g_assign:
    push rbx
    push r12
    mov r12d, [rbp + V_NDEV]
    shl r12d, 20
    mov eax, MMIO
    add r12, rax                        # next free address
    xor ebx, ebx                        # BAR number
2:  lea ecx, [rbx * 4 + 0x10]
    mov eax, 0xffffffff
    call g_cfg_write
    call g_cfg_read
    test eax, eax
    jz 5f
    test al, 1                          # an I/O BAR stays off
    jnz 5f
    mov r8d, eax
    and eax, 0xfffffff0
    neg eax                             # size
    mov r9d, eax
    dec eax
    add r12d, eax                       # aligned to its size
    not eax
    and r12d, eax
    mov eax, r12d
    mov [r15 + rbx * 4 + D_BARS], eax
    call g_cfg_write
    add r12d, r9d
    test r8b, 4                         # 64-bit: the upper half is zero
    jz 5f
    inc ebx
    add ecx, 4
    xor eax, eax
    call g_cfg_write
5:  inc ebx
    cmp ebx, 6
    jb 2b
    mov ecx, 4
    call g_cfg_read
    and eax, 0xffff
    or eax, 0x406                       # memory, master, no INTx
    call g_cfg_write
    pop r12
    pop rbx
    ret

# Reads the capability list of r15 into the table.
g_capabilities:
    push rbx
    push r12
    mov r12d, 64                        # a looping list ends
    mov ecx, 0x34
    call g_cfg_read
    movzx ebx, al
2:  and ebx, 0xfc
    jz 9f
    dec r12d
    jz 9f
    mov ecx, ebx
    call g_cfg_read
    mov r8d, eax
    cmp al, 0x11
    je 5f
    cmp al, 9
    jne 8f
    lea ecx, [rbx + 4]                  # virtio: BAR, offset, multiplier
    call g_cfg_read
    movzx eax, al
    cmp eax, 5
    ja 8f
    mov r9d, [r15 + rax * 4 + D_BARS]
    test r9d, r9d
    jz 8f
    lea ecx, [rbx + 8]
    call g_cfg_read
    add r9d, eax
    lea ecx, [rbx + 16]
    call g_cfg_read
    mov ecx, r8d
    shr ecx, 24                         # cfg_type
    cmp ecx, 1
    jne 3f
    mov [r15 + D_COMMON], r9
3:  cmp ecx, 2
    jne 4f
    mov [r15 + D_NOTIFY], r9
    mov [r15 + D_MULT], eax
4:  cmp ecx, 4
    jne 8f
    mov [r15 + D_DEVICE], r9
    jmp 8f
5:  mov [r15 + D_MSICAP], rbx           # MSI-X: table BAR and offset
    lea ecx, [rbx + 4]
    call g_cfg_read
    mov ecx, eax
    and ecx, 7
    and eax, 0xfffffff8
    cmp ecx, 5
    ja 8f
    mov ecx, [r15 + rcx * 4 + D_BARS]
    test ecx, ecx
    jz 8f
    add eax, ecx
    mov [r15 + D_MSIX], rax
8:  shr r8d, 8
    movzx ebx, r8b
    jmp 2b
9:  pop r12
    pop rbx
    ret

# MSI-X of r15: entry 0 sends vector 0x30 to this CPU when ecx is 1, off when 0.
g_msix:
    mov r8, [r15 + D_MSIX]
    test r8, r8
    jz 3f
    push rcx
    mov dword ptr [r8], 0xfee00000
    mov dword ptr [r8 + 4], 0
    mov dword ptr [r8 + 8], 0x30
    mov dword ptr [r8 + 12], 0
    mov ecx, [r15 + D_MSICAP]
    call g_cfg_read
    and eax, 0x3fffffff
    pop r8
    shl r8d, 31
    or eax, r8d
    call g_cfg_write
3:  ret
