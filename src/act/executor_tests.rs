//! What the executor does with made-up culprits.

use super::super::kill::STUCK_AFTER_US;
use super::*;
use crate::decide::growth::Growth;
use crate::read::kfile::Tree;
use crate::read::memory::Meminfo;
use crate::read::process::{Comm, Identity, JobKey, Stat};
use rustix::fd::AsFd;

fn executor<'a>(tree: &'a Tree, scope: &'a Scope<'a>) -> Executor<'a> {
    let means = Means {
        scope,
        sees_everybody: true,
        proc: tree.proc.as_fd(),
        own: rustix::process::getpid(),
        pidfd: true,
        release: false,
        inherited: Inherited::default(),
    };
    Executor::new(Config::default(), means)
}

#[test]
fn a_hold_binds_the_same_or_a_lower_urgency() {
    let tree = Tree::open_live().unwrap();
    let scope = Scope::of_machine(&tree);
    let mut executor = executor(&tree, &scope);
    executor.hold_off_without_victim(Urgency::Term, 100);
    assert_eq!(executor.held_until_us(Urgency::Term, 100), Some(100 + HOLD_NO_VICTIM_US));
    assert_eq!(executor.held_until_us(Urgency::Kill, 100), None);
    assert_eq!(executor.held_until_us(Urgency::Term, 100 + HOLD_NO_VICTIM_US), None);
    executor.hold_off_without_victim(Urgency::Kill, 100);
    assert_eq!(executor.held_until_us(Urgency::Term, 100), Some(100 + HOLD_NO_VICTIM_URGENT_US));
    assert_eq!(executor.held_until_us(Urgency::Kill, 100), Some(100 + HOLD_NO_VICTIM_URGENT_US));
}

/// Whoever has that pid is not the one that was chosen.
#[test]
fn a_victim_that_is_another_now_is_refused() {
    let tree = Tree::open_live().unwrap();
    let scope = Scope::of_machine(&tree);
    let mut executor = executor(&tree, &scope);
    let id = Identity { pid: rustix::process::getpid(), starttime: 1 };
    let culprit = Culprit::one(Candidate { id, ..VACANT });
    let begun = executor.begin(&culprit, Rule::Floor, &[], FreeMemory::default(), 0);
    assert!(begun.is_ok_and(|begun| !begun.has_hook_failed && begun.cgroup.is_none()));
    assert!(executor.is_killing() && executor.is_busy());
    let event = executor.step(None, 0);
    // Our own pid: refused for being ours before its start time is looked at.
    assert!(matches!(event, Some(Event::Refused(Refusal::Ancestor))), "{event:?}");
    assert!(!executor.is_killing() && executor.step(None, 0).is_none());
    let gone = Identity { pid: Pid::from_raw(i32::MAX).unwrap(), starttime: 1 };
    let culprit = Culprit::one(Candidate { id: gone, ..VACANT });
    let begun = executor.begin(&culprit, Rule::Floor, &[], FreeMemory::default(), 0);
    assert!(matches!(begun, Err(Refusal::Gone | Refusal::Failed(_))), "{begun:?}");
}

/// The hole: for want of a descriptor neither the victim nor anybody who dies with it could
/// be signalled. It was said to have outlived SIGKILL, and an innocent died in its place.
#[test]
fn who_was_never_signalled_is_refused_and_not_stuck() {
    let tree = Tree::open_live().unwrap();
    let scope = Scope::of_machine(&tree);
    let mut executor = executor(&tree, &scope);
    let id = Identity { pid: rustix::process::getpid(), starttime: 1 };
    let mut culprit = Culprit { is_fleeing: true, ..Culprit::one(Candidate { id, ..VACANT }) };
    culprit.sharers[0] = Some(Identity { pid: Pid::from_raw(i32::MAX).unwrap(), starttime: 1 });
    let begun = executor.begin(&culprit, Rule::Floor, &[], FreeMemory::default(), 0);
    assert!(begun.is_ok());
    let event = executor.step(None, 0);
    assert!(matches!(event, Some(Event::Busy)), "{event:?}");
    // Nobody could be listed until then.
    let event = executor.step(None, STUCK_AFTER_US);
    assert!(matches!(event, Some(Event::Refused(Refusal::Ancestor))), "{event:?}");
}

/// The hole: whoever was young and of the same job died with a growing group, whether
/// it had grown or not: a server that had just been started, with its master.
#[test]
fn only_those_that_grew_or_were_just_born_die_with_a_growing_group() {
    let job = JobKey { uid: 0, comm: Comm::new(b"worker"), ppid: 50, pgrp: 50 };
    let now = time::boottime_ticks();
    let process = |pid, starttime| Candidate {
        id: Identity { pid: Pid::from_raw(pid).unwrap(), starttime },
        job,
        growth: Growth { kib: 1000, recent_kib: [1000; 2], ..Growth::NONE },
        ..VACANT
    };
    let workers: std::vec::Vec<_> = (60..92).map(|pid| process(pid, now - 1000)).collect();
    let mut culprit = Culprit::one(workers[0]);
    culprit.members = 5;
    let dies = |culprit: &Culprit, ranked: usize, pid, age| {
        let members = Companions::Job(members_of(culprit, &workers[..ranked]));
        let state = Stat {
            comm: job.comm,
            state: b'S',
            ppid: job.ppid,
            pgrp: job.pgrp,
            flags: 0,
            faults: 0,
            num_threads: 1,
            starttime: now - age,
        };
        members.has(Pid::from_raw(pid).unwrap(), &state, job.uid)
    };
    assert!(dies(&culprit, 5, 64, 1000), "it grew");
    assert!(dies(&culprit, 5, 70, 100), "just born");
    assert!(!dies(&culprit, 5, 70, 1000), "ten seconds old, and it did not grow");
    assert!(!dies(&culprit, 5, 50, 100), "the master");
    // Where there are more than the table holds, it may have grown.
    assert!(dies(&culprit, 32, 100, 1000) && !dies(&culprit, 32, 100, 10_000));
    culprit.is_spawn_burst = true;
    assert!(dies(&culprit, 5, 50, 1000), "who forks and forks");
}

#[test]
fn memory_tells_whether_to_hurry_and_whether_to_wait() {
    let tree = Tree::open_live().unwrap();
    let scope = Scope::of_machine(&tree);
    let mut executor = executor(&tree, &scope);
    let id = Identity { pid: rustix::process::getpid(), starttime: 1 };
    let culprit = Culprit::one(Candidate { id, freeable_kib: 400, ..VACANT });
    let before = FreeMemory { mem_available_kib: 1000, swap_free_kib: 0 };
    let begun = executor.begin(&culprit, Rule::Floor, &[], before, 0);
    assert!(begun.is_ok_and(|begun| !begun.has_hook_failed && begun.cgroup.is_none()));
    let active = executor.active.as_ref().unwrap();
    let snapshot = |mem_available_kib| Snapshot {
        mem: Meminfo { mem_available_kib, ..Meminfo::default() },
        ..Snapshot::default()
    };
    let term = Verdict::Act(Rule::Exhaustion, Urgency::Term);
    let kill = Verdict::Act(Rule::Exhaustion, Urgency::Kill);
    let told = |available_kib, verdict| outlook(active, Some((&snapshot(available_kib), verdict)));
    assert_eq!(told(1100, term), Outlook { is_urgent: false, is_recovering: false });
    assert_eq!(told(1101, term), Outlook { is_urgent: false, is_recovering: true });
    assert_eq!(told(900, kill), Outlook { is_urgent: true, is_recovering: false });
    assert_eq!(outlook(active, None), Outlook::default());
}
