//! The library's own refusals: what it never signals, whoever asks.

use crate::harness::{Eater, Journal, Leader, NOBODY, OnTerm, in_namespace, in_namespace_with_users, skip};
use bustd::act::signal::{Refusal, SignalContext, Target, may_kill_group, signal_process};
use bustd::choose::scope::Scope;
use bustd::config::policy::Policy;
use bustd::read::kfile::Tree;
use bustd::read::process::{Identity, Pid, read_stat};
use rustix::fd::AsFd;
use rustix::process::Signal;

/// How a guard would reach processes that ran as `own`, with pidfds and without.
fn each_reach(tree: &Tree, own: Pid, check: impl Fn(&SignalContext<'_>)) {
    for pidfd in [true, false] {
        let scope = Scope::of_machine(tree);
        check(&SignalContext::new(tree.proc.as_fd(), pidfd, own, &Policy::default(), &scope));
    }
}

/// SIGTERM by way of the library.
fn ask(context: &SignalContext<'_>, id: Identity) -> Result<(), Refusal> {
    Target::open(context, id).and_then(|target| signal_process(context, &target, Signal::TERM))
}

fn live() -> Tree {
    Tree::open_live().expect("/proc")
}

/// Nobody's pid here.
const STRANGER: Pid = Pid::from_raw(4_000_000).unwrap();

#[test]
fn whom_it_was_chosen_for_is_signalled() {
    in_namespace(|| {
        each_reach(&live(), STRANGER, |context| {
            let journal = Journal::new();
            let mut victim = Eater::named("victim").start(&journal);
            assert_eq!(ask(context, victim.identity()), Ok(()));
            assert_eq!(victim.death(), Some(libc::SIGTERM));
        });
    });
}

#[test]
fn another_starttime_is_another_process() {
    in_namespace(|| {
        each_reach(&live(), STRANGER, |context| {
            let mut journal = Journal::new();
            let bystander = Eater::named("bystander").start(&journal);
            let mut id = bystander.identity();
            id.starttime -= 1;
            assert_eq!(ask(context, id), Err(Refusal::Unverified));
            bystander.expect_unharmed(&mut journal);
        });
    });
}

#[test]
fn a_reused_pid_is_another_process() {
    in_namespace(|| {
        each_reach(&live(), STRANGER, |context| {
            let mut journal = Journal::new();
            let mut victim = Eater::named("victim").start(&journal);
            let id = victim.identity();
            let target = Target::open(context, id).expect("it lives");
            victim.kill();
            let Some(bystander) = Eater::named("bystander").start_as(id.pid, &journal) else {
                return;
            };
            assert_eq!(signal_process(context, &target, Signal::TERM), Err(Refusal::Unverified));
            bystander.expect_unharmed(&mut journal);
        });
    });
}

#[test]
fn what_has_exited_is_gone() {
    in_namespace(|| {
        each_reach(&live(), STRANGER, |context| {
            let journal = Journal::new();
            let mut victim = Eater::named("victim").start(&journal);
            let id = victim.identity();
            let target = Target::open(context, id).expect("it lives");
            assert!(!target.is_gone(context));
            victim.kill();
            assert!(target.is_gone(context));
            assert_eq!(signal_process(context, &target, Signal::TERM), Err(Refusal::Gone));
            assert_eq!(ask(context, id), Err(Refusal::Gone));
        });
    });
}

#[test]
fn a_zombie_leader_is_not_gone_before_its_threads() {
    in_namespace(|| {
        each_reach(&live(), STRANGER, |context| {
            let mut journal = Journal::new();
            let mut victim =
                Eater::named("victim").leader(Leader::Exits).on_term(OnTerm::Ignore).start(&journal);
            let target = Target::open(context, victim.identity()).expect("it lives");
            assert!(!target.is_gone(context));
            assert_eq!(signal_process(context, &target, Signal::TERM), Ok(()));
            journal.expect("victim: SIGTERM");
            assert!(!target.is_gone(context));
            assert_eq!(signal_process(context, &target, Signal::KILL), Ok(()));
            assert_eq!(victim.death(), Some(libc::SIGKILL));
            assert!(target.is_gone(context));
        });
    });
}

#[test]
fn process_1_is_refused() {
    in_namespace(|| {
        let tree = live();
        let starttime = read_stat(tree.proc.as_fd(), Pid::INIT).expect("ours").starttime;
        // We are process 1, and SIGTERM would end the test.
        each_reach(&tree, STRANGER, |context| {
            assert_eq!(ask(context, Identity { pid: Pid::INIT, starttime }), Err(Refusal::Init));
        });
    });
}

#[test]
fn the_guard_and_its_ancestors_are_refused() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let parent = Eater::named("parent").start(&journal);
        // As if the guard were a child of process 1, and that one its own.
        each_reach(&live(), parent.pid(), |context| {
            assert_eq!(ask(context, parent.identity()), Err(Refusal::Ancestor));
        });
        parent.expect_unharmed(&mut journal);
    });
}

#[test]
fn oom_score_adj_of_minus_1000_is_refused() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let exempt = Eater::named("exempt").oom_score_adj(-1000).start(&journal);
        each_reach(&live(), STRANGER, |context| {
            assert_eq!(ask(context, exempt.identity()), Err(Refusal::Protected));
        });
        exempt.expect_unharmed(&mut journal);
    });
}

#[test]
fn another_users_process_is_not_permitted() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let roots = Eater::named("roots").start(&journal);
        // The system call and not the C library's function: for this thread
        // alone. The saved uid stays root's, to come back.
        let become_user = |uid: libc::c_long| {
            // SAFETY: no pointers.
            let answer = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, 0 as libc::c_long) };
            assert_eq!(answer, 0, "setresuid");
        };
        become_user(NOBODY.into());
        each_reach(&live(), STRANGER, |context| {
            assert_eq!(ask(context, roots.identity()), Err(Refusal::NotPermitted));
        });
        become_user(0);
        roots.expect_unharmed(&mut journal);
    });
}

/// Outside of any namespace, for that is where kernel threads can be seen. What
/// would be sent is ignored by whoever gets it.
#[test]
fn kernel_threads_are_refused() {
    let tree = live();
    let kthreadd = Pid::from_raw(2).expect("2");
    let Ok(stat) = read_stat(tree.proc.as_fd(), kthreadd) else {
        return skip("no kernel threads to be seen");
    };
    if !stat.is_kernel_thread() {
        return skip("process 2 is no kernel thread");
    }
    let id = Identity { pid: kthreadd, starttime: stat.starttime };
    each_reach(&tree, STRANGER, |context| {
        let refusal =
            Target::open(context, id).and_then(|target| signal_process(context, &target, Signal::URG));
        assert_eq!(refusal, Err(Refusal::KernelThread));
    });
}

#[test]
fn groups_0_and_1_and_negative_ones_are_never_fair_game() {
    in_namespace(|| {
        let journal = Journal::new();
        let guard = Eater::named("guard").group(0).start(&journal);
        let other = Eater::named("other").group(0).start(&journal);
        each_reach(&live(), guard.pid(), |context| {
            for group in [i32::MIN, -other.pid().as_raw_pid(), -1, 0, 1, guard.pid().as_raw_pid()] {
                assert!(!may_kill_group(context, group), "{group}");
            }
            assert!(may_kill_group(context, other.pid().as_raw_pid()));
        });
    });
}
