//! What differs from one kind of machine to another: how the program is entered, how
//! the kernel is called and by which numbers, and what has to be done before bytes
//! that were written are executed.
//!
//! At the entry the stack pointer points to what the kernel has put there (see
//! [`unpack`](crate::unpack::unpack)). The program is to find that just as it was, and
//! 0 in the register that may hold a function to be called at the end.
//!
//! Numbers: arch/*/entry/syscalls and include/uapi/asm-generic/unistd.h of Linux.

#[cfg(target_arch = "aarch64")]
use core::arch::asm;
use core::arch::global_asm;

pub use numbers::*;

unsafe extern "C" {
    /// Calls the kernel, which answers with a number between −4095 and −1 if it refuses.
    ///
    /// # Safety
    /// That of the call.
    pub fn system_call(number: usize, arguments: &[usize; 6]) -> isize;
}

/// A system call of up to three arguments.
///
/// # Safety
/// That of the call.
pub unsafe fn call(number: usize, first: usize, second: usize, third: usize) -> isize {
    // SAFETY: the caller's.
    unsafe { system_call(number, &[first, second, third, 0, 0, 0]) }
}

/// mmap(2).
///
/// # Safety
/// That of the call.
pub unsafe fn map(start: usize, len: usize, rights: usize, flags: usize, file: usize) -> isize {
    let arguments = [start, len, rights, flags, file, 0];
    // SAFETY: the caller's. The oldest machines' call takes the address of its arguments.
    unsafe {
        if cfg!(any(target_arch = "x86", target_arch = "s390x")) {
            call(MMAP, arguments.as_ptr().addr(), 0, 0)
        } else {
            system_call(MMAP, &arguments)
        }
    }
}

// ------------------------------------------------------------------- x86_64

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const GETPID: usize = 39;
    pub const EXIT_GROUP: usize = 231;
    pub const MEMFD_CREATE: usize = 319;
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".section .text.load, \"ax\"",
    ".globl load",
    "load:",
    "mov rdi, rsp",
    "call {unpack}",
    "xor edx, edx",
    "jmp rax",
    ".globl system_call",
    "system_call:",
    "mov rax, rdi",
    "mov r11, rsi",
    "mov rdi, [r11]",
    "mov rsi, [r11 + 8]",
    "mov rdx, [r11 + 16]",
    "mov r10, [r11 + 24]",
    "mov r8, [r11 + 32]",
    "mov r9, [r11 + 40]",
    "syscall",
    "ret",
    unpack = sym crate::unpack::unpack,
);

// --------------------------------------------------------------------- i686

#[cfg(target_arch = "x86")]
mod numbers {
    pub const WRITE: usize = 4;
    pub const CLOSE: usize = 6;
    pub const GETPID: usize = 20;
    pub const MMAP: usize = 90;
    pub const MUNMAP: usize = 91;
    pub const MPROTECT: usize = 125;
    pub const RT_SIGPROCMASK: usize = 175;
    pub const EXIT_GROUP: usize = 252;
    pub const MEMFD_CREATE: usize = 356;
}

#[cfg(target_arch = "x86")]
global_asm!(
    ".section .text.load, \"ax\"",
    ".globl load",
    "load:",
    "mov eax, esp",
    // A multiple of 16 once the argument is there.
    "sub esp, 12",
    "push eax",
    "call {unpack}",
    "add esp, 16",
    "xor edx, edx",
    "jmp eax",
    ".globl system_call",
    "system_call:",
    "push ebx",
    "push esi",
    "mov eax, [esp + 12]",
    "mov edx, [esp + 16]",
    "mov ebx, [edx]",
    "mov ecx, [edx + 4]",
    "mov esi, [edx + 12]",
    "mov edx, [edx + 8]",
    "int 0x80",
    "pop esi",
    "pop ebx",
    "ret",
    unpack = sym crate::unpack::unpack,
);

// -------------------------------------------------------- aarch64 and riscv64

#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
mod numbers {
    pub const CLOSE: usize = 57;
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const GETPID: usize = 172;
    pub const MUNMAP: usize = 215;
    pub const MMAP: usize = 222;
    pub const MPROTECT: usize = 226;
    #[cfg(target_arch = "riscv64")]
    pub const RISCV_FLUSH_ICACHE: usize = 259;
    pub const MEMFD_CREATE: usize = 279;
}

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".section .text.load, \"ax\"",
    ".globl load",
    "load:",
    "mov x0, sp",
    "bl {unpack}",
    "mov x16, x0",
    "mov x0, #0",
    "br x16",
    ".globl system_call",
    "system_call:",
    "mov x8, x0",
    "mov x9, x1",
    "ldp x0, x1, [x9]",
    "ldp x2, x3, [x9, #16]",
    "ldp x4, x5, [x9, #32]",
    "svc #0",
    "ret",
    unpack = sym crate::unpack::unpack,
);

#[cfg(target_arch = "riscv64")]
global_asm!(
    ".section .text.load, \"ax\"",
    ".globl load",
    "load:",
    "mv a0, sp",
    "call {unpack}",
    "mv t0, a0",
    "li a0, 0",
    "jr t0",
    ".globl system_call",
    "system_call:",
    "mv a7, a0",
    "mv t0, a1",
    "ld a0, 0(t0)",
    "ld a1, 8(t0)",
    "ld a2, 16(t0)",
    "ld a3, 24(t0)",
    "ld a4, 32(t0)",
    "ld a5, 40(t0)",
    "ecall",
    "ret",
    unpack = sym crate::unpack::unpack,
);

// ---------------------------------------------------------------------- arm

#[cfg(target_arch = "arm")]
mod numbers {
    pub const WRITE: usize = 4;
    pub const CLOSE: usize = 6;
    pub const GETPID: usize = 20;
    pub const MUNMAP: usize = 91;
    pub const MPROTECT: usize = 125;
    pub const RT_SIGPROCMASK: usize = 175;
    /// Counts in pages where the other begins, which makes no difference to 0.
    pub const MMAP: usize = 192;
    pub const EXIT_GROUP: usize = 248;
    pub const MEMFD_CREATE: usize = 385;
    pub const CACHEFLUSH: usize = 0xf_0002;
}

// Of the older kind of instructions, whichever the rest is of: the linker looks after
// calls, but does not tell the kernel that an entry is of the other.
#[cfg(target_arch = "arm")]
global_asm!(
    ".section .text.load, \"ax\"",
    ".arm",
    ".p2align 2",
    ".globl load",
    ".type load, %function",
    "load:",
    "mov r0, sp",
    "bl {unpack}",
    "mov r12, r0",
    "mov r0, #0",
    "bx r12",
    ".globl system_call",
    ".type system_call, %function",
    "system_call:",
    "push {{r4, r5, r7, lr}}",
    "mov r7, r0",
    "mov r12, r1",
    "ldr r0, [r12]",
    "ldr r1, [r12, #4]",
    "ldr r2, [r12, #8]",
    "ldr r3, [r12, #12]",
    "ldr r4, [r12, #16]",
    "ldr r5, [r12, #20]",
    "svc #0",
    "pop {{r4, r5, r7, pc}}",
    unpack = sym crate::unpack::unpack,
);

// --------------------------------------------------------------------- mips

#[cfg(target_arch = "mips")]
mod numbers {
    pub const WRITE: usize = 4004;
    pub const CLOSE: usize = 4006;
    pub const GETPID: usize = 4020;
    pub const MMAP: usize = 4090;
    pub const MUNMAP: usize = 4091;
    pub const MPROTECT: usize = 4125;
    pub const CACHEFLUSH: usize = 4147;
    pub const RT_SIGPROCMASK: usize = 4195;
    pub const EXIT_GROUP: usize = 4246;
    pub const MEMFD_CREATE: usize = 4354;
}

#[cfg(target_arch = "mips")]
global_asm!(
    ".section .text.load, \"ax\"",
    ".set push",
    ".set noreorder",
    ".globl load",
    "load:",
    "move $a0, $sp",
    // A function stores its arguments above its frame, and finds its own address in t9.
    "addiu $sp, $sp, -16",
    "lui $t9, %hi({unpack})",
    "addiu $t9, $t9, %lo({unpack})",
    "jalr $t9",
    "nop",
    "addiu $sp, $sp, 16",
    "move $t9, $v0",
    "jr $t9",
    "move $v0, $zero",
    ".globl system_call",
    "system_call:",
    "addiu $sp, $sp, -24",
    "move $v0, $a0",
    "move $t0, $a1",
    "lw $t1, 16($t0)",
    "lw $t2, 20($t0)",
    "sw $t1, 16($sp)",
    "sw $t2, 20($sp)",
    "lw $a0, 0($t0)",
    "lw $a1, 4($t0)",
    "lw $a2, 8($t0)",
    "lw $a3, 12($t0)",
    "syscall",
    // Whether it was refused.
    "beqz $a3, 1f",
    "nop",
    "negu $v0, $v0",
    "1:",
    "jr $ra",
    "addiu $sp, $sp, 24",
    ".set pop",
    unpack = sym crate::unpack::unpack,
);

// -------------------------------------------------------------------- s390x

#[cfg(target_arch = "s390x")]
mod numbers {
    pub const WRITE: usize = 4;
    pub const CLOSE: usize = 6;
    pub const GETPID: usize = 20;
    pub const MMAP: usize = 90;
    pub const MUNMAP: usize = 91;
    pub const MPROTECT: usize = 125;
    pub const RT_SIGPROCMASK: usize = 175;
    pub const EXIT_GROUP: usize = 248;
    pub const MEMFD_CREATE: usize = 350;
}

#[cfg(target_arch = "s390x")]
global_asm!(
    ".section .text.load, \"ax\"",
    ".globl load",
    "load:",
    "lgr %r2, %r15",
    // A function stores registers above its frame.
    "aghi %r15, -160",
    "brasl %r14, {unpack}",
    "aghi %r15, 160",
    "lgr %r1, %r2",
    "lghi %r2, 0",
    "br %r1",
    ".globl system_call",
    "system_call:",
    "lgr %r1, %r2",
    "lg %r2, 0(%r3)",
    "lg %r5, 24(%r3)",
    "lg %r4, 16(%r3)",
    "lg %r3, 8(%r3)",
    "svc 0",
    "br %r14",
    unpack = sym crate::unpack::unpack,
);

// ---------------------------------------------------------- written, then run

/// Has the processor execute what was written to these addresses, rather than what it
/// may still hold of what was there before. Some kinds of machine see to it themselves.
///
/// # Safety
/// The addresses are mapped.
#[cfg(any(target_arch = "x86_64", target_arch = "x86", target_arch = "s390x"))]
pub unsafe fn make_visible(_: usize, _: usize) {}

#[cfg(target_arch = "aarch64")]
pub unsafe fn make_visible(start: usize, end: usize) {
    // No machine has shorter lines.
    const LINE: usize = 16;
    let first = start & !(LINE - 1);
    // SAFETY: changes nothing of what memory holds.
    unsafe {
        for line in (first..end).step_by(LINE) {
            asm!("dc cvau, {}", in(reg) line);
        }
        asm!("dsb ish");
        for line in (first..end).step_by(LINE) {
            asm!("ic ivau, {}", in(reg) line);
        }
        asm!("dsb ish", "isb");
    }
}

#[cfg(any(target_arch = "arm", target_arch = "mips", target_arch = "riscv64"))]
pub unsafe fn make_visible(start: usize, end: usize) {
    // SAFETY: changes nothing of what memory holds.
    unsafe {
        #[cfg(target_arch = "arm")]
        call(CACHEFLUSH, start, end, 0);
        // Both of the processor's caches.
        #[cfg(target_arch = "mips")]
        call(CACHEFLUSH, start, end - start, 3);
        #[cfg(target_arch = "riscv64")]
        call(RISCV_FLUSH_ICACHE, start, end, 0);
    }
}
