//! A tree of cgroups as plain files, of which a test says what differs from an idle one.

use crate::tree::{Process, Tree};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A machine whose cgroups change.
pub struct Machine {
    pub tree: Tree,
    next_pid: AtomicU32,
}

/// What an idle cgroup says of itself.
const IDLE: [(&str, &str); 14] = [
    ("cgroup.controllers", "memory io pids\n"),
    ("cgroup.events", "populated 1\nfrozen 0\n"),
    ("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n"),
    ("memory.current", "0\n"),
    ("memory.min", "0\n"),
    ("memory.low", "0\n"),
    ("memory.high", "max\n"),
    ("memory.max", "max\n"),
    ("memory.swap.current", "0\n"),
    ("memory.swap.max", "max\n"),
    ("memory.oom.group", "0\n"),
    ("memory.stat", "anon 4096\nfile 0\npgscan 0\n"),
    ("memory.pressure", NO_PRESSURE),
    ("io.pressure", NO_PRESSURE),
];

const NO_PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n\
                           full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";

impl Machine {
    /// This machine's memory, with a root and nothing below it.
    pub fn new() -> Self {
        let machine = Self { tree: Tree::new(), next_pid: AtomicU32::new(1000) };
        for file in ["meminfo", "swaps", "vmstat", "sys/vm/swappiness", "pressure/memory", "pressure/io"] {
            if let Ok(text) = fs::read(format!("/proc/{file}")) {
                machine.tree.write(&format!("proc/{file}"), text);
            }
        }
        machine.add("", &[]);
        machine
    }

    /// Where the hierarchy is.
    pub fn cgroups(&self) -> PathBuf {
        self.tree.path().join("sys/fs/cgroup")
    }

    /// Adds a cgroup with a process in it. What is not in `files` is idle.
    pub fn add(&self, cgroup: &str, files: &[(&str, &str)]) {
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        let process = Process { pid, comm: b"work".to_vec(), anon_kib: 4, ..Process::default() };
        self.tree.add(&process);
        let dir = self.cgroups().join(cgroup);
        // Made beside it, so that nobody sees half of one.
        let made = dir.with_file_name(".made");
        let place = if dir.exists() { &dir } else { &made };
        fs::create_dir_all(place).unwrap();
        let procs = format!("{pid}\n");
        for (name, content) in IDLE.iter().chain(&[("cgroup.procs", procs.as_str())]).chain(files) {
            fs::write(place.join(name), content).unwrap();
        }
        if place == &made {
            fs::rename(made, dir).unwrap();
        }
    }

    /// Adds one that has so much memory.
    pub fn sized(&self, cgroup: &str, current: u64) {
        self.add(cgroup, &[("memory.current", &format!("{current}\n"))]);
    }

    /// Writes a file whole, so that nobody reads half of it.
    pub fn write(&self, cgroup: &str, name: &str, content: &str) {
        let dir = self.cgroups().join(cgroup);
        fs::create_dir_all(&dir).unwrap();
        let new = dir.join(".new");
        fs::write(&new, content).unwrap();
        fs::rename(new, dir.join(name)).unwrap();
    }

    /// Writes a pressure file by the averages of its two lines.
    pub fn press(&self, cgroup: &str, name: &str, some: [u32; 3], full: [u32; 3]) {
        let line =
            |word, [a, b, c]: [u32; 3]| format!("{word} avg10={a}.00 avg60={b}.00 avg300={c}.00 total=0\n");
        self.write(cgroup, name, &(line("some", some) + &line("full", full)));
    }

    pub fn remove(&self, cgroup: &str) {
        fs::remove_dir_all(self.cgroups().join(cgroup)).unwrap();
    }

    pub fn delete(&self, cgroup: &str, name: &str) {
        fs::remove_file(self.cgroups().join(cgroup).join(name)).unwrap();
    }

    /// Where drop-ins are.
    pub fn drop_ins(&self) -> PathBuf {
        self.tree.path().join("drop-ins")
    }

    /// Drops a file in, whole.
    pub fn drop_in(&self, name: &str, text: &str) {
        self.tree.write("new.json", text);
        fs::rename(self.tree.path().join("new.json"), self.drop_ins().join(name)).unwrap();
    }

    /// Takes it out again.
    pub fn take_out(&self, name: &str) {
        fs::remove_file(self.drop_ins().join(name)).unwrap();
    }

    /// The cgroups that have an attribute which tells that they were killed.
    pub fn marked(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.cgroups()];
        let mut at = 0;
        while let Some(dir) = dirs.get(at) {
            let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            let below: Vec<_> = entries.filter(|path| path.is_dir()).collect();
            dirs.extend(below);
            at += 1;
        }
        let attributes = ["oomd_ooms", "oomd_kill", "oomd_kill_uuid"]
            .map(|name| ["user", "trusted"].map(|of| format!("{of}.{name}")));
        let is_marked = |dir: &PathBuf| {
            let has = |name: &String| {
                getxattr(dir.as_os_str().as_bytes(), name.as_str(), &mut [0_u8; 64][..]).is_ok()
            };
            attributes.iter().flatten().any(has)
        };
        dirs.into_iter().filter(is_marked).collect()
    }

    /// Sets an extended attribute, of which only that it is there matters.
    pub fn mark(&self, cgroup: &str, name: &str) {
        let path = self.cgroups().join(cgroup);
        setxattr(path.as_os_str().as_bytes(), name, b"1", XattrFlags::empty()).unwrap();
    }
}
