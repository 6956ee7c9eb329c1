//! Processes that hold memory and wait to be killed.

use super::journal::Journal;
use super::namespace::{SCRATCH, mount, skip};
use super::roles::Role;
use super::wait::{exit_of, pid_of};
use bustd::read::kfile::Tree;
use bustd::read::listing::for_each_process;
use bustd::read::process::{Identity, Stat, read_stat};
use rustix::fd::AsFd;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};

/// An ordinary user.
pub const NOBODY: u32 = 65534;

/// What an eater does about SIGTERM.
#[derive(Clone, Copy, PartialEq)]
pub enum OnTerm {
    /// What everybody does, without a word.
    Die,
    /// Writes `NAME: SIGTERM` to the journal, then dies of it.
    Report,
    /// Writes `NAME: SIGTERM` to the journal, and that was that.
    Ignore,
}

/// What an eater's first thread does.
#[derive(Clone, Copy, PartialEq)]
pub enum Leader {
    Stays,
    /// Leaves memory and signals to a second thread.
    Exits,
}

/// What an eater writes, and where.
#[derive(Clone, Copy, PartialEq)]
pub enum Writes {
    Nothing,
    /// [`WRITTEN_MIB`] to a file on a tmpfs, which it keeps open.
    Once,
    /// The same, and then goes on.
    On,
    /// As much of a tmpfs, but in small files, one after the other, and then goes on.
    Small,
    /// The same to a pipe that has a name on that tmpfs, and as fast; a file
    /// there it has open as well holds its pid.
    ToPipe,
    /// The same, but that file is a log of a few pages.
    AsProxy,
}

/// What who writes has written when it is ready.
pub const WRITTEN_MIB: u64 = 32;

/// An eater to be.
pub struct Plan {
    pub name: String,
    /// What the kernel calls it, if not by its name.
    comm: Option<String>,
    pub mib: usize,
    /// So much more, once it is told to.
    pub growth_mib: usize,
    pub writes: Writes,
    pub on_term: OnTerm,
    pub leader: Leader,
    pub uid: Option<u32>,
    group: Option<i32>,
    oom_score_adj: i16,
}

pub struct Eater {
    name: String,
    child: Child,
}

/// See [`Role::Breeder`].
pub struct Breeder(Child);

impl Breeder {
    /// Starts it in a process group of its own and waits until all its children
    /// are there.
    pub fn start(journal: &Journal, comm: &str, zombies: usize, living: usize) -> Self {
        let mut command = Role::Breeder { comm, zombies, living }.command();
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(journal.pen());
        let mut child = command.spawn().expect("a breeder starts");
        assert_eq!(first_line(&mut child), "ready\n");
        Self(child)
    }

    pub fn pid(&self) -> Pid {
        pid_of(&self.0)
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
    line
}

impl Eater {
    /// More than the least freeable memory worth a kill on any machine.
    pub fn named(name: &str) -> Plan {
        Plan {
            name: name.to_owned(),
            comm: None,
            mib: 40,
            growth_mib: 0,
            writes: Writes::Nothing,
            on_term: OnTerm::Report,
            leader: Leader::Stays,
            uid: None,
            group: None,
            oom_score_adj: 0,
        }
    }

    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    pub fn stat(&self) -> Stat {
        read_stat(Tree::open_live().expect("/proc").proc.as_fd(), self.pid()).expect("its stat")
    }

    pub fn identity(&self) -> Identity {
        Identity { pid: self.pid(), starttime: self.stat().starttime }
    }

    /// Has it answer for itself: everything sent to it before would have shown.
    pub fn expect_unharmed(&self, journal: &mut Journal) {
        kill_process(self.pid(), Signal::WINCH).expect("our child");
        journal.expect(&format!("{}: unharmed", self.name));
        journal.expect_none(&format!("{}: SIGTERM", self.name));
    }

    /// Protects it from now on.
    pub fn protect(&self) {
        set_oom_score_adj(self.pid().as_raw_pid().unsigned_abs(), -1000);
    }

    /// Has it grow by what it was planned to, and waits until it has.
    pub fn grow(&self, journal: &mut Journal) {
        kill_process(self.pid(), Signal::USR1).expect("our child");
        journal.expect(&format!("{}: grown", self.name));
    }

    /// The signal it dies of.
    pub fn death(&mut self) -> Option<i32> {
        exit_of(&mut self.child).signal()
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("our child");
        exit_of(&mut self.child);
    }
}

impl Plan {
    pub fn comm(self, comm: &str) -> Self {
        Self { comm: Some(comm.to_owned()), ..self }
    }

    /// What the kernel is to call it.
    pub fn comm_or_name(&self) -> &str {
        self.comm.as_ref().unwrap_or(&self.name)
    }

    /// See [`Eater::grow`].
    pub fn growing_by(self, growth_mib: usize) -> Self {
        Self { growth_mib, ..self }
    }

    pub fn writes(self, writes: Writes) -> Self {
        Self { writes, ..self }
    }

    pub fn mib(self, mib: usize) -> Self {
        Self { mib, ..self }
    }

    pub fn on_term(self, on_term: OnTerm) -> Self {
        Self { on_term, ..self }
    }

    pub fn leader(self, leader: Leader) -> Self {
        Self { leader, ..self }
    }

    pub fn uid(self, uid: u32) -> Self {
        Self { uid: Some(uid), ..self }
    }

    /// In this process group; 0 for one of its own.
    pub fn group(self, group: i32) -> Self {
        Self { group: Some(group), ..self }
    }

    pub fn oom_score_adj(self, oom_score_adj: i16) -> Self {
        Self { oom_score_adj, ..self }
    }

    /// Starts it with the pid `pid`, which was somebody else's; `None` where a
    /// pid cannot be asked for.
    pub fn start_as(self, pid: Pid, journal: &Journal) -> Option<Eater> {
        // The kernel hands out the next one that is free.
        let last = pid.as_raw_pid() - 1;
        if fs::write("/proc/sys/kernel/ns_last_pid", last.to_string()).is_err() {
            skip("a kernel without CONFIG_CHECKPOINT_RESTORE");
            return None;
        }
        let eater = self.start(journal);
        assert_eq!(eater.pid(), pid);
        Some(eater)
    }

    /// Starts it and waits until it holds all its memory.
    pub fn start(self, journal: &Journal) -> Eater {
        let (eater, ready) = self.try_start(journal);
        assert_eq!(ready, "ready\n", "an eater that does not get there");
        eater
    }

    /// Starts it where a guard that would kill it is at work already, and may
    /// do so before it holds all its memory.
    pub fn start_guarded(self, journal: &Journal) -> Eater {
        self.try_start(journal).0
    }

    /// Starts it, and waits for what it says when it is ready, or for its end.
    fn try_start(self, journal: &Journal) -> (Eater, String) {
        let mut command = Role::Eater(&self).command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(journal.pen());
        if let Some(group) = self.group {
            command.process_group(group);
        }
        let mut child = command.spawn().expect("an eater starts");
        let ready = first_line(&mut child);
        if self.oom_score_adj != 0 {
            set_oom_score_adj(child.id(), self.oom_score_adj);
        }
        (Eater { name: self.name, child }, ready)
    }
}

/// Makes the process older, for this namespace only: it started two minutes
/// before it did. From now on its state is always told as what it is now, so
/// whoever waits for its end has to reap it.
pub fn age(pid: Pid) {
    const OLDER_TICKS: u64 = 120 * 100;
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).expect("its stat");
    let (name, rest) = stat.rsplit_once(") ").expect("a name");
    let mut fields: Vec<String> = rest.split(' ').map(str::to_owned).collect();
    // Field 22, and the first of these is field 3.
    let starttime: u64 = fields[19].parse().expect("a number");
    fields[19] = starttime.saturating_sub(OLDER_TICKS).to_string();
    let fake = format!("{SCRATCH}/stat.{pid}");
    fs::write(&fake, format!("{name}) {}", fields.join(" "))).expect("a file in scratch");
    mount(&["--bind", &fake, &path]);
}

/// The processes of that name, without those that only wait to be reaped.
pub fn living(comm: &str) -> Vec<Pid> {
    let tree = Tree::open_live().expect("/proc");
    let mut found = Vec::new();
    for_each_process(tree.proc.as_fd(), &mut |pid| {
        let stat = read_stat(tree.proc.as_fd(), pid);
        if stat.is_ok_and(|stat| stat.comm.as_bytes() == comm.as_bytes() && !stat.is_gone()) {
            found.push(pid);
        }
    })
    .expect("/proc");
    found
}

/// Sets it where that is allowed; lowering it takes CAP_SYS_RESOURCE, without
/// which at least the file says so.
fn set_oom_score_adj(pid: u32, adj: i16) {
    let path = format!("/proc/{pid}/oom_score_adj");
    if fs::write(&path, adj.to_string()).is_err() {
        let fake = format!("{SCRATCH}/oom_score_adj.{pid}");
        fs::write(&fake, format!("{adj}\n")).expect("a file in scratch");
        mount(&["--bind", &fake, &path]);
    }
}
