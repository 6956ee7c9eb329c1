//! What the filter does with calls that are not in it, asked in a child that
//! installs it.

use bustd::sys::sandbox::{Filter, Needs, Standing, enter};
use std::io::Error;

/// Runs `body` in a child behind the filter; how that ends.
fn behind_filter(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child makes system calls on its own stack and exits.
    match unsafe { libc::fork() } {
        0 => {
            let mut filter = Filter::default();
            let standing = enter(&Needs::default(), &mut filter);
            let is_installed = standing == Standing::Whole && filter.install().is_ok();
            let status = if is_installed { body() } else { 100 };
            // SAFETY: ends the child; runs nothing registered for the exit.
            unsafe { libc::_exit(status) }
        }
        pid => {
            let mut status = -1;
            // SAFETY: a valid integer to write to.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert!(libc::WIFEXITED(status), "wait status {status:#x}");
            libc::WEXITSTATUS(status)
        }
    }
}

fn errno_of(answer: i64) -> i32 {
    if answer < 0 { Error::last_os_error().raw_os_error().unwrap_or(101) } else { 0 }
}

/// A system call with arguments of zero.
fn call(number: i64) -> i64 {
    // SAFETY: none of those below follows a pointer to memory of ours.
    unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) }
}

#[test]
fn other_calls_are_answered_with_eperm() {
    for number in [libc::SYS_getuid, libc::SYS_socket, libc::SYS_execve, libc::SYS_prctl, libc::SYS_unlinkat]
    {
        assert_eq!(behind_filter(|| errno_of(call(number))), libc::EPERM, "call {number}");
    }
    assert_eq!(behind_filter(|| errno_of(call(libc::SYS_getpid))), 0);
}

/// The same number means another call there: 39 is getpid, and mkdir for 32 bits.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_other_kinds_are_answered_with_eperm() {
    const X32: i64 = 0x4000_0000;
    assert_eq!(behind_filter(|| errno_of(call(libc::SYS_getpid | X32))), libc::EPERM);
    let answer_of_32_bits = || {
        let mut answer: i64 = 39;
        // SAFETY: a system call that follows no pointer: address 0 is not mapped.
        // The kernel may leave anything in r8 to r11.
        unsafe {
            std::arch::asm!(
                "push rbx",
                "xor ebx, ebx",
                "int 0x80",
                "pop rbx",
                inout("rax") answer,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                in("ecx") 0, in("edx") 0,
            );
        }
        answer
    };
    let status = behind_filter(|| -(answer_of_32_bits() as i32));
    // A kernel may have none for 32 bits.
    assert!([libc::EPERM, libc::ENOSYS].contains(&status), "{status}");
}
