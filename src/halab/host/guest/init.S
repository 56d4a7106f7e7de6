# The probe guest's only program: x86-64 Linux, static, writes the marker to the console and powers off.
    .code64
    .globl _start
_start:
    mov $1, %eax                 # write(1, marker, length)
    mov $1, %edi
    lea marker(%rip), %rsi
    mov $(end - marker), %edx
    syscall
    mov $169, %eax               # reboot(magic, magic2, RESTART): qemu runs with -no-reboot
    mov $0xfee1dead, %edi
    mov $0x28121969, %esi
    mov $0x01234567, %edx
    syscall
1:  jmp 1b
marker:
    .ascii "halab-probe-guest-lives\n"
end:
