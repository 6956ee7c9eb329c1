//! Cgroups of a test's own, below the one that it runs in. No memory is short in
//! them: limits, where there are any, are far above what is used.

use super::namespace::skip;
use rustix::process::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A cgroup, removed with all below it.
pub struct Confined {
    pub dir: PathBuf,
    /// As `/proc/PID/cgroup` tells it.
    pub path: String,
    hierarchy: Hierarchy,
}

/// A hierarchy of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// That of version 1 with the memory controller.
    V1,
    /// That of version 2, with whichever controllers.
    V2,
}

impl Hierarchy {
    pub const BOTH: [Self; 2] = [Self::V1, Self::V2];

    /// Where the whole of it is mounted.
    fn mount(self) -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let found = mounts.lines().find(|line| {
            let (mount, kind) = line.split_once(" - ").unwrap();
            mount.split(' ').nth(3) == Some("/")
                && match self {
                    Self::V1 => kind.starts_with("cgroup ") && kind.ends_with(",memory"),
                    Self::V2 => kind.starts_with("cgroup2 "),
                }
        });
        found.map(|line| line.split(' ').nth(4).unwrap().into())
    }

    /// Our own path in it.
    fn own(self) -> Option<String> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let is_it = match self {
                Self::V1 => controllers == "memory",
                Self::V2 => id == "0",
            };
            is_it.then(|| path.to_owned())
        })
    }
}

impl Confined {
    /// One of its own in `hierarchy`; `None`, with a word, where there is none.
    pub fn new(hierarchy: Hierarchy) -> Option<Self> {
        let made = hierarchy.mount().zip(hierarchy.own()).and_then(|(mount, own)| {
            // What a test that was ended has left behind is empty.
            let path = format!("{}/bustd-test-{}", own.trim_end_matches('/'), unique());
            let dir = mount.join(&path[1..]);
            fs::create_dir(&dir).ok().map(|()| Self { dir, path, hierarchy })
        });
        if made.is_none() {
            skip(&format!("no cgroup of {hierarchy:?} can be made here"));
        }
        made
    }

    /// Limits its memory to that of no test; false where there is no such controller.
    pub fn limit(&self) -> bool {
        self.limit_to("2G")
    }

    /// Limits its memory to `most`, or with `max` not at all.
    pub fn limit_to(&self, most: &str) -> bool {
        // Version 1 has another word for that.
        let of_v1 = if most == "max" { "-1" } else { most };
        [("memory.limit_in_bytes", of_v1), ("memory.max", most)]
            .iter()
            .any(|(file, most)| fs::write(self.dir.join(file), most).is_ok())
    }

    /// Is it in the hierarchy that patterns are about, that of the memory controller?
    pub fn of_patterns(&self) -> bool {
        Hierarchy::V1.own().is_none() || self.hierarchy == Hierarchy::V1
    }

    /// A cgroup below it.
    pub fn below(&self, name: &str) -> Self {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).expect("a cgroup below our own");
        Self { dir, path: format!("{}/{name}", self.path), hierarchy: self.hierarchy }
    }

    /// Moves a process into it.
    pub fn take(&self, pid: Pid) {
        fs::write(self.dir.join("cgroup.procs"), pid.as_raw_pid().to_string()).expect("it can be moved");
    }

    /// Has what `command` becomes begin in it.
    pub fn start(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo 0 >\"$0\" && exec \"$@\""]).arg(self.dir.join("cgroup.procs"));
        shell.arg(command.get_program()).args(command.get_args());
        shell
    }
}

/// Who makes it tells it from others: the pid in the first namespace would, but is not
/// known here.
fn unique() -> String {
    fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned()
}

impl Drop for Confined {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// The dead stay in their cgroup until they were waited for.
fn remove(dir: &Path) {
    let own = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let parent = dir.parent().unwrap().join("cgroup.procs");
    for pid in own.lines() {
        let _ = fs::write(&parent, pid);
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}
