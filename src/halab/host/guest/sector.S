# A boot sector that enters long mode and from there writes 0x2a to port 0xf4 (isa-debug-exit: qemu exits with 85).
    .code16
    .globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    mov $0x1000, %di             # page tables at 0x1000: PML4, PDPT, one 2 MiB page
    xor %eax, %eax
    mov $0xc00, %cx
    cld
    rep stosl
    movl $0x2003, 0x1000
    movl $0x3003, 0x2000
    movl $0x0083, 0x3000
    mov %cr4, %eax
    or $0x20, %eax               # PAE
    mov %eax, %cr4
    mov $0x1000, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx        # EFER.LME
    rdmsr
    or $0x100, %eax
    wrmsr
    lgdt gdtr - _start + 0x7c00
    mov %cr0, %eax
    or $0x80000001, %eax         # paging and protection
    mov %eax, %cr0
    ljmp $8, $(long - _start + 0x7c00)
    .code64
long:
    mov $0x2a, %eax
    out %al, $0xf4
1:  hlt
    jmp 1b
    .balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000
gdtr:
    .word gdtr - gdt - 1
    .long gdt - _start + 0x7c00
    .org 510
    .word 0xaa55
