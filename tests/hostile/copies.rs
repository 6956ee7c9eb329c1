//! Memory that several processes show and one holds.

use crate::deeds::{BELOW_KILL, LIMIT, PATIENCE, choices};
use crate::harness::{Eater, FakeMeminfo, Guard, Journal, in_namespace, living, within};
use crate::{actor, chosen, line_within, map, rest, set_comm};
use std::ffi::c_void;

/// The hole: a forked child shows all of its parent's memory, and is younger, so it is
/// chosen first. Its end gives nothing back, and it is forked again, for ever.
#[test]
fn children_do_not_die_in_place_of_their_parent_for_ever() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let _large = Eater::named("large").mib(120).start(&journal);
        let guard = Guard::watching(&mut journal, &[BELOW_KILL]);
        guard.look(&mut journal);
        actor("starter", || {
            let (mut ready, mut told) = std::io::pipe().expect("pipe");
            // SAFETY: there is one thread.
            if unsafe { libc::fork() } != 0 {
                return std::io::Read::read_exact(&mut ready, &mut [0]).expect("the parent lives");
            }
            set_comm(c"parent");
            map(150, libc::MAP_PRIVATE);
            let fork = || {
                // SAFETY: there is one thread.
                if unsafe { libc::fork() } == 0 {
                    set_comm(c"child");
                    rest();
                }
            };
            (0..3).for_each(|_| fork());
            std::io::Write::write_all(&mut told, b"1").expect("the starter lives");
            loop {
                // SAFETY: waits for any child, whose status is not wanted.
                if unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {
                    fork();
                }
            }
        });
        meminfo.set_available(400);
        let is_parents_turn = || choices(&mut journal).iter().any(|line| line.contains("\"parent\""));
        let _ = within(PATIENCE, is_parents_turn);
        guard.end();
        let choices = choices(&mut journal);
        let before = choices.iter().position(|line| line.contains("\"parent\""));
        assert!(before.is_some_and(|before| before <= 2), "{choices:#?}");
    });
}

/// The hole: a child is new, and its memory was taken to be: a large and steady process
/// that had just forked, or was about to execute something, died in place of a leak.
#[test]
fn who_forks_has_not_grown() {
    judge_forking(libc::SIGCHLD);
}

/// The same with a child in the same memory.
#[test]
fn nor_has_who_is_about_to_execute_something() {
    judge_forking(libc::CLONE_VM | libc::SIGCHLD);
}

fn judge_forking(flags: i32) {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(550);
        let (mut go, mut start) = std::io::pipe().expect("pipe");
        let (mut told, mut tell) = std::io::pipe().expect("pipe");
        actor("starter", move || {
            // SAFETY: there is one thread.
            if unsafe { libc::fork() } != 0 {
                return;
            }
            set_comm(c"server");
            map(200, libc::MAP_PRIVATE);
            std::io::Write::write_all(&mut tell, b"1").expect("the test lives");
            std::io::Read::read_exact(&mut go, &mut [0]).expect("the test lives");
            let stack = Box::leak(vec![0_u8; 64 << 10].into_boxed_slice());
            // SAFETY: the child has a stack of its own, and its end.
            let pid = unsafe {
                let end = stack.as_mut_ptr().add(stack.len()).cast();
                libc::clone(child, end, flags, std::ptr::null_mut())
            };
            assert!(pid > 0, "clone");
            std::io::Write::write_all(&mut tell, b"1").expect("the test lives");
            rest();
        });
        std::io::Read::read_exact(&mut told, &mut [0]).expect("the server lives");
        let mut leak = Eater::named("leak").mib(20).growing_by(40).start(&journal);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        std::io::Write::write_all(&mut start, b"1").expect("the server lives");
        std::io::Read::read_exact(&mut told, &mut [0]).expect("the server lives");
        leak.grow(&mut journal);
        // No more is missing than what the leak took.
        meminfo.set_available(508);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        assert!(chosen(&line).contains("\"leak\""), "{line:?}");
        assert_eq!(leak.death(), Some(libc::SIGTERM));
        guard.end();
        assert_eq!(living("server").len(), 2);
    });
}

extern "C" fn child(_: *mut c_void) -> i32 {
    rest()
}
