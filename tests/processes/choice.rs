//! Who is chosen among real processes, and who never is.

use crate::harness::{
    ASK, Eater, FakeMeminfo, Guard, Journal, Leader, NOBODY, ONCE, OnTerm, PROGRAM, Role, bustd,
    in_namespace, in_namespace_with_users, mount, number_before, script,
};
use std::hint::black_box;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

impl Journal {
    fn expect_only_candidate(&mut self, name: &str) {
        let line = self.expect(&format!("{name:?} with SIGTERM"));
        assert!(line.ends_with("; no other candidate"), "{line:?}");
    }
}

#[test]
fn process_1_is_never_chosen() {
    in_namespace(|| {
        let memory = black_box(vec![1_u8; 150 << 20]);
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").start(&journal);
        Guard::start(&journal, &[ASK, ONCE]).finish();
        journal.expect_only_candidate("victim");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        Guard::start(&journal, &[ASK, ONCE]).finish();
        journal.expect("but no process is worth killing");
        drop(memory);
    });
}

#[test]
fn ancestors_are_never_chosen() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").start(&journal);
        let guard = [&[PROGRAM], ASK, ONCE].concat();
        let mut parent = Role::Ancestor(80, &guard).command();
        parent.stdin(Stdio::null()).stderr(journal.pen());
        assert!(parent.status().expect("a parent").success());
        journal.expect_only_candidate("victim");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
    });
}

#[test]
fn ancestors_are_never_chosen_however_far_up() {
    in_namespace(|| {
        let mut journal = Journal::new();
        // A shell for each generation, which waits for the next.
        let down = "[ $1 = 0 ] && shift && exec \"$@\"\nn=$(($1 - 1))\nshift\n\"$0\" $n \"$@\"\nexit $?\n";
        let down = script("down", &format!("#!/bin/sh\n{down}"));
        let guard = [&[&down, "20", PROGRAM], ASK, ONCE].concat();
        let mut ancestor = Role::Ancestor(80, &guard).command();
        ancestor.stdin(Stdio::null()).stderr(journal.pen());
        assert!(ancestor.status().expect("an ancestor").success());
        journal.expect("but no process is worth killing");
    });
}

#[test]
fn the_guard_never_chooses_itself() {
    in_namespace(|| {
        let mut journal = Journal::new();
        // On a machine of 40 MB a guard with a megabyte of environment is big.
        let _meminfo = FakeMeminfo::mount_small();
        let mut command = bustd(&journal, &[ASK, ONCE]);
        command.envs((0..10).map(|number| (format!("LONG_{number}"), "x".repeat(100_000))));
        Guard::spawn(command).finish();
        journal.expect("but no process is worth killing");
        // So is anybody else of that size.
        let mut victim = Eater::named("victim").mib(1).start(&journal);
        Guard::start(&journal, &[ASK, ONCE]).finish();
        journal.expect("\"victim\" with SIG");
        assert!(victim.death().is_some());
    });
}

#[test]
fn oom_score_adj_of_minus_1000_is_never_chosen() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let exempt = Eater::named("exempt").mib(100).oom_score_adj(-1000).start(&journal);
        let mut victim = Eater::named("victim").start(&journal);
        Guard::start(&journal, &[ASK, ONCE]).finish();
        journal.expect_only_candidate("victim");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        exempt.expect_unharmed(&mut journal);
    });
}

#[test]
fn a_zombie_leader_is_chosen_and_waited_for_with_its_threads() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim =
            Eater::named("victim").mib(64).leader(Leader::Exits).on_term(OnTerm::Ignore).start(&journal);
        assert_eq!(victim.stat().state, b'Z');
        let _next = Eater::named("next").start(&journal);
        Guard::start(&journal, &[ASK, ONCE, &["--grace", "200"]]).finish();
        let before = journal.expect("\"victim\" with SIGTERM");
        let freeable_mib = number_before(&before[before.find("frees").unwrap()..], " MiB");
        assert!((64..80).contains(&freeable_mib), "{before:?}");
        // The thread outlives SIGTERM, and so does the victim.
        journal.expect("victim: SIGTERM");
        let after = journal.expect("\"victim\" died ");
        assert!(number_before(&after, " ms after SIGTERM, of SIGKILL") >= 200, "{after:?}");
        assert_eq!(victim.death(), Some(libc::SIGKILL));
    });
}

#[test]
fn an_ordinary_user_chooses_among_their_own() {
    in_namespace_with_users(|| expect_choice_among_own(NOBODY, &[], become_nobody));
}

#[test]
fn an_ordinary_user_who_sees_nobody_else_does_too() {
    in_namespace_with_users(|| {
        mount(&["-o", "remount,hidepid=2", "/proc"]);
        expect_choice_among_own(NOBODY, &["process 1 is hidden (hidepid)"], become_nobody);
    });
}

fn become_nobody(command: &mut Command) {
    command.uid(NOBODY).gid(NOBODY);
}

#[test]
fn root_without_cap_kill_chooses_among_its_own() {
    const CAP_KILL: libc::c_ulong = 5;
    in_namespace_with_users(|| {
        expect_choice_among_own(0, &[], |command| {
            let drop_cap_kill = || {
                // SAFETY: no pointers.
                match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_KILL, 0, 0, 0) } {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            };
            // SAFETY: one system call.
            unsafe { command.pre_exec(drop_cap_kill) };
        });
    });
}

/// A user namespace grants every capability, but over its own processes only.
#[test]
fn many_beyond_reach_do_not_hide_one_within() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        // More than are remembered as beyond reach.
        let foreign = (0..9).map(|_| Eater::named("foreign").mib(24).uid(NOBODY - 1).start(&journal));
        let foreign: Vec<Eater> = foreign.collect();
        let mut own = Eater::named("own").mib(18).uid(NOBODY).start(&journal);
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", PROGRAM]).args(ASK).stderr(journal.pen());
        unshare.stdin(Stdio::null()).stdout(Stdio::null()).uid(NOBODY).gid(NOBODY);
        let guard = Guard::spawn(unshare);
        assert_eq!(own.death(), Some(libc::SIGTERM));
        journal.expect("but no process is worth killing");
        guard.end();
        foreign.iter().for_each(|eater| eater.expect_unharmed(&mut journal));
        let complaints = journal.count("not permitted");
        assert!(complaints <= foreign.len(), "{complaints} complaints");
    });
}

/// A guard that may signal only `uid`'s processes, and larger ones of others;
/// it also says `warnings` at start.
fn expect_choice_among_own(uid: u32, warnings: &[&str], restrict: impl FnOnce(&mut Command)) {
    let mut journal = Journal::new();
    let foreign = Eater::named("foreign").mib(100).uid(NOBODY - 1).start(&journal);
    let mut own = Eater::named("own").uid(uid).start(&journal);
    let mut command = bustd(&journal, &[ASK]);
    restrict(&mut command);
    let guard = Guard::spawn(command);
    for warning in [&["cannot signal other users' processes"], warnings].concat() {
        journal.expect(warning);
    }
    journal.expect_only_candidate("own");
    journal.expect("\"own\" died ");
    journal.expect("but no process is worth killing");
    assert_eq!(own.death(), Some(libc::SIGTERM));
    guard.end();
    foreign.expect_unharmed(&mut journal);
    journal.expect_none("\"foreign\"");
}
