//! Culprits that are not one large process: growing groups, spawn bursts, and who writes to
//! tmpfs. What is lost of memory is made up; who holds how much of it is not.

use crate::harness::{
    Breeder, Eater, FakeMeminfo, Guard, Journal, MITE_MIB, NOBODY, PROGRAM, Plan, Writes, age, eventually,
    in_namespace, in_namespace_with_users, living,
};
use bustd::act::companions::{Companions, Members};
use bustd::act::kill::{Kill, Outlook, Progress, Timeline};
use bustd::act::signal::SignalContext;
use bustd::choose::scope::Scope;
use bustd::config::policy::Policy;
use bustd::decide::victim::{Candidate, TABLE, VACANT};
use bustd::read::kfile::Tree;
use bustd::read::process::Pid;
use bustd::sys::time::boottime_ticks;
use rustix::fd::AsFd;
use rustix::process::Signal;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// SIGTERM at half a gigabyte, and SIGKILL never.
const LIMIT: &[&str] = &["--no-daemon", "--verbose", "--mem", "512M,1M"];
const PLENTY_MIB: u64 = 600;
const SHORT_MIB: u64 = 500;
const LOSS_MIB: u64 = PLENTY_MIB - SHORT_MIB;

/// More than what is too little to be worth a kill, 16 MiB on any machine of
/// this size, and in all no more than is lost.
const GROWTH_MIB: usize = 18;

/// What is said by a guard that looks again and has no reason to kill again.
const RESTRAINT: &str = "but memory has not become less since the last kill";

/// As many as make a growing group, called `worker`, each with a name of its own.
fn start_workers(journal: &Journal, group: i32) -> Vec<Eater> {
    let start = |number| worker(&format!("worker {number}")).group(group).start(journal);
    (0..5).map(start).collect()
}

fn worker(name: &str) -> Plan {
    Eater::named(name).comm("worker").mib(GROWTH_MIB).growing_by(GROWTH_MIB)
}

/// A process that leads a group, so that others can join it.
fn start_leader(journal: &Journal) -> (Eater, i32) {
    let leader = Eater::named("leader").mib(1).group(0).start(journal);
    let group = leader.pid().as_raw_pid();
    (leader, group)
}

fn grow(eaters: &[&Eater], journal: &mut Journal) {
    eaters.iter().for_each(|eater| eater.grow(journal));
}

#[test]
fn a_growing_group_dies_together_and_nobody_else() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let (leader, group) = start_leader(&journal);
        let mut workers = start_workers(&journal, group);
        // That it grew is enough, whenever it started.
        age(workers[0].pid());
        // Akin, but: old and as it was, exempt, of another group, of another name.
        let steady = worker("steady").mib(2 * GROWTH_MIB).group(group).start(&journal);
        age(steady.pid());
        let exempt = worker("exempt").group(group).oom_score_adj(-1000).start(&journal);
        let stranger = worker("stranger").group(0).start(&journal);
        let neighbour = worker("neighbour").comm("neighbour").group(group).start(&journal);
        let bystander = Eater::named("bystander").mib(80).group(0).start(&journal);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);

        let grown = workers.iter().chain([&exempt, &stranger, &neighbour]);
        grow(&grown.collect::<Vec<_>>(), &mut journal);
        // Too young and too small to be in any table.
        let mut newborn = worker("newborn").mib(1).group(group).start(&journal);
        meminfo.set_available(SHORT_MIB);
        guard.look(&mut journal);

        let line = journal.expect(" with SIGTERM (exhaustion: ");
        assert!(line.contains("\"worker\" and 4 more of its job with"), "{line:?}");
        // Reaped at once, as its parent would: see `age`.
        assert_eq!(workers[0].death(), Some(libc::SIGTERM));
        journal.expect("\"worker\" and 4 more of its job died ");
        journal.expect(RESTRAINT);
        let mut dead = workers[1..].iter_mut().chain([&mut newborn]);
        assert!(dead.all(|eater| eater.death() == Some(libc::SIGTERM)));
        guard.end();
        for survivor in [leader, steady, exempt, stranger, neighbour, bystander] {
            survivor.expect_unharmed(&mut journal);
        }
    });
}

/// All the machine can be of process 1's group, or of one led from outside.
#[test]
fn children_of_process_1_in_its_group_are_judged_one_by_one() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let mut workers: Vec<_> =
            (0..6).map(|number| worker(&format!("worker {number}")).start(&journal)).collect();
        assert_eq!((workers[0].stat().ppid, workers[0].stat().pgrp), (1, 0));
        let mut culprit = worker("culprit").mib(2 * GROWTH_MIB).start(&journal);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        grow(&workers.iter().chain([&culprit]).collect::<Vec<_>>(), &mut journal);
        meminfo.set_available(SHORT_MIB);
        guard.look(&mut journal);
        journal.expect("\"worker\" died ");
        journal.expect(RESTRAINT);
        assert_eq!(culprit.death(), Some(libc::SIGTERM));
        guard.end();
        workers.iter_mut().for_each(|eater| eater.expect_unharmed(&mut journal));
    });
}

#[test]
fn members_that_cannot_be_signalled_are_not_waited_for() {
    in_namespace_with_users(|| {
        let mut as_nobody = Command::new(PROGRAM);
        as_nobody.args(LIMIT);
        // A user namespace grants every capability, but over its own only.
        let mut as_its_root = Command::new("unshare");
        as_its_root.args(["--user", "--map-root-user", PROGRAM]).args(LIMIT);
        for mut command in [as_nobody, as_its_root] {
            let mut journal = Journal::new();
            let meminfo = FakeMeminfo::mount(PLENTY_MIB);
            let (_leader, group) = start_leader(&journal);
            let start = |number| worker(&format!("worker {number}")).group(group).uid(NOBODY).start(&journal);
            let mut workers: Vec<_> = (0..5).map(start).collect();
            let roots = worker("roots").group(group).start(&journal);
            command.stdin(Stdio::null()).stderr(journal.pen()).uid(NOBODY).gid(NOBODY);
            let guard = Guard::spawn(command);
            journal.expect("watching");
            guard.look(&mut journal);
            grow(&workers.iter().chain([&roots]).collect::<Vec<_>>(), &mut journal);
            meminfo.set_available(SHORT_MIB);
            guard.look(&mut journal);
            let line = journal.expect("\"worker\" and 4 more of its job died ");
            assert!(line.contains(" ms after SIGTERM; "), "{line:?}");
            assert!(workers.iter_mut().all(|eater| eater.death() == Some(libc::SIGTERM)));
            guard.end();
            roots.expect_unharmed(&mut journal);
        }
    });
}

/// A spawn burst and whoever else there is; `zombies` of it were there first.
struct Scene {
    journal: Journal,
    meminfo: FakeMeminfo,
    breeder: Breeder,
    large: Eater,
}

impl Scene {
    fn set(zombies: usize, mites: usize) -> Self {
        Self::set_with(PLENTY_MIB, zombies, mites)
    }

    fn set_with(available_mib: u64, zombies: usize, mites: usize) -> Self {
        let journal = Journal::new();
        let meminfo = FakeMeminfo::mount(available_mib);
        let large = Eater::named("large").mib(80).start(&journal);
        let breeder = Breeder::start(&journal, "mite", zombies, mites);
        Self { journal, meminfo, breeder, large }
    }

    /// Has memory vanish that no process in the table has taken.
    fn lose(&mut self) -> Guard {
        let guard = Guard::watching(&mut self.journal, &[LIMIT]);
        guard.look(&mut self.journal);
        self.meminfo.set_available(SHORT_MIB);
        // If it has looked by itself already, its answer to this comes after the kill.
        guard.send(Signal::USR1);
        guard
    }
}

#[test]
fn a_spawn_burst_is_killed_by_force_and_not_the_old_ones() {
    in_namespace(|| {
        // One that has ended does not stand for it.
        let mut scene = Scene::set(1, 50);
        let namesake = Eater::named("namesake").comm("mite").mib(1).group(0).start(&scene.journal);
        let group = scene.breeder.pid().as_raw_pid();
        let exempt = Eater::named("exempt").comm("mite").mib(1).group(group);
        let exempt = exempt.oom_score_adj(-1000).start(&scene.journal);
        let old = Eater::named("old").comm("mite").mib(1).group(group).start(&scene.journal);
        age(old.pid());
        let guard = scene.lose();
        let journal = &mut scene.journal;
        let line = journal.expect(" with SIGKILL (exhaustion: ");
        assert!(line.contains("\"mite\" and 50 more of its job with"), "{line:?}");
        journal.expect("\"mite\" and 50 more of its job died ");
        journal.expect(RESTRAINT);
        // The breeder may have been faster to tell, or slower.
        eventually("the breeder tells", || journal.count("breeder: 50 of 50 died of SIGKILL") == 1);
        guard.end();
        for survivor in [namesake, exempt, old, scene.large] {
            survivor.expect_unharmed(journal);
        }
        assert_eq!(living("breeder"), [scene.breeder.pid()]);
    });
}

/// Neither are those that have worked here for long, nor those that are dead,
/// nor a few.
#[test]
fn a_spawn_burst_is_young_and_alive() {
    in_namespace(|| {
        let mut scene = Scene::set(47, 60);
        let young = 3;
        let mites = living("mite");
        mites[young..].iter().for_each(|&pid| age(pid));
        let guard = scene.lose();
        // There is nobody else to blame.
        scene.journal.expect("\"large\" died ");
        assert_eq!(scene.large.death(), Some(libc::SIGTERM));
        guard.end();
        assert_eq!(living("mite"), mites);
    });
}

/// To be many and young is no crime: what is missing is not what they have.
#[test]
fn what_fifty_small_ones_do_not_hold_is_not_theirs() {
    in_namespace(|| {
        // Forked, they hold a little of their parent's besides.
        let too_much_mib = 2 * 50 * (MITE_MIB as u64 + 2);
        let mut scene = Scene::set_with(SHORT_MIB + too_much_mib, 0, 50);
        let mites = living("mite");
        let guard = scene.lose();
        scene.journal.expect("\"large\" died ");
        assert_eq!(scene.large.death(), Some(libc::SIGTERM));
        guard.end();
        assert_eq!(living("mite"), mites);
    });
}

/// By way of the library: when a process is born is hard to choose.
struct Doomed {
    tree: &'static Tree,
    scope: Scope<'static>,
    journal: Journal,
    group: i32,
    _leader: Eater,
    policy: Policy<'static>,
    first: Eater,
}

impl Doomed {
    fn new() -> Self {
        let journal = Journal::new();
        let (leader, group) = start_leader(&journal);
        let first = worker("first").mib(1).group(group).start(&journal);
        let tree = Box::leak(Box::new(Tree::open_live().expect("/proc")));
        Self {
            tree,
            scope: Scope::of_machine(tree),
            journal,
            group,
            _leader: leader,
            policy: Policy::default(),
            first,
        }
    }

    fn context(&self) -> SignalContext<'_> {
        SignalContext::new(self.tree.proc.as_fd(), true, Pid::INIT, &self.policy, &self.scope)
    }

    fn begin(&self, members: Members) -> Kill {
        let victim = Candidate { id: self.first.identity(), job: members.job, ..VACANT };
        let timeline = Timeline::new(1_000_000, 0);
        let mut kill = Kill::begin(&self.context(), &victim, timeline).expect("it lives");
        kill.take_along(Companions::Job(members));
        kill
    }

    fn start_newborn(&self) -> Eater {
        worker("newborn").mib(1).group(self.group).start(&self.journal)
    }
}

#[test]
fn members_of_a_spawn_burst_born_while_it_is_killed_die_too() {
    in_namespace(|| {
        let mut doomed = Doomed::new();
        let job = doomed.first.stat().job_key(0);
        let mut kill = doomed.begin(Members {
            job,
            master: None,
            grown: [None; TABLE],
            born_after: 0,
            born_before: u64::MAX,
        });
        let context = doomed.context();
        assert_eq!(
            kill.step(&context, Outlook { is_urgent: true, is_recovering: false }, 0),
            Progress::Signalled(Signal::KILL)
        );
        let mut newborn = doomed.start_newborn();
        assert_eq!(
            kill.step(&context, Outlook { is_urgent: true, is_recovering: false }, 1),
            Progress::Waiting
        );
        assert_eq!(newborn.death(), Some(libc::SIGKILL));
        assert_eq!(doomed.first.death(), Some(libc::SIGKILL));
        assert_eq!(
            kill.step(&doomed.context(), Outlook { is_urgent: true, is_recovering: false }, 2),
            Progress::Dead
        );
    });
}

#[test]
fn those_started_in_place_of_a_groups_dead_live() {
    in_namespace(|| {
        let mut doomed = Doomed::new();
        let job = doomed.first.stat().job_key(0);
        let begun_ticks = boottime_ticks();
        let members =
            Members { job, master: None, grown: [None; TABLE], born_after: 0, born_before: begun_ticks };
        let mut kill = doomed.begin(members);
        let context = doomed.context();
        assert_eq!(
            kill.step(&context, Outlook { is_urgent: false, is_recovering: false }, 0),
            Progress::Signalled(Signal::TERM)
        );
        assert_eq!(doomed.first.death(), Some(libc::SIGTERM));
        eventually("another clock tick", || boottime_ticks() > begun_ticks);
        let newborn = doomed.start_newborn();
        assert_eq!(
            kill.step(&doomed.context(), Outlook { is_urgent: true, is_recovering: false }, 1),
            Progress::Dead
        );
        newborn.expect_unharmed(&mut doomed.journal);
    });
}

/// A process that has filled a tmpfs with what nobody else holds, and others.
struct Filled {
    journal: Journal,
    meminfo: FakeMeminfo,
    others: [Eater; 2],
}

/// More than is too little to be worth a kill.
const MORE_MIB: u64 = 20;

/// The number behind `key` in a file of /proc.
fn number_in(path: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(path).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("the key");
    line.parse().expect("a number")
}

impl Filled {
    fn set() -> Self {
        let journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let large = Eater::named("large").mib(80).start(&journal);
        // It writes more than anybody, and has a file of its own open there.
        let chatty = Eater::named("chatty").mib(1).writes(Writes::ToPipe).start(&journal);
        Self { journal, meminfo, others: [large, chatty] }
    }

    fn fill(&mut self) -> Guard {
        let guard = Guard::watching(&mut self.journal, &[LIMIT]);
        guard.look(&mut self.journal);
        self.meminfo.set(SHORT_MIB, LOSS_MIB);
        guard.look(&mut self.journal);
        guard
    }

    /// Has it become fuller by as much as `writer` writes meanwhile.
    fn fill_more(&mut self, guard: &Guard, writer: &Eater) {
        let io = format!("/proc/{}/io", writer.pid());
        self.fill_more_while(guard, || number_in(&io, "wchar: "));
    }

    /// The same, by so many bytes that are `written` by then.
    fn fill_more_while(&mut self, guard: &Guard, written: impl Fn() -> u64) {
        let before = written();
        eventually("the writer writes on", || written() >= before + ((MORE_MIB + 4) << 20));
        self.meminfo.set(SHORT_MIB - MORE_MIB, LOSS_MIB + MORE_MIB);
        guard.look(&mut self.journal);
    }

    fn end(mut self, guard: Guard) {
        guard.end();
        self.others.iter().for_each(|eater| eater.expect_unharmed(&mut self.journal));
    }
}

#[test]
fn who_writes_to_tmpfs_dies_and_not_who_is_large() {
    in_namespace(|| {
        let mut scene = Filled::set();
        let mut writer = Eater::named("writer").mib(1).writes(Writes::On).start(&scene.journal);
        let done = Eater::named("done").mib(1).writes(Writes::Once).start(&scene.journal);
        let guard = scene.fill();
        scene.fill_more(&guard, &writer);
        let line = scene.journal.expect(" with SIGTERM (exhaustion: ");
        assert!(line.contains("\"writer\" with ") && line.contains(" to tmpfs just now"), "{line:?}");
        scene.journal.expect("\"writer\" died ");
        assert_eq!(writer.death(), Some(libc::SIGTERM));
        // What it wrote stays, and nobody else is killed for it.
        scene.journal.expect(RESTRAINT);
        done.expect_unharmed(&mut scene.journal);
        scene.end(guard);
    });
}

/// Each takes a page, and few bytes are written.
#[test]
fn who_fills_a_tmpfs_with_small_files_dies() {
    const PAGE: u64 = 4096;
    in_namespace(|| {
        let mut scene = Filled::set();
        let mut writer = Eater::named("writer").mib(1).writes(Writes::Small).start(&scene.journal);
        let guard = scene.fill();
        let io = format!("/proc/{}/io", writer.pid());
        scene.fill_more_while(&guard, || number_in(&io, "syscw: ") * PAGE);
        let line = scene.journal.expect(" with SIGTERM (exhaustion: ");
        assert!(line.contains("\"writer\" with ") && line.contains(" to tmpfs just now"), "{line:?}");
        scene.journal.expect("\"writer\" died ");
        assert_eq!(writer.death(), Some(libc::SIGTERM));
        scene.journal.expect(RESTRAINT);
        scene.end(guard);
    });
}

/// It writes a part of what is missing, and has a log on a tmpfs: anybody may keep it busy and fill
/// a tmpfs without write(2) meanwhile.
#[test]
fn a_busy_proxy_does_not_die_for_what_others_fill() {
    const PART_MIB: u64 = 12;
    const LESS_MIB: u64 = 80;
    in_namespace(|| {
        let mut scene = Filled::set();
        let proxy = Eater::named("proxy").mib(1).writes(Writes::AsProxy).start(&scene.journal);
        let guard = scene.fill();
        scene.journal.expect(" went to tmpfs and nobody is writing there");
        let io = format!("/proc/{}/io", proxy.pid());
        let write_part = || {
            let before = number_in(&io, "wchar: ");
            eventually("it writes its part", || number_in(&io, "wchar: ") >= before + (PART_MIB << 20));
        };
        write_part();
        scene.meminfo.set(SHORT_MIB - LESS_MIB, LOSS_MIB + LESS_MIB);
        guard.look(&mut scene.journal);
        // By then the guard has looked again, and chosen.
        write_part();
        guard.look(&mut scene.journal);
        scene.journal.expect_none("killing pid");
        proxy.expect_unharmed(&mut scene.journal);
        scene.end(guard);
    });
}

#[test]
fn where_nobody_writes_to_a_full_tmpfs_nobody_dies() {
    in_namespace(|| {
        let mut scene = Filled::set();
        let done = Eater::named("done").mib(1).writes(Writes::Once).start(&scene.journal);
        let guard = scene.fill();
        let line = scene.journal.expect(" went to tmpfs and nobody is writing there");
        assert!(line.contains("exhaustion: ") && !line.contains("killing"), "{line:?}");
        // Nor when it has been seen for longer who writes what, and where.
        scene.meminfo.set(2 * PLENTY_MIB, LOSS_MIB);
        guard.look(&mut scene.journal);
        scene.journal.expect("memory is no longer low");
        scene.meminfo.set(SHORT_MIB, LOSS_MIB);
        scene.journal.expect(" went to tmpfs and nobody is writing there");
        scene.journal.expect_none("killing pid");
        done.expect_unharmed(&mut scene.journal);
        scene.end(guard);
    });
}
