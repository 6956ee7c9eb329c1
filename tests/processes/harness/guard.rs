//! The program under test.

use super::journal::Journal;
use super::namespace::{PROGRAM, assert_inside};
use super::wait::{exit_of, pid_of};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Error;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Memory is always short enough to ask.
pub const ASK: &[&str] = &["--no-daemon", "--mem", "100%,1%", "--swap", "100%,1%"];

/// Memory is always short enough to kill by force.
pub const FORCE: &[&str] = &["--no-daemon", "--mem", "100%,100%", "--swap", "100%,100%"];

/// One decision and what comes of it.
pub const ONCE: &[&str] = &["--once"];

/// Whatever happens, nobody is killed.
pub const QUIET: &[&str] = &["--no-daemon", "--dry-run"];

/// The command line of a guard that writes to `journal`.
pub fn bustd(journal: &Journal, options: &[&[&str]]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(options.concat()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
    command
}

/// Lets no file it writes become longer than `bytes`.
pub fn limit_files(command: &mut Command, bytes: u64) {
    let limit_files = move || {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: a valid limit.
        match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) } {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        }
    };
    // SAFETY: one system call.
    unsafe { command.pre_exec(limit_files) };
}

pub struct Guard {
    child: Child,
}

impl Guard {
    /// Starts a guard, which must see no processes but the test's own.
    pub fn spawn(mut command: Command) -> Self {
        assert_inside();
        Self { child: command.spawn().expect("the guard starts") }
    }

    pub fn start(journal: &Journal, options: &[&[&str]]) -> Self {
        Self::spawn(bustd(journal, options))
    }

    /// Starts a guard and waits until it watches.
    pub fn watching(journal: &mut Journal, options: &[&[&str]]) -> Self {
        let guard = Self::start(journal, options);
        journal.expect("watching");
        guard
    }

    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    pub fn send(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the guard can be signalled");
    }

    /// Has it look at memory now, and waits until it is about to: whatever it
    /// began before, as the first survey, is over. Returns its status line.
    pub fn look(&self, journal: &mut Journal) -> String {
        self.send(Signal::USR1);
        journal.expect("status: ")
    }

    /// Processor time so far, to which what else this machine does adds nothing.
    #[allow(dead_code, reason = "for the tests beside these")]
    pub fn processor_time(&self) -> Duration {
        let mut clock = 0;
        // SAFETY: a clock and a time to be written to.
        unsafe {
            assert_eq!(libc::clock_getcpuclockid(self.pid().as_raw_pid(), &mut clock), 0);
            let mut time: libc::timespec = std::mem::zeroed();
            assert_eq!(libc::clock_gettime(clock, &mut time), 0);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        }
    }

    pub fn exit(mut self) -> ExitStatus {
        exit_of(&mut self.child)
    }

    /// Waits for the end of a guard that ends by itself, in peace.
    pub fn finish(self) {
        let status = self.exit();
        assert!(status.success(), "the guard ended with {status}");
    }

    /// Ends a guard that watches.
    pub fn end(self) {
        self.send(Signal::TERM);
        self.finish();
    }
}
