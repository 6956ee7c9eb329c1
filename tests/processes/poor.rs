//! Kernels that lack what newer or richer ones have, one call at a time and all of them:
//! the guard starts, says what is missing where that matters, and kills the right one.

use crate::harness::{ASK, Eater, Guard, Journal, OnTerm, SET_SECCOMP, bustd, in_namespace, refuse};
use libc::c_long;

/// What is missing, by call, and what is said of it; nothing where the guard does the
/// same with other calls, or without.
const MISSING: &[(&str, c_long, &str)] = &[
    ("pidfd_open", libc::SYS_pidfd_open, "no pidfd: "),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal, "no pidfd: "),
    ("process_mrelease", libc::SYS_process_mrelease, "no process_mrelease: "),
    ("signalfd4", libc::SYS_signalfd4, "no signalfd: "),
    ("mlockall", libc::SYS_mlockall, "cannot lock memory: "),
    ("seccomp", SET_SECCOMP, "sandbox: no seccomp"),
    ("mlock", libc::SYS_mlock, ""),
    ("mlock2", libc::SYS_mlock2, ""),
    ("perf_event_open", libc::SYS_perf_event_open, ""),
    ("prlimit64", libc::SYS_prlimit64, ""),
    ("close_range", libc::SYS_close_range, ""),
    ("name_to_handle_at", libc::SYS_name_to_handle_at, ""),
    ("memfd_create", libc::SYS_memfd_create, ""),
    ("kcmp", libc::SYS_kcmp, ""),
    ("statx", libc::SYS_statx, ""),
    ("getrandom", libc::SYS_getrandom, ""),
];

const ALL: &[c_long] = &{
    let mut all = [0; MISSING.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = MISSING[at].1;
        at += 1;
    }
    all
};

/// Plays it on a kernel without `calls`, after which the guard must have said `words`.
fn play(calls: &'static [c_long], words: &[&str]) {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").mib(80).on_term(OnTerm::Ignore).start(&journal);
        let mut innocent = Eater::named("innocent").mib(40).start(&journal);
        let mut command = bustd(&journal, &[ASK, &["--grace", "100"]]);
        refuse(&mut command, calls, libc::ENOSYS);
        let guard = Guard::spawn(command);
        journal.expect("watching");
        journal.expect("\"victim\" with SIGTERM");
        journal.expect(" ms after SIGTERM, of SIGKILL");
        assert_eq!(victim.death(), Some(libc::SIGKILL));
        for word in words {
            assert_ne!(journal.count(word), 0, "{word:?} in {:?}", journal.lines());
        }
        innocent.expect_unharmed(&mut journal);
        innocent.kill();
        // It answers, and ends in peace.
        guard.look(&mut journal);
        guard.end();
    });
}

macro_rules! without {
    ($($name:ident: $at:expr;)*) => {
        $(#[test]
        fn $name() {
            const AT: usize = $at;
            let (_, _, words) = MISSING[AT];
            play(const { &[MISSING[AT].1] }, &[words]);
        })*

        #[test]
        fn every_call_has_its_turn() {
            let mut turns = [$((stringify!($name), $at)),*];
            turns.sort_by_key(|turn: &(&str, usize)| turn.1);
            assert_eq!(turns.len(), MISSING.len());
            for ((name, at), (call, ..)) in turns.iter().zip(MISSING) {
                assert_eq!((format!("without_{call}"), MISSING[*at].0), ((*name).to_owned(), *call));
            }
        }
    };
}

without! {
    without_pidfd_open: 0;
    without_pidfd_send_signal: 1;
    without_process_mrelease: 2;
    without_signalfd4: 3;
    without_mlockall: 4;
    without_seccomp: 5;
    without_mlock: 6;
    without_mlock2: 7;
    without_perf_event_open: 8;
    without_prlimit64: 9;
    without_close_range: 10;
    without_name_to_handle_at: 11;
    without_memfd_create: 12;
    without_kcmp: 13;
    without_statx: 14;
    without_getrandom: 15;
}

/// What is said where nothing of it is there: of a guard that has no pidfds, nothing of
/// process_mrelease, which takes one.
const OF_ALL: &[&str] = &["no pidfd: ", "no signalfd: ", "cannot lock memory: ", "sandbox: no seccomp"];

#[test]
fn without_all_of_it() {
    play(ALL, OF_ALL);
}
