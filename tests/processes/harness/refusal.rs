//! Kernels that lack system calls, and sandboxes that refuse them.

use libc::{c_long, sock_filter, sock_fprog};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Stands for prctl(2) with PR_SET_SECCOMP, and for nothing else of that call: a kernel
/// without filters.
pub const SET_SECCOMP: c_long = -1;

/// Has the kernel answer `calls` with `errno` from the start of `command` on.
pub fn refuse(command: &mut Command, calls: &'static [c_long], errno: i32) {
    // SAFETY: system calls on data on the stack.
    unsafe { command.pre_exec(move || install_filter(calls, errno as u32)) };
}

/// Where seccomp_data has the number of the call, and its first argument on a machine
/// that is little endian.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

fn install_filter(calls: &[c_long], errno: u32) -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    let refusal = |errno| step(RETURN, libc::SECCOMP_RET_ERRNO | errno, 0, 0);
    // No heap: between fork and exec.
    let mut program = [step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0); 64];
    let mut steps = program.iter_mut();
    let mut push = |step| *steps.next().expect("room") = step;
    push(step(LOAD, NUMBER, 0, 0));
    for &call in calls {
        if call == SET_SECCOMP {
            push(step(IF_EQUAL, libc::SYS_prctl as u32, 0, 4));
            push(step(LOAD, FIRST_ARGUMENT, 0, 0));
            push(step(IF_EQUAL, libc::PR_SET_SECCOMP as u32, 0, 1));
            push(refusal(libc::EINVAL as u32));
            push(step(LOAD, NUMBER, 0, 0));
        } else {
            push(step(IF_EQUAL, call as u32, 0, 1));
            push(refusal(errno));
        }
    }
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a valid filter that outlives the calls.
    let answers = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter),
        ]
    };
    if answers == [0, 0] { Ok(()) } else { Err(io::Error::last_os_error()) }
}
