//! From the first line about a victim to its end.

use crate::harness::{
    ASK, Eater, FORCE, FakeMeminfo, Guard, Journal, ONCE, OnTerm, QUIET, in_namespace, number_before, script,
};
use std::thread::sleep;
use std::time::Duration;

/// Kills the victim itself and ends when that is done.
const PUSHER: &str = "#!/bin/sh
kill -9 $BUSTD_PID
until grep -q '^State:.Z' /proc/$BUSTD_PID/status; do :; done
";

#[test]
fn sigterm_ends_the_victim_and_is_told_before_and_after() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").mib(64).start(&journal);
        let next = Eater::named("next").start(&journal);
        Guard::start(&journal, &[ASK, ONCE]).finish();

        let pid = victim.pid();
        let before = journal.expect(&format!("killing pid {pid} \"victim\" with SIGTERM (exhaustion: "));
        // It was written before the victim heard of it.
        journal.expect("victim: SIGTERM");
        let after = journal.expect(&format!("pid {pid} \"victim\" died "));

        assert_eq!(victim.death(), Some(libc::SIGTERM));
        next.expect_unharmed(&mut journal);
        for part in [" available, limit ", ": uid 0, frees ", ", score ", ", oom_score_adj 0; next: pid "] {
            assert!(before.contains(part), "{part:?} in {before:?}");
        }
        assert!(before.contains(&format!("next: pid {} \"next\" score ", next.pid())), "{before:?}");
        let freeable_mib = number_before(&before[before.find("frees").unwrap()..], " MiB");
        assert!((64..80).contains(&freeable_mib), "{before:?}");
        assert!(after.contains(" ms after SIGTERM; available ") && after.contains(" -> "), "{after:?}");
    });
}

#[test]
fn sigkill_follows_when_the_grace_is_over() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").on_term(OnTerm::Ignore).start(&journal);
        Guard::start(&journal, &[ASK, ONCE, &["--grace", "300"]]).finish();

        journal.expect("with SIGTERM");
        journal.expect("victim: SIGTERM");
        let after = journal.expect(" ms after SIGTERM, of SIGKILL");
        assert_eq!(victim.death(), Some(libc::SIGKILL));
        let took_ms = number_before(&after, " ms after");
        assert!((300..1300).contains(&took_ms), "{after:?}");
        assert_eq!(journal.count("victim: SIGTERM"), 1);
    });
}

#[test]
fn without_grace_there_is_only_sigkill() {
    in_namespace(|| expect_sigkill_at_once(&[ASK, ONCE, &["--grace", "0"]]));
}

#[test]
fn below_the_kill_limit_there_is_only_sigkill() {
    in_namespace(|| expect_sigkill_at_once(&[FORCE, ONCE]));
}

fn expect_sigkill_at_once(options: &[&[&str]]) {
    let mut journal = Journal::new();
    let mut victim = Eater::named("victim").on_term(OnTerm::Ignore).start(&journal);
    Guard::start(&journal, options).finish();
    assert_eq!(victim.death(), Some(libc::SIGKILL));
    journal.expect("\"victim\" with SIGKILL (exhaustion: ");
    journal.expect(" ms after SIGKILL; available ");
    journal.expect_none("victim: SIGTERM");
}

#[test]
fn grace_ends_at_the_kill_limit() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(400);
        let mut victim = Eater::named("victim").on_term(OnTerm::Ignore).start(&journal);
        let options = ["--no-daemon", "--mem", "512M,256M", "--grace", "60000"];
        let guard = Guard::start(&journal, &[ONCE, &options]);
        journal.expect("victim: SIGTERM");
        meminfo.set_available(200);
        let after = journal.expect(" ms after SIGTERM, of SIGKILL");
        assert!(number_before(&after, " ms after") < 30_000, "{after:?}");
        assert_eq!(victim.death(), Some(libc::SIGKILL));
        guard.finish();
    });
}

#[test]
fn another_dies_only_when_memory_gets_less_still() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(400);
        let mut large = Eater::named("large").mib(100).start(&journal);
        let mut middle = Eater::named("middle").mib(60).on_term(OnTerm::Ignore).start(&journal);
        let small = Eater::named("small").start(&journal);
        let guard = Guard::start(&journal, &[&["--no-daemon", "--verbose", "--mem", "512M,1M"]]);
        journal.expect("\"large\" died ");
        journal.expect("but memory has not become less since the last kill");
        journal.expect_none("middle: SIGTERM");
        meminfo.set_available(300);
        journal.expect("middle: SIGTERM");
        meminfo.set_available(900_000);
        journal.expect("\"middle\" died ");
        journal.expect("memory is no longer low");
        assert_eq!((large.death(), middle.death()), (Some(libc::SIGTERM), Some(libc::SIGKILL)));
        guard.end();
        small.expect_unharmed(&mut journal);
    });
}

#[test]
fn nobody_left_is_said_once() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let guard = Guard::watching(&mut journal, &[ASK]);
        journal.expect("but no process is worth killing among ");
        // It looks again every second, and only silence tells of that.
        sleep(Duration::from_millis(2500));
        assert_eq!(journal.count("worth killing"), 1);
        let mut victim = Eater::named("victim").start_guarded(&journal);
        journal.expect("\"victim\" died ");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        assert_eq!(number_after(&guard.look(&mut journal), "kills so far: "), 1);
        guard.end();
    });
}

fn number_after(text: &str, label: &str) -> u64 {
    let rest = &text[text.find(label).unwrap() + label.len()..];
    rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn a_victim_that_goes_by_itself_is_not_signalled() {
    in_namespace(|| {
        let pusher = script("pusher", PUSHER);
        let goes_first = |_| {
            let mut journal = Journal::new();
            let mut victim = Eater::named("victim").start(&journal);
            Guard::start(&journal, &[ASK, ONCE, &["--before-kill", &pusher]]).finish();
            journal.expect("killing pid");
            assert_eq!(victim.death(), Some(libc::SIGKILL));
            let is_unsignalled = journal.count("was gone before it was signalled") == 1;
            if is_unsignalled {
                journal.expect_none("victim: SIGTERM");
            }
            is_unsignalled
        };
        // A hook has 200 ms, which can be too little on a busy machine.
        assert!((0..5).any(goes_first));
    });
}

#[test]
fn a_dry_run_signals_nobody() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let victim = Eater::named("victim").start(&journal);
        Guard::start(&journal, &[FORCE, ONCE, &["--dry-run"]]).finish();
        journal.expect("would kill pid");
        let guard = Guard::watching(&mut journal, &[ASK, &["--dry-run"]]);
        journal.expect("would kill pid");
        guard.end();
        victim.expect_unharmed(&mut journal);
    });
}

#[test]
fn once_ends_where_there_is_nothing_to_do() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let _plenty = FakeMeminfo::mount(900_000);
        Guard::start(&journal, &[QUIET, ONCE]).finish();
        journal.expect("nothing to do: ");
    });
}
