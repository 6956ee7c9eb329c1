//! Kernels that lack system calls, and sandboxes that refuse them.

use libc::{c_long, sock_filter, sock_fprog};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the kernel answer `calls` with `errno` from the start of `command` on.
pub fn refuse(command: &mut Command, calls: &'static [c_long], errno: i32) {
    // SAFETY: system calls on data on the stack.
    unsafe { command.pre_exec(move || install_filter(calls, errno as u32)) };
}

fn install_filter(calls: &[c_long], errno: u32) -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    // seccomp_data begins with the number of the call. No heap: between fork
    // and exec.
    let mut program = [step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0); 16];
    program[0] = step(LOAD, 0, 0, 0);
    for (place, &call) in program[1..].chunks_exact_mut(2).zip(calls) {
        place[0] = step(IF_EQUAL, call as u32, 0, 1);
        place[1] = step(RETURN, libc::SECCOMP_RET_ERRNO | errno, 0, 0);
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
