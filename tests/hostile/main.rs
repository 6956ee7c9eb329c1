//! Holes that were found in the guard, each by a test that falls into it: what
//! processes can do to hide, to take others with them, or to keep the guard from
//! its work. Each is named in the comment above its test.

#[path = "../processes/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the other tests with processes need besides")]
mod harness;
#[path = "../tree/mod.rs"]
mod tree;

mod deeds;
mod readings;
mod start;

use harness::{Journal, within};
use rustix::process::Pid;
use std::ffi::{CStr, CString, c_void};
use std::io::{Read, Write, pipe};
use std::time::Duration;

/// How many lines so far hold both.
fn count(journal: &mut Journal, this: &str, that: &str) -> usize {
    journal.lines().iter().filter(|line| line.contains(this) && line.contains(that)).count()
}

/// The whole line that first holds both, if one does in time.
fn line_within(patience: Duration, journal: &mut Journal, this: &str, that: &str) -> Option<String> {
    within(patience, || count(journal, this, that) > 0)?;
    journal.lines().iter().find(|line| line.contains(this) && line.contains(that)).cloned()
}

/// Whom a line says is killed, or would be: not who comes next.
fn chosen(line: &str) -> &str {
    let is_choice = line.contains("killing pid ") || line.contains("would kill pid ");
    if is_choice { line.split(" with SIG").next().unwrap_or_default() } else { "" }
}

/// A child called `comm` that does `part` and then nothing more; returns when
/// that is done.
fn actor(comm: &str, part: impl FnOnce()) -> Pid {
    let (mut ready, mut done) = pipe().expect("pipe");
    let comm = CString::new(comm).expect("no NUL");
    // SAFETY: what the child does needs no thread but its own.
    match unsafe { libc::fork() } {
        0 => {
            drop(ready);
            set_comm(&comm);
            part();
            done.write_all(b"1").expect("the test lives");
            drop(done);
            rest()
        }
        raw => {
            drop(done);
            ready.read_exact(&mut [0]).expect("an actor gets there");
            Pid::from_raw(raw).expect("fork")
        }
    }
}

fn set_comm(comm: &CStr) {
    // SAFETY: a C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, comm.as_ptr()) };
}

/// Waits for a signal that is its end.
fn rest() -> ! {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// Maps so much with these flags, and touches all of it.
fn map(mib: usize, flags: i32) -> *mut c_void {
    let (len, access) = (mib << 20, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping, written to within its length.
    unsafe {
        let memory = libc::mmap(std::ptr::null_mut(), len, access, flags | libc::MAP_ANONYMOUS, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED, "mmap");
        libc::memset(memory, 1, len)
    }
}
