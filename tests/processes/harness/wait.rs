//! Waiting for events, never for time; every wait ends in a panic at last.

use rustix::fd::AsRawFd as _;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::c_int;
use std::fs;
use std::io::Error;
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Far more than anything takes, hooks' 5 s included.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Is there something to read, or does it come in time?
pub fn is_readable(raw_fd: c_int, patience: Duration) -> bool {
    let mut polled = libc::pollfd { fd: raw_fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    let ready = unsafe { libc::poll(&mut polled, 1, patience.as_millis() as c_int) };
    assert!(ready >= 0, "poll: {}", Error::last_os_error());
    ready > 0
}

pub fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).expect("a child's pid is not 0")
}

/// How `child` ends.
pub fn exit_of(child: &mut Child) -> ExitStatus {
    // Fails only for one that has been waited for.
    if let Ok(pidfd) = pidfd_open(pid_of(child), PidfdFlags::empty()) {
        assert!(is_readable(pidfd.as_raw_fd(), PATIENCE), "process {} does not end", child.id());
    }
    child.wait().expect("our child")
}

/// How `child` ends, if it does in time; otherwise it is killed.
#[allow(dead_code, reason = "for the tests beside these")]
pub fn ends_within(patience: Duration, child: &mut Child) -> Option<ExitStatus> {
    let pidfd = pidfd_open(pid_of(child), PidfdFlags::empty()).expect("our child");
    let has_ended = is_readable(pidfd.as_raw_fd(), patience);
    if !has_ended {
        child.kill().expect("our child");
    }
    let status = child.wait().expect("our child");
    has_ended.then_some(status)
}

/// Waits for what tells nobody when it happens; how long it took to come true, if
/// it did in time.
pub fn within(patience: Duration, mut happened: impl FnMut() -> bool) -> Option<Duration> {
    let began = Instant::now();
    while !happened() {
        if began.elapsed() > patience {
            return None;
        }
        sleep(Duration::from_millis(2));
    }
    Some(began.elapsed())
}

/// The same for what must come true.
pub fn eventually(what: &str, happened: impl FnMut() -> bool) {
    assert!(within(PATIENCE, happened).is_some(), "not so: {what}");
}

/// Has the guard blocked the signals that it takes in its loop? Before that one
/// would end it.
#[allow(dead_code, reason = "for the tests beside these")]
pub fn has_begun(guard: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{guard}/status")).unwrap_or_default();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap_or_default();
    u64::from_str_radix(blocked, 16).is_ok_and(|mask| mask >> (libc::SIGTERM - 1) & 1 == 1)
}
