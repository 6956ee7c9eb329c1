//! The selector over made-up machines.

use super::*;
use crate::config::limits::Limits;
use crate::decide::snapshot::Loss;
use crate::decide::victim::VACANT;
use crate::read::memory::Meminfo;
use crate::read::process::JobKey;
use crate::sys::time::{MS, SECOND};
use std::boxed::Box;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{format, fs};

const MIB: u64 = 1024;

/// A /proc that is made up.
struct Machine(PathBuf);

impl Machine {
    /// With these processes: pid, name, MiB.
    fn with(processes: &[(u32, &str, u64)]) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("bustd-selector-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("proc")).unwrap();
        let machine = Self(dir);
        processes.iter().for_each(|&(pid, comm, anon_mib)| machine.set(pid, comm, anon_mib));
        machine
    }

    /// One that knows nobody yet. Its tree is there for as long as the test.
    fn selector(&self) -> Selector<'static> {
        let dir = CString::new(self.0.to_str().unwrap()).unwrap();
        let tree = Box::leak(Box::new(Tree::open_captured(&dir).unwrap()));
        let scope = Box::leak(Box::new(Scope::of_machine(tree)));
        Selector::new(tree, scope, Policy::default(), Pid::INIT, 4)
    }

    fn set(&self, pid: u32, comm: &str, anon_mib: u64) {
        self.set_mapper(pid, comm, anon_mib, 0);
    }

    /// The same with so much shared memory.
    fn set_mapper(&self, pid: u32, comm: &str, anon_mib: u64, shmem_mib: u64) {
        let dir = self.0.join(format!("proc/{pid}"));
        fs::create_dir_all(&dir).unwrap();
        let (pages, shared_pages) = ((anon_mib + shmem_mib) * 256, shmem_mib * 256);
        let (anon_kib, shmem_kib) = (anon_mib * MIB, shmem_mib * MIB);
        // Those are told apart by their age.
        let start = if shmem_mib > 0 { pid } else { 100 };
        let stat = format!("{pid} ({comm}) S 7 {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0\n");
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("statm"), format!("{pages} {pages} {shared_pages} 1 0 0 0\n")).unwrap();
        let status = format!("Uid:\t0\t0\t0\t0\nRssAnon:\t{anon_kib} kB\nRssShmem:\t{shmem_kib} kB\n");
        fs::write(dir.join("status"), status).unwrap();
        fs::write(dir.join("oom_score_adj"), "0\n").unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// 320 MiB of memory of which so much is missing.
fn snapshot(total_kib: u64, shmem_kib: u64) -> Snapshot {
    let mem = Meminfo {
        mem_total_kib: 320 * MIB,
        mem_available_kib: 20 * MIB,
        anon_kib: 280 * MIB,
        shmem_kib,
        ..Meminfo::default()
    };
    Snapshot { mem, loss: Loss { total_kib, shmem_kib, ..Loss::default() }, ..Snapshot::default() }
}

fn select(selector: &mut Selector<'_>, urgency: Urgency, lost: &Snapshot) -> Result<i32, NoVictim> {
    let selected = selector.select_victim(Rule::Exhaustion, urgency, lost, 5_000_000, 0);
    selected.map(|()| selector.culprit().victim.id.pid.as_raw_pid())
}

#[test]
fn who_grew_dies_before_who_is_large() {
    let machine = Machine::with(&[(100, "database", 60), (200, "leak", 10)]);
    let mut selector = machine.selector();
    assert_eq!(selector.survey(&snapshot(0, 0), 1), Ok(()));
    // Nothing is known of who grew, and so size decides.
    assert_eq!(select(&mut selector, Urgency::Term, &snapshot(0, 0)), Ok(100));
    machine.set(200, "leak", 40);
    assert_eq!(selector.survey(&snapshot(30 * MIB, 0), 2), Ok(()));
    assert_eq!(select(&mut selector, Urgency::Term, &snapshot(30 * MIB, 0)), Ok(200));
    assert_eq!(selector.next().map(|next| next.id.pid.as_raw_pid()), Some(100));
}

#[test]
fn a_kill_is_no_reason_for_another() {
    let machine = Machine::with(&[(100, "database", 60)]);
    let mut selector = machine.selector();
    assert_eq!(selector.survey(&snapshot(0, 0), 1), Ok(()));
    selector.settle(0);
    assert_eq!(select(&mut selector, Urgency::Term, &snapshot(0, 0)), Err(NoVictim::Steady));
    // Unless memory is below the KILL limit, has become less, or was enough.
    assert_eq!(select(&mut selector, Urgency::Kill, &snapshot(0, 0)), Ok(100));
    assert_eq!(select(&mut selector, Urgency::Term, &snapshot(2 * MIB, 0)), Ok(100));
    selector.leave_low();
    assert_eq!(select(&mut selector, Urgency::Term, &snapshot(0, 0)), Ok(100));
}

#[test]
fn who_is_set_aside_or_too_small_is_not_chosen() {
    let machine = Machine::with(&[(100, "stuck", 60), (200, "small", 1)]);
    let mut selector = machine.selector();
    assert_eq!(selector.survey(&snapshot(0, 0), 1), Ok(()));
    let stuck = selector.candidates()[0].id;
    selector.set_aside(stuck);
    assert_eq!(selector.survey(&snapshot(0, 0), 2), Ok(()));
    let nobody = Err(NoVictim::NoCandidate { processes: 2 });
    assert_eq!(select(&mut selector, Urgency::Kill, &snapshot(0, 0)), nobody);
}

#[test]
fn a_survey_that_fails_forgets_no_baseline() {
    let machine = Machine::with(&[(100, "database", 60), (200, "leak", 10)]);
    let mut selector = machine.selector();
    assert_eq!(selector.survey(&snapshot(0, 0), 1), Ok(()));
    // A file that cannot be read although it is there.
    let statm = machine.0.join("proc/200/statm");
    fs::remove_file(&statm).unwrap();
    fs::create_dir(&statm).unwrap();
    for _ in 0..MAX_FAILURES {
        assert!(selector.survey(&snapshot(0, 0), 2).is_err());
        assert!(selector.candidates().is_empty());
    }
    // That file's process does not blind it for ever.
    assert_eq!(selector.survey(&snapshot(0, 0), 3), Ok(()));
    assert_eq!(selector.candidates().len(), 1);
    fs::remove_dir(&statm).unwrap();
    machine.set(200, "leak", 40);
    assert_eq!(selector.survey(&snapshot(30 * MIB, 0), 4), Ok(()));
    assert_eq!(select(&mut selector, Urgency::Term, &snapshot(30 * MIB, 0)), Ok(200));
    let database = selector.candidates().iter().find(|held| held.id.pid.as_raw_pid() == 100);
    assert_eq!(database.unwrap().growth.kib, 0);
}

#[test]
fn nobody_dies_for_a_tmpfs_that_nobody_fills_unless_there_is_no_time() {
    let machine = Machine::with(&[(100, "database", 60)]);
    let mut selector = machine.selector();
    let full = snapshot(200 * MIB, 200 * MIB);
    assert_eq!(selector.survey(&full, 1), Ok(()));
    assert_eq!(select(&mut selector, Urgency::Term, &full), Err(NoVictim::TooSoon));
    let later = selector.select_victim(Rule::Exhaustion, Urgency::Term, &full, 5_200_000, 0);
    assert_eq!(later.map(|_| ()), Err(NoVictim::NoWriter { shmem_growth_kib: 200 * MIB }));
    assert_eq!(select(&mut selector, Urgency::Kill, &full), Ok(100));
}

#[test]
fn little_more_in_a_tmpfs_after_a_writers_death_is_another_writers() {
    let machine = Machine::with(&[(100, "database", 60)]);
    let mut selector = machine.selector();
    selector.settle(10 * SECOND);
    // Enough to be a reason to kill again.
    let little = snapshot(2 * MIB, 2 * MIB);
    assert_eq!(selector.survey(&little, SECOND), Ok(()));
    let mut choose = |now_us| {
        let chosen = selector.select_victim(Rule::Exhaustion, Urgency::Term, &little, now_us, 0);
        chosen.map(|()| selector.culprit().victim.id.pid.as_raw_pid())
    };
    assert_eq!(choose(9 * SECOND), Err(NoVictim::TooSoon));
    assert_eq!(choose(11 * SECOND), Ok(100));
}

#[test]
fn nobody_else_has_what_stays_in_a_tmpfs() {
    let machine = Machine::with(&[]);
    let mut selector = machine.selector();
    selector.culprit.victim.freeable_kib = 100 * MIB;
    selector.culprit.held.pipes = 3;
    assert!(selector.have_others_it(0));
    selector.culprit.held.tmpfs_kib = 100 * MIB;
    assert!(!selector.have_others_it(0));
}

#[test]
fn growth_is_noted_as_memory_gets_less_and_now_and_then() {
    let machine = Machine::with(&[(100, "database", 60)]);
    let mut selector = machine.selector();
    let levels = |snapshot: &Snapshot| Levels::of(&Limits::default(), snapshot);
    let mut now = snapshot(0, 0);
    let start_us = read_clock();
    assert!(selector.is_note_due(start_us));
    selector.note_growth(&now, &levels(&now), start_us);
    assert!(selector.last.is_some() && !selector.is_note_due(start_us + 1));
    let noted_us = |selector: &Selector<'_>| selector.last.map(|last| last.at_us);
    // Not again at once, and not while nothing is lost.
    let later_us = read_clock() + 10 * SECOND;
    selector.note_growth(&now, &levels(&now), later_us);
    assert_eq!(noted_us(&selector), Some(start_us));
    now.mem.mem_available_kib -= 4 * MIB;
    selector.note_growth(&now, &levels(&now), later_us);
    assert_eq!(noted_us(&selector), Some(later_us));
    assert!(selector.is_note_due(later_us + NOTE_IDLE_US));
}

#[test]
fn where_everything_stalls_who_is_known_to_grow_will_do() {
    let machine = Machine::with(&[(100, "database", 60), (200, "leak", 10)]);
    let mut selector = machine.selector();
    let first_kib = |selector: &Selector<'_>| selector.candidates()[0].freeable_kib;
    let survey_for = |selector: &mut Selector<'_>, rule, now_us| {
        assert_eq!(selector.survey_for(rule, &snapshot(30 * MIB, 0), &Levels::default(), now_us), Ok(()));
    };
    survey_for(&mut selector, Rule::Floor, 1);
    // Nobody is known to have grown.
    machine.set(200, "leak", 40);
    survey_for(&mut selector, Rule::Floor, 2);
    assert_eq!(first_kib(&selector), 40 * MIB);
    machine.set(200, "leak", 50);
    survey_for(&mut selector, Rule::Floor, 3);
    assert_eq!(first_kib(&selector), 40 * MIB);
    survey_for(&mut selector, Rule::Exhaustion, 4);
    assert_eq!(first_kib(&selector), 50 * MIB);
    // What is known from long ago is not.
    machine.set(200, "leak", 55);
    survey_for(&mut selector, Rule::Floor, 4 + FRESH_US);
    assert_eq!(first_kib(&selector), 55 * MIB);
}

/// Users decide how many processes there are, and in which order they started.
#[test]
fn a_survey_that_is_cut_short_is_made_again_in_full() {
    let machine = Machine::with(&[(100, "mouse", 2), (101, "hog", 200)]);
    fs::write(machine.0.join("proc/meminfo"), "MemTotal: 327680 kB\nMemAvailable: 1024 kB\n").unwrap();
    let mut selector = machine.selector();
    let (now, levels) = (snapshot(0, 0), Levels { mem_term_kib: 20 * MIB, ..Levels::default() });
    selector.terms.vigil.begin(Until { least_kib: 20 * MIB, enough_kib: u64::MAX });
    selector.survey(&now, 0).unwrap();
    assert!(selector.is_partial && selector.candidates().is_empty());
    selector.survey_for(Rule::Exhaustion, &now, &levels, 0).unwrap();
    assert!(!selector.is_partial && !selector.terms.vigil.has_come_back());
    assert_eq!(selector.candidates()[0].job.comm.as_bytes(), b"hog");
}

/// Nobody dies by what a survey found that ended before its end.
#[test]
fn a_survey_ends_where_memory_has_come_back() {
    let machine = Machine::with(&[(100, "mouse", 2), (101, "hog", 200)]);
    let available = |kib: u64| {
        let text = format!("MemTotal: 327680 kB\nMemAvailable: {kib} kB\n");
        fs::write(machine.0.join("proc/meminfo"), text).unwrap();
    };
    available(20 * MIB + 1);
    let mut selector = machine.selector();
    let (now, levels) = (snapshot(0, 0), Levels { mem_term_kib: 20 * MIB, ..Levels::default() });
    selector.survey_for(Rule::Exhaustion, &now, &levels, 0).unwrap();
    assert!(selector.terms.vigil.has_come_back() && selector.is_partial);
    let selected = selector.select_victim(Rule::Exhaustion, Urgency::Kill, &now, 0, 0);
    assert_eq!(selected, Err(NoVictim::StillLooking));
    // Until the next.
    available(20 * MIB);
    selector.survey_for(Rule::Exhaustion, &now, &levels, 0).unwrap();
    assert!(!selector.terms.vigil.has_come_back() && !selector.is_partial);
}

/// Who has just been started is not who grows now, and a look after a long time
/// does not tell the two apart.
#[test]
fn everybody_is_looked_at_twice_where_there_is_time() {
    let machine = Machine::with(&[(100, "database", 60)]);
    let mut selector = machine.selector();
    let now = snapshot(0, 0);
    let decide = |selector: &mut Selector<'_>, now_us, wait_us| {
        selector.survey_for(Rule::Exhaustion, &now, &Levels::default(), now_us).unwrap();
        selector.select_victim(Rule::Exhaustion, Urgency::Term, &now, now_us, wait_us).map(|_| ())
    };
    assert_eq!(decide(&mut selector, SECOND, LOOK_AGAIN_US), Err(NoVictim::TooSoon));
    assert!(!selector.has_history());
    assert_eq!(decide(&mut selector, SECOND + LOOK_AGAIN_US, LOOK_AGAIN_US), Ok(()));
    assert!(selector.has_history());
    assert_eq!(decide(&mut selector, 30 * SECOND, LOOK_AGAIN_US), Err(NoVictim::TooSoon));
    assert_eq!(decide(&mut selector, 60 * SECOND, 0), Ok(()));
}

/// It may be a moment's, and then small workers would die for who leaks.
#[test]
fn what_nobody_seems_to_have_is_seen_again_where_there_is_time() {
    let machine = Machine::with(&[(100, "database", 60)]);
    let mut selector = machine.selector();
    let now = snapshot(200 * MIB, 0);
    let mut now_us = SECOND;
    let mut decide = |wait_us| {
        now_us += LOOK_AGAIN_US;
        selector.survey_for(Rule::Exhaustion, &now, &Levels::default(), now_us).unwrap();
        selector.select_victim(Rule::Exhaustion, Urgency::Term, &now, now_us, wait_us).map(|_| ())
    };
    // The search for who holds it takes time, too.
    assert_eq!(decide(0), Ok(()));
    assert_eq!(decide(LOOK_AGAIN_US), Ok(()));
    for _ in 0..3 {
        assert_eq!(decide(SEARCH_US), Err(NoVictim::TooSoon));
    }
    assert_eq!(decide(SEARCH_US), Ok(()));
}

/// Of those started last, by its memory and its user.
#[test]
fn who_took_the_place_of_the_gone_is_found() {
    let machine = Machine::with(&[(100, "database", 60), (200, "hopper", 40), (203, "other", 29)]);
    let last = |pid: u32| fs::write(machine.0.join("proc/loadavg"), format!("0 0 0 1/9 {pid}\n")).unwrap();
    let mut selector = machine.selector();
    let id = Identity { pid: Pid::from_raw(150).unwrap(), starttime: 100 };
    let gone = Candidate { id, freeable_kib: 40 * MIB, ..VACANT };
    let mut find = |gone: &Candidate| {
        let has_found = selector.find_successor(gone, &snapshot(0, 0), 0);
        has_found.then(|| (selector.culprit().victim.id.pid.as_raw_pid(), selector.culprit().is_fleeing))
    };
    last(203);
    assert_eq!(find(&gone), Some((200, true)));
    // One of 30 MiB would do, but not one of 29.
    last(205);
    assert_eq!(find(&gone), None);
    let little = Candidate { freeable_kib: 39 * MIB, ..gone };
    last(203);
    machine.set(203, "other", 30);
    assert_eq!(find(&little), Some((203, true)));
    // Nor one that is another user's, or older.
    let another = Candidate { job: JobKey { uid: 7, ..gone.job }, ..gone };
    assert_eq!(find(&another), None);
    let later = Candidate { id: Identity { starttime: 101, ..id }, ..gone };
    assert_eq!(find(&later), None);
}

/// The hole: what members in the ranking had grown by counted twice, for what it
/// explains and for what it does not.
#[test]
fn a_spawn_burst_does_not_hold_what_is_explained_already() {
    let members: std::vec::Vec<_> = (100..150).map(|pid| (pid, "worker", 2)).collect();
    let machine = Machine::with(&members);
    let mut selector = machine.selector();
    let now = snapshot(150 * MIB, 0);
    assert_eq!(selector.survey(&now, 1), Ok(()));
    for &(pid, comm, anon_mib) in &members {
        machine.set(pid, comm, anon_mib * 2);
    }
    assert_eq!(selector.survey(&now, 2), Ok(()));
    let Selector { terms, table, culprit, .. } = &mut selector;
    let explained_kib: u64 = table.all().iter().map(|held| held.growth.kib).sum();
    assert_eq!(explained_kib, 64 * MIB);
    let context = terms.context(&now, None, 3);
    let mut find = |unexplained_mib: u64, ranked: &[Candidate]| {
        survey_spawn_burst(terms.proc, &context, 0, unexplained_mib * MIB, ranked, culprit).unwrap()
    };
    // Fifty have 206 MiB with what the kernel keeps for them.
    assert!(find(400, &[]) && !find(420, &[]));
    assert!(find(280, table.all()) && !find(290, table.all()));
}

/// Recorded in the lab, scene backend: of a database with shared memory the backend died
/// that was youngest, and then all.
#[test]
fn of_those_that_share_memory_the_one_dies_whose_own_has_grown() {
    let backends = 101..106;
    let machine = Machine::with(&[(50, "other", 60)]);
    backends.clone().for_each(|pid| machine.set_mapper(pid, "backend", 3, 40));
    for leak in backends.clone() {
        let mut selector = machine.selector();
        assert_eq!(selector.survey(&snapshot(0, 0), 1), Ok(()));
        machine.set_mapper(leak, "backend", 50, 40);
        assert_eq!(selector.survey(&snapshot(47 * MIB, 0), 2), Ok(()));
        assert_eq!(select(&mut selector, Urgency::Term, &snapshot(47 * MIB, 0)), Ok(leak as i32));
        assert_eq!(selector.culprit().members, 1);
        machine.set_mapper(leak, "backend", 3, 40);
    }
    // Where it is the shared memory that grew, one of them at first.
    let mut selector = machine.selector();
    assert_eq!(selector.survey(&snapshot(0, 0), 1), Ok(()));
    backends.for_each(|pid| machine.set_mapper(pid, "backend", 3, 100));
    let lost = snapshot(60 * MIB, 60 * MIB);
    assert_eq!(selector.survey(&lost, 2), Ok(()));
    assert_eq!(select(&mut selector, Urgency::Term, &lost), Ok(105));
}

/// Recorded in the lab, scene fresh-many: sixty that had been started a while ago, each
/// too small to be ranked, died for the leak that grew.
#[test]
fn what_has_stopped_being_lost_is_no_reason_to_look_for_who_took_it() {
    let machine = Machine::with(&[(100, "database", 60), (200, "leak", 10)]);
    let mut selector = machine.selector();
    let lost = |kib| {
        let mut lost = snapshot(kib, 0);
        lost.mem.mem_available_kib = 310 * MIB - kib;
        lost
    };
    let mut survey = |at: u64, leak_mib: u64, lost_mib: u64| {
        machine.set(200, "leak", leak_mib);
        let lost = lost(lost_mib * MIB);
        assert_eq!(selector.survey(&lost, 20 * SECOND + at * LOOK_AGAIN_US), Ok(()));
        let taken = selector.taken.growth(selector.last.unwrap().taken_kib, u64::MAX);
        let attribution = attribute(selector.candidates(), &lost.loss, &taken, MIB);
        matches!(attribution, Attribution::SpawnBurst { .. })
    };
    survey(0, 10, 0);
    // Others take what is missing, ...
    assert!(survey(1, 11, 60));
    assert!(survey(2, 12, 120));
    // ... and stop. What they have is less than four times what the leak has grown by.
    (3..40).for_each(|at| {
        survey(at, 10 + at, 118 + at);
    });
    assert!(!survey(40, 50, 158));
    assert!(!survey(41, 51, 159));
    // Until somebody takes more.
    assert!(survey(42, 52, 300));
}

/// Recorded in the lab, scene late-heap: an innocent that took much at once died for the leak
/// that had nearly all there was and went on slowly.
#[test]
fn who_takes_much_at_once_dies_only_if_it_goes_on() {
    let now = snapshot(140 * MIB, 0);
    // Looks, and how long each takes.
    let long_looks = |looks: &[(u64, u64, u64)], takes_us: u64| {
        let machine = Machine::with(&[(100, "late", 5), (200, "leak", 10)]);
        let mut selector = machine.selector();
        let mut chosen = Ok(());
        for &(at_ms, late_mib, leak_mib) in [(0, 5, 10), (20_000, 5, 110)].iter().chain(looks) {
            machine.set(100, "late", late_mib);
            machine.set(200, "leak", leak_mib);
            let now_us = at_ms * MS + 1;
            assert_eq!(selector.survey(&now, now_us), Ok(()));
            chosen = match at_ms {
                0..=20_000 => Ok(()),
                _ => {
                    let now_us = now_us + takes_us;
                    selector.select_victim(Rule::Exhaustion, Urgency::Term, &now, now_us, LOOK_AGAIN_US)
                }
            };
        }
        chosen.map(|()| selector.culprit().victim.id.pid.as_raw_pid())
    };
    let looks = |looks: &[(u64, u64, u64)]| long_looks(looks, 0);
    let burst = [(20_300, 40, 110), (20_400, 45, 110)];
    let and = |more: &[(u64, u64, u64)]| looks(&[&burst[..], more].concat());
    assert_eq!(looks(&burst[..1]), Err(NoVictim::TooSoon));
    assert_eq!(and(&[(20_800, 45, 111)]), Err(NoVictim::TooSoon));
    // It has stopped, and the leak goes on, ...
    assert_eq!(and(&[(20_800, 45, 110), (20_900, 45, 111)]), Ok(200));
    // ... or takes long to.
    assert_eq!(and(&[(20_800, 45, 110), (20_900, 45, 110)]), Err(NoVictim::TooSoon));
    assert_eq!(and(&[(21_800, 45, 110), (21_801, 45, 110)]), Ok(200));
    // That it has stopped is known to a look that began after it had, not to one that lasted so long.
    let ends = |at_ms, leak_mib| {
        let rests = [20_500, 20_600, 20_700, 20_800].map(|at_ms| (at_ms, 45, 110));
        long_looks(&[&burst[..], &rests, &[(at_ms, 45, leak_mib)]].concat(), 20 * MS)
    };
    assert_eq!([ends(20_890, 110), ends(20_900, 111)], [Err(NoVictim::TooSoon), Ok(200)]);
    // It goes on, ...
    assert_eq!(and(&[(20_500, 50, 110), (20_700, 55, 110)]), Err(NoVictim::TooSoon));
    assert_eq!(and(&[(20_500, 50, 110), (20_800, 55, 110)]), Ok(100));
    // ... also after a pause.
    assert_eq!(and(&[(20_900, 45, 110), (21_000, 55, 110)]), Ok(100));
    // Nobody else has grown by as much.
    assert_eq!(looks(&[(20_300, 140, 110)]), Ok(100));
    assert_eq!(and(&[(20_500, 200, 110)]), Ok(100));
}

/// What is to be seen first takes no longer than memory lasts.
#[test]
fn no_choice_is_put_off_where_there_is_no_time() {
    let machine = Machine::with(&[(100, "late", 5), (200, "leak", 10)]);
    let mut selector = machine.selector();
    let now = snapshot(140 * MIB, 0);
    assert_eq!(selector.survey(&now, 1), Ok(()));
    machine.set(200, "leak", 110);
    assert_eq!(selector.survey(&now, 20 * SECOND), Ok(()));
    machine.set(100, "late", 45);
    let now_us = 20 * SECOND + LOOK_AGAIN_US;
    assert_eq!(selector.survey(&now, now_us), Ok(()));
    let mut select =
        |urgency, wait_us| selector.select_victim(Rule::Exhaustion, urgency, &now, now_us, wait_us);
    assert_eq!(select(Urgency::Term, LOOK_AGAIN_US), Err(NoVictim::TooSoon));
    assert_eq!(select(Urgency::Term, LOOK_AGAIN_US - 1), Err(NoVictim::StillLooking));
    assert_eq!(select(Urgency::Term, 0), Ok(()));
    assert_eq!(select(Urgency::Kill, LOOK_AGAIN_US), Ok(()));
    assert_eq!(selector.culprit().victim.id.pid.as_raw_pid(), 100);
}
