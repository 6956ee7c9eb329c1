//! Waiting for events, never for time; every wait ends in a panic at last.

use rustix::fd::AsRawFd as _;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::c_int;
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

/// Waits for what tells nobody when it happens.
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < PATIENCE, "not so: {what}");
        sleep(Duration::from_millis(2));
    }
}
