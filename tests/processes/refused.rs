//! Kills of many in which part cannot be signalled, for a while or for good.

use crate::harness::{Eater, FakeMeminfo, Guard, Journal, SCRATCH, in_namespace, mount, script};
use crate::stuck::stop_at_exit;
use bustd::act::executor::{Event, Executor, FreeMemory, Means};
use bustd::act::signal::Refusal;
use bustd::choose::scope::Scope;
use bustd::config::Config;
use bustd::decide::attribution::Culprit;
use bustd::decide::verdict::Rule;
use bustd::decide::victim::{Candidate, VACANT};
use bustd::read::kfile::Tree;
use bustd::read::process::{Identity, Pid};
use bustd::sys::child::Inherited;
use bustd::sys::time::{SECOND, now_us, pause};
use rustix::fd::AsFd;
use std::process::Command;

/// Nobody's pid here, who the guard is then.
const STRANGER: Pid = Pid::from_raw(4_000_000).unwrap();

/// Has `body` step a kill of the first and of the second, who shares its memory.
fn kill_both(ids: [Identity; 2], body: impl FnOnce(&mut dyn FnMut(u64) -> Event)) {
    let tree = Tree::open_live().expect("/proc");
    let scope = Scope::of_machine(&tree);
    let means = Means {
        scope: &scope,
        sees_everybody: true,
        proc: tree.proc.as_fd(),
        own: STRANGER,
        pidfd: true,
        release: false,
        inherited: Inherited::default(),
    };
    let mut executor = Executor::new(Config::default(), means);
    let id = ids[0];
    let mut culprit = Culprit { is_fleeing: true, ..Culprit::one(Candidate { id, ..VACANT }) };
    culprit.sharers[..2].copy_from_slice(&ids.map(Some));
    let begun = executor.begin(&culprit, Rule::Exhaustion, &[], FreeMemory::default(), now_us());
    assert!(begun.is_ok(), "{begun:?}");
    body(&mut |later_us| executor.step(None, now_us() + later_us).expect("a kill"));
}

/// Steps until something comes of it.
fn outcome(step: &mut dyn FnMut(u64) -> Event) -> Event {
    loop {
        match step(0) {
            Event::Busy => {}
            Event::GoesOn { .. } => pause(1000),
            event => return event,
        }
    }
}

/// Has what tells of `pid` be unreadable, as for want of a descriptor, until it is undone.
fn hide_stat(pid: Pid) -> impl FnOnce() {
    let path = format!("/proc/{pid}/stat");
    // Nothing is mapped at its start: EIO.
    mount(&["--bind", "/proc/1/mem", &path]);
    move || assert!(Command::new("umount").arg(path).status().expect("umount(8)").success())
}

/// The hole: where the victim could not be signalled for a moment, it lived, those who were to
/// die with it died, and it was said to have died.
#[test]
fn who_could_not_be_signalled_for_a_moment_is_signalled_then() {
    in_namespace(|| {
        let journal = Journal::new();
        let [mut victim, mut other] = ["victim", "other"].map(|name| Eater::named(name).start(&journal));
        kill_both([victim.identity(), other.identity()], |step| {
            let show = hide_stat(victim.pid());
            assert!(matches!(step(0), Event::Busy));
            show();
            let event = outcome(step);
            assert!(matches!(event, Event::Died(death) if death.signalled == 2), "{event:?}");
        });
        assert_eq!([victim.death(), other.death()], [Some(libc::SIGKILL); 2]);
    });
}

/// The hole: who could not be looked at for a moment was taken to be gone.
#[test]
fn who_cannot_be_looked_at_for_a_moment_is_waited_for() {
    in_namespace(|| {
        let journal = Journal::new();
        let [mut victim, mut other] = ["victim", "other"].map(|name| Eater::named(name).start(&journal));
        kill_both([victim.identity(), other.identity()], |step| {
            let show = hide_stat(other.pid());
            for _ in 0..20 {
                let event = step(0);
                assert!(matches!(event, Event::Busy | Event::GoesOn { .. }), "{event:?}");
                pause(1000);
            }
            show();
            let event = outcome(step);
            assert!(matches!(event, Event::Died(_)), "{event:?}");
        });
        assert_eq!([victim.death(), other.death()], [Some(libc::SIGKILL); 2]);
    });
}

/// The hole: where only another of them was stuck, the victim was said to be alive, and
/// neither counted nor told to a hook.
#[test]
fn who_has_died_is_not_stuck_where_a_companion_is() {
    in_namespace(|| {
        let journal = Journal::new();
        let [mut victim, other] = ["victim", "other"].map(|name| Eater::named(name).start(&journal));
        stop_at_exit(other.pid());
        kill_both([victim.identity(), other.identity()], |step| {
            assert!(matches!(step(0), Event::Busy));
            assert_eq!(victim.death(), Some(libc::SIGKILL));
            assert!(matches!(step(0), Event::GoesOn { .. }));
            let event = step(2 * SECOND);
            assert!(matches!(event, Event::Died(death) if death.refusal.is_none()), "{event:?}");
        });
    });
}

/// The hole: a victim that was never signalled was said to be alive after SIGKILL where
/// another of them was stuck.
#[test]
fn who_was_never_signalled_is_not_stuck_where_a_companion_is() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let [victim, other] = ["victim", "other"].map(|name| Eater::named(name).start(&journal));
        stop_at_exit(other.pid());
        kill_both([victim.identity(), other.identity()], |step| {
            victim.protect();
            assert!(matches!(step(0), Event::Busy));
            assert!(matches!(step(0), Event::GoesOn { .. }));
            let event = step(2 * SECOND);
            assert!(matches!(event, Event::Refused(Refusal::Protected)), "{event:?}");
        });
        victim.expect_unharmed(&mut journal);
    });
}

/// The hole: a victim that was protected while a hook held the kill up was said to have died
/// where its group had.
#[test]
fn who_was_never_signalled_is_not_said_to_have_died() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(400);
        let victim = Eater::named("victim").mib(100).group(0).start(&journal);
        let leader = victim.pid().as_raw_pid();
        let mut other = Eater::named("other").group(leader).start(&journal);
        // As in the harness: a file that says so does as well.
        let hook = script(
            "protect",
            &format!(
                "#!/bin/sh\necho -1000 >{SCRATCH}/adj\nmount --bind {SCRATCH}/adj /proc/$BUSTD_PID/oom_score_adj\n"
            ),
        );
        let options = ["--no-daemon", "--mem", "512M,256M", "--grace", "0", "--kill-pgroup"];
        let guard = Guard::start(&journal, &[&options, &["--before-kill", &hook]]);
        journal.expect("\"victim\" was not signalled: its oom_score_adj is -1000; the others died ");
        journal.expect_none("\"victim\" died ");
        assert_eq!(other.death(), Some(libc::SIGKILL));
        victim.expect_unharmed(&mut journal);
        guard.end();
        drop(meminfo);
    });
}
