//! Old kernels and sandboxes: system calls that are refused.

use crate::harness::{ASK, Eater, Guard, Journal, Leader, ONCE, OnTerm, bustd, in_namespace};
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

const PIDFD: &[c_long] = &[libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_process_mrelease];

#[test]
fn without_pidfds_it_kills_by_pid() {
    in_namespace(|| {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let mut journal = Journal::new();
            let mut victim = Eater::named("victim").start(&journal);
            let mut command = bustd(&journal, &[ASK]);
            refuse(&mut command, PIDFD, errno);
            let guard = Guard::spawn(command);
            journal.expect("no pidfd: processes are verified by their start time alone");
            journal.expect("watching");
            journal.expect("\"victim\" with SIGTERM");
            journal.expect("victim: SIGTERM");
            journal.expect("\"victim\" died ");
            assert_eq!(victim.death(), Some(libc::SIGTERM));
            guard.end();
        }
    });
}

#[test]
fn without_pidfds_a_zombie_leader_and_its_group_are_waited_for() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut leader =
            Eater::named("leader").group(0).leader(Leader::Exits).on_term(OnTerm::Ignore).start(&journal);
        let mut member = Eater::named("member").mib(1).group(leader.pid().as_raw_pid()).start(&journal);
        let mut command = bustd(&journal, &[ASK, ONCE, &["--kill-pgroup", "--grace", "200"]]);
        refuse(&mut command, PIDFD, libc::ENOSYS);
        Guard::spawn(command).finish();
        journal.expect("\"leader\" with SIGTERM");
        journal.expect(" ms after SIGTERM, of SIGKILL");
        assert_eq!((leader.death(), member.death()), (Some(libc::SIGKILL), Some(libc::SIGTERM)));
    });
}

#[test]
fn without_process_mrelease_it_says_so_and_kills() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").on_term(OnTerm::Ignore).start(&journal);
        let mut command = bustd(&journal, &[ASK, &["--grace", "100"]]);
        refuse(&mut command, &[libc::SYS_process_mrelease, libc::SYS_mlockall], libc::ENOSYS);
        let guard = Guard::spawn(command);
        journal.expect("cannot lock memory");
        journal.expect("no process_mrelease");
        let line = journal.expect("watching");
        assert!(line.contains("; memory not locked"), "{line:?}");
        journal.expect(" ms after SIGTERM, of SIGKILL");
        assert_eq!(victim.death(), Some(libc::SIGKILL));
        guard.end();
    });
}
