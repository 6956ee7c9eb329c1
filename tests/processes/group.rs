//! `--kill-pgroup`: the victim's group, all of it and nobody else.

use crate::harness::{
    ASK, Eater, Guard, Journal, NOBODY, OnTerm, bustd, in_namespace, in_namespace_with_users,
};
use bustd::act::companions::{Companions, Group};
use bustd::act::kill::{Kill, Outlook, Progress, Timeline};
use bustd::act::signal::SignalContext;
use bustd::choose::scope::Scope;
use bustd::config::policy::Policy;
use bustd::decide::victim::{Candidate, VACANT};
use bustd::read::kfile::Tree;
use bustd::read::process::Pid;
use rustix::fd::AsFd;
use rustix::process::Signal;
use std::os::unix::process::CommandExt;

const GROUP_ONCE: &[&str] = &["--kill-pgroup", "--once"];

/// One of a group that is too small to be chosen itself.
const SMALL_MIB: usize = 1;

fn died_of_sigterm(eaters: &mut [Eater]) -> bool {
    eaters.iter_mut().all(|eater| eater.death() == Some(libc::SIGTERM))
}

#[test]
fn all_members_die_and_nobody_else() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let leader = Eater::named("leader").mib(64).group(0).start(&journal);
        let group = leader.pid().as_raw_pid();
        let member = Eater::named("member").mib(SMALL_MIB).group(group).start(&journal);
        let another = Eater::named("another").group(group).start(&journal);
        let bystander = Eater::named("bystander").mib(SMALL_MIB).group(0).start(&journal);
        Guard::start(&journal, &[ASK, GROUP_ONCE]).finish();
        assert!(died_of_sigterm(&mut [leader, member, another]));
        bystander.expect_unharmed(&mut journal);
    });
}

#[test]
fn the_last_member_is_waited_for_and_forced() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut leader = Eater::named("leader").group(0).start(&journal);
        let group = leader.pid().as_raw_pid();
        let mut stubborn =
            Eater::named("stubborn").mib(SMALL_MIB).group(group).on_term(OnTerm::Ignore).start(&journal);
        Guard::start(&journal, &[ASK, GROUP_ONCE, &["--grace", "200"]]).finish();
        journal.expect("stubborn: SIGTERM");
        journal.expect("\"leader\" died ");
        assert_eq!((leader.death(), stubborn.death()), (Some(libc::SIGTERM), Some(libc::SIGKILL)));
    });
}

/// Many programs end at once when they are asked a second time.
#[test]
fn who_is_chosen_is_asked_once_though_a_member_too() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut leader = Eater::named("leader").group(0).on_term(OnTerm::Ignore).start(&journal);
        let group = leader.pid().as_raw_pid();
        let mut member = Eater::named("member").mib(SMALL_MIB).group(group).start(&journal);
        Guard::start(&journal, &[ASK, GROUP_ONCE, &["--grace", "500"]]).finish();
        journal.expect("\"leader\" died ");
        assert_eq!((leader.death(), member.death()), (Some(libc::SIGKILL), Some(libc::SIGTERM)));
        assert_eq!(journal.count("leader: SIGTERM"), 1);
    });
}

#[test]
fn protected_members_are_spared() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let leader = Eater::named("leader").group(0).start(&journal);
        let group = leader.pid().as_raw_pid();
        let member = Eater::named("member").mib(SMALL_MIB).group(group).start(&journal);
        let keeper = Eater::named("keeper").mib(100).group(group).start(&journal);
        let exempt = Eater::named("exempt").mib(100).group(group).oom_score_adj(-1000).start(&journal);
        Guard::start(&journal, &[ASK, GROUP_ONCE, &["--unkillables", "x|keep*"]]).finish();
        // Nor are they waited for.
        journal.expect("\"leader\" died ");
        assert!(died_of_sigterm(&mut [leader, member]));
        keeper.expect_unharmed(&mut journal);
        exempt.expect_unharmed(&mut journal);
    });
}

#[test]
fn a_member_that_cannot_be_signalled_is_not_waited_for() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let mut leader = Eater::named("leader").uid(NOBODY).group(0).start(&journal);
        let group = leader.pid().as_raw_pid();
        let roots = Eater::named("roots").mib(SMALL_MIB).group(group).start(&journal);
        let mut command = bustd(&journal, &[ASK, GROUP_ONCE]);
        command.uid(NOBODY).gid(NOBODY);
        Guard::spawn(command).finish();
        journal.expect("\"leader\" died ");
        assert_eq!(leader.death(), Some(libc::SIGTERM));
        roots.expect_unharmed(&mut journal);
    });
}

/// By way of the library: in the daemon's life this takes more luck.
#[test]
fn a_group_whose_number_is_used_again_is_another_group() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let tree = Tree::open_live().expect("/proc");
        let policy = Policy::default();
        let scope = Scope::of_machine(&tree);
        let context = SignalContext::new(tree.proc.as_fd(), true, Pid::INIT, &policy, &scope);
        let mut leader = Eater::named("leader").group(0).start(&journal);
        let (id, stat) = (leader.identity(), leader.stat());
        let victim = Candidate { id, job: stat.job_key(0), ..VACANT };
        let companions = Companions::Group(Group::find(&context, stat.pgrp, 0));
        let mut kill = Kill::begin(&context, &victim, Timeline::new(1_000_000, 0)).expect("it lives");
        kill.take_along(companions);
        assert_eq!(
            kill.step(&context, Outlook { is_urgent: false, is_recovering: false }, 0),
            Progress::Signalled(Signal::TERM)
        );
        assert_eq!(leader.death(), Some(libc::SIGTERM));
        let Some(bystander) = Eater::named("bystander").group(0).start_as(id.pid, &journal) else {
            return;
        };
        assert_eq!(bystander.stat().pgrp, stat.pgrp);
        let progress = kill.step(&context, Outlook { is_urgent: true, is_recovering: false }, 1);
        assert!(!matches!(progress, Progress::Signalled(_)), "{progress:?}");
        bystander.expect_unharmed(&mut journal);
    });
}

#[test]
fn the_guards_own_group_is_no_group_to_kill() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").group(0).start(&journal);
        let group = victim.pid().as_raw_pid();
        let fellow = Eater::named("fellow").mib(SMALL_MIB).group(group).start(&journal);
        let mut command = bustd(&journal, &[ASK, GROUP_ONCE]);
        command.process_group(group);
        Guard::spawn(command).finish();
        expect_only_the_victim_dies(&mut journal, &mut victim, &fellow);
    });
}

#[test]
fn a_group_led_from_outside_the_namespace_is_no_group_to_kill() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").start(&journal);
        let fellow = Eater::named("fellow").mib(SMALL_MIB).start(&journal);
        assert_eq!(victim.stat().pgrp, 0, "our group was made outside");
        let mut command = bustd(&journal, &[ASK, GROUP_ONCE]);
        command.process_group(0);
        Guard::spawn(command).finish();
        expect_only_the_victim_dies(&mut journal, &mut victim, &fellow);
    });
}

#[test]
fn the_group_process_1_leads_is_no_group_to_kill() {
    in_namespace(|| {
        set_own_group(0);
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").start(&journal);
        let fellow = Eater::named("fellow").mib(SMALL_MIB).start(&journal);
        assert_eq!(victim.stat().pgrp, 1);
        let mut command = bustd(&journal, &[ASK, GROUP_ONCE]);
        command.process_group(0);
        Guard::spawn(command).finish();
        expect_only_the_victim_dies(&mut journal, &mut victim, &fellow);
    });
}

#[test]
fn the_group_process_1_is_in_is_no_group_to_kill() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").group(0).start(&journal);
        let group = victim.pid().as_raw_pid();
        let fellow = Eater::named("fellow").mib(SMALL_MIB).group(group).start(&journal);
        let mut command = bustd(&journal, &[ASK, GROUP_ONCE]);
        command.process_group(0);
        let _joined = Joined::group(group);
        Guard::spawn(command).finish();
        expect_only_the_victim_dies(&mut journal, &mut victim, &fellow);
    });
}

/// A group this process has joined, and leaves again: a namespace does not end
/// while its process 1 is in a group whose leader it has outlived.
struct Joined;

impl Joined {
    fn group(group: i32) -> Self {
        set_own_group(group);
        Self
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        set_own_group(0);
    }
}

fn set_own_group(group: i32) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::setpgid(0, group) }, 0, "{}", std::io::Error::last_os_error());
}

fn expect_only_the_victim_dies(journal: &mut Journal, victim: &mut Eater, fellow: &Eater) {
    journal.expect("is not killed as a whole");
    journal.expect("\"victim\" died ");
    assert_eq!(victim.death(), Some(libc::SIGTERM));
    fellow.expect_unharmed(journal);
}
