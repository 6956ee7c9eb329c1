//! The command that the guard runs: its signals, its end, and what it leaves behind.

use super::signal::signal_descendants;
use crate::config::Config;
use crate::config::command::{ExitMap, Forward, KILLED};
use crate::read::process::Pid;
use crate::sys::command::{Waiting, return_terminal, send};
use crate::sys::power::Power;
use crate::sys::time::{MS, SECOND};
use core::ffi::c_int;
use rustix::fd::{BorrowedFd, OwnedFd};

/// What SIGKILL does not end within this is left alone: it may be waiting for a
/// disk that is gone.
const STUCK_US: u64 = 2 * SECOND;
/// What is left may fork while it is signalled, and is signalled again after this.
const AGAIN_US: u64 = 20 * MS;

/// How the guard is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// With this status.
    pub status: u8,
    /// And the machine, if the guard is its init.
    pub power: Power,
}

/// A command that was started.
#[derive(Debug)]
pub struct Started {
    /// It waits for the loop to begin.
    pub waiting: Waiting,
    /// Where it is told why the command was killed.
    pub termination_log: Option<OwnedFd>,
    /// Whether the guard is a machine's init.
    pub is_machines: bool,
}

/// The end of the command, while others are still there.
#[derive(Clone, Copy, Debug)]
struct Ending {
    outcome: Outcome,
    /// When those are sent SIGKILL next.
    kill_us: u64,
    /// When they are waited for no more.
    give_up_us: u64,
}

/// What a command has the guard do. Not called by name: so the linker can refuse a loop
/// that refers to this code, which is given up where there is no command.
#[derive(Clone, Copy, Debug)]
struct Deeds<'a> {
    forward: fn(&mut Command<'a>, c_int, u64),
    note_end: fn(&mut Command<'a>, u8, u64),
    step: fn(&mut Command<'a>, bool, u64) -> Option<Outcome>,
}

/// The command.
#[derive(Debug)]
pub struct Command<'a> {
    deeds: Deeds<'a>,
    started: Started,
    forward: Forward,
    exits: ExitMap,
    grace_us: u64,
    proc: BorrowedFd<'a>,
    own: Pid,
    ending: Option<Ending>,
    /// It was killed for want of memory.
    was_killed: bool,
}

impl<'a> Command<'a> {
    /// One that runs.
    pub fn new(started: Started, config: &Config<'a>, proc: BorrowedFd<'a>, own: Pid) -> Self {
        let Config { forward, exits, grace_us, .. } = *config;
        let deeds =
            Deeds { forward: Self::forward_or_end, note_end: Self::begin_to_end, step: Self::step_to_end };
        Self { deeds, started, forward, exits, grace_us, proc, own, ending: None, was_killed: false }
    }

    /// Lets it begin.
    pub fn release(&self) {
        self.started.waiting.release();
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.started.waiting.pid
    }

    /// The guard.
    pub fn own(&self) -> Pid {
        self.own
    }

    /// It was killed for want of memory.
    pub fn blame(&mut self) {
        self.was_killed = true;
    }

    /// Writes why where others look for that.
    pub fn write_termination_log(&self, line: &[u8]) {
        if let Some(file) = &self.started.termination_log {
            let _ = rustix::io::write(file, line);
        }
    }

    /// Hands on a signal. Those that a machine's init is asked by to end it
    /// (busybox's halt, poweroff and reboot send them) end everything first.
    pub fn forward(&mut self, number: c_int, now_us: u64) {
        (self.deeds.forward)(self, number, now_us);
    }

    fn forward_or_end(&mut self, number: c_int, now_us: u64) {
        if self.ending.is_some() {
            return;
        }
        let power = match number {
            libc::SIGTERM | libc::SIGINT => Power::Restart,
            libc::SIGUSR1 => Power::Halt,
            libc::SIGUSR2 => Power::Off,
            _ => return self.send(number),
        };
        if self.started.is_machines {
            self.end(Outcome { status: 0, power }, now_us);
        } else {
            self.send(number);
        }
    }

    fn send(&self, number: c_int) {
        send(self.pid(), number, self.forward == Forward::Group);
    }

    /// The command has ended with this status: the rest is asked to end.
    pub fn note_end(&mut self, status: u8, now_us: u64) {
        (self.deeds.note_end)(self, status, now_us);
    }

    fn begin_to_end(&mut self, status: u8, now_us: u64) {
        if let Some(own) = self.started.waiting.terminal {
            return_terminal(own, self.pid());
        }
        if self.ending.is_none() {
            let status = self.exits.apply(status);
            self.end(Outcome { status, power: Power::Off }, now_us);
        }
    }

    fn end(&mut self, outcome: Outcome, now_us: u64) {
        let kill_us = now_us + self.grace_us;
        self.ending = Some(Ending { outcome, kill_us, give_up_us: kill_us + STUCK_US });
        signal_descendants(self.proc, self.own, self.pid(), libc::SIGTERM);
    }

    /// How the guard is to end, once nobody is left.
    pub fn step(&mut self, is_anybody_left: bool, now_us: u64) -> Option<Outcome> {
        (self.deeds.step)(self, is_anybody_left, now_us)
    }

    fn step_to_end(&mut self, is_anybody_left: bool, now_us: u64) -> Option<Outcome> {
        let ending = self.ending.as_mut()?;
        if !is_anybody_left || now_us >= ending.give_up_us {
            let status = if self.was_killed { KILLED } else { ending.outcome.status };
            return Some(Outcome { status, ..ending.outcome });
        }
        if now_us >= ending.kill_us {
            ending.kill_us = now_us + AGAIN_US;
            signal_descendants(self.proc, self.own, self.started.waiting.pid, libc::SIGKILL);
        }
        None
    }

    /// When the next step is due.
    pub fn deadline_us(&self) -> u64 {
        self.ending.map_or(u64::MAX, |ending| ending.kill_us)
    }
}

#[cfg(all(test, feature = "init"))]
mod tests {
    use super::*;
    use crate::read::kfile::Tree;
    use crate::sys::command::Licence;
    use rustix::fd::AsFd;
    use rustix::pipe::{PipeFlags, pipe_with};

    /// A command that has ended like this, of a guard that has no children.
    fn ended<'a>(tree: &'a Tree, config: Config<'a>, status: u8) -> Command<'a> {
        let pid = Pid::from_raw(i32::MAX).unwrap();
        let gate = pipe_with(PipeFlags::CLOEXEC).unwrap().1;
        let waiting = Waiting { pid, terminal: None, gate, licence: Licence::get().unwrap() };
        let started = Started { waiting, termination_log: None, is_machines: false };
        let mut command = Command::new(started, &config, tree.proc.as_fd(), pid);
        assert_eq!(command.step(false, 0), None);
        command.note_end(status, 0);
        command
    }

    #[test]
    fn it_ends_as_the_command_did_once_nobody_is_left() {
        let tree = Tree::open_live().unwrap();
        let config = Config { grace_us: SECOND, exits: ExitMap([3, 0]), ..Config::default() };
        let outcome = |status| Some(Outcome { status, power: Power::Off });
        let mut command = ended(&tree, config, 143);
        assert_eq!(command.step(true, SECOND - 1), None);
        assert_eq!(command.deadline_us(), SECOND);
        assert_eq!(command.step(true, SECOND), None);
        assert_eq!(command.deadline_us(), SECOND + AGAIN_US);
        assert_eq!(command.step(false, SECOND), outcome(143));
        // Not for ever.
        assert_eq!(command.step(true, SECOND + STUCK_US), outcome(143));
        assert_eq!(ended(&tree, config, 3).step(false, 0), outcome(0));
    }

    #[test]
    fn who_was_killed_for_want_of_memory_has_the_status_of_that() {
        let tree = Tree::open_live().unwrap();
        let config = Config { exits: ExitMap([137, 1]), ..Config::default() };
        let mut command = ended(&tree, config, 0);
        command.blame();
        assert_eq!(command.step(false, 0), Some(Outcome { status: 137, power: Power::Off }));
    }
}
