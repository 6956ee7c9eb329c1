//! Old kernels and sandboxes: system calls that are refused.

use crate::harness::{ASK, Eater, Guard, Journal, Leader, ONCE, OnTerm, bustd, in_namespace, refuse};
use libc::c_long;

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
