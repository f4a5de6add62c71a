# The boot sector by which the agent finds out whether KVM really works (probe.py has its bytes).
# It goes to protected mode, takes 18 timer interrupts there, and tells QEMU to exit with 99. A host
# whose KVM is broken in the way of nested ones gets through the firmware but not through this.
# Assemble: as --32 probe.S -o probe.o && ld -m elf_i386 -Ttext 0 --oformat binary probe.o -o probe.bin
.code16
.org 0
start:
  cli
  xorw %ax,%ax
  movw %ax,%ds
  movw %ax,%es
  movw %ax,%ss
  movw $0x7c00,%sp
  # IDT at 0x1000: 16 gates, all to the handler
  movw $0x1000,%di
  movw $16,%cx
1: movw $(0x7c00+handler),%ax
  stosw
  movw $8,%ax
  stosw
  movw $0x8e00,%ax
  stosw
  xorw %ax,%ax
  stosw
  loop 1b
  lgdtl 0x7c00+gdtr
  lidtl 0x7c00+idtr
  movl %cr0,%eax
  orb $1,%al
  movl %eax,%cr0
  ljmp $8,$(0x7c00+pm)
.code32
pm:
  movw $16,%ax
  movw %ax,%ds
  movw %ax,%es
  movw %ax,%ss
  movl $0x7c00,%esp
  xorl %ebx,%ebx
  sti
2: hlt
  cmpl $18,%ebx
  jb 2b
  movb $0x31,%al
  outb %al,$0xf4
  hlt
handler:
  pushal
  movb $0x20,%al
  outb %al,$0x20
  popal
  incl %ebx
  iret
.align 8
gdt: .quad 0
  .quad 0x00cf9a000000ffff
  .quad 0x00cf92000000ffff
gdtr: .word 23
  .long 0x7c00+gdt
idtr: .word 127
  .long 0x1000
