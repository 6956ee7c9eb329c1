//! A captured tree that is made at test time and removed with its owner.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod dice;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// KiB in a page of a captured tree.
const PAGE_KIB: u64 = 4;

/// A directory for `--root`.
pub struct Tree(PathBuf);

/// What a tree tells of one process; all memory in KiB, in whole pages.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub pid: u32,
    pub comm: Vec<u8>,
    /// The kernel's PF_ flags.
    pub flags: u64,
    pub starttime: u64,
    pub oom_score_adj: i16,
    pub anon_kib: u64,
    pub swap_kib: u64,
    pub shmem_kib: u64,
    /// Mapped page cache.
    pub file_kib: u64,
    /// The part of it that is locked, as all other memory of the process is then.
    pub locked_kib: u64,
}

impl Tree {
    /// An empty tree of its own.
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("tree-{}-{number}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(dir.join("proc")).unwrap();
        Self(dir)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes the file `path` below it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Adds a process.
    pub fn add(&self, process: &Process) {
        let Process { pid, comm, flags, starttime, oom_score_adj, .. } = process;
        let Process { anon_kib, swap_kib, shmem_kib, file_kib, locked_kib, .. } = process;
        let [resident, shared, absent] =
            [anon_kib + shmem_kib + file_kib, shmem_kib + file_kib, *swap_kib].map(|kib| kib / PAGE_KIB);
        let mut stat = format!("{pid} (").into_bytes();
        stat.extend(comm);
        stat.extend(
            format!(") S 1 {pid} {pid} 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 {starttime} 0 0\n").bytes(),
        );
        let statm = format!("{} {resident} {shared} 1 0 0 0\n", resident + absent);
        let status = format!(
            "Uid:\t1000\t1000\t1000\t1000\n\
             RssAnon:\t{anon_kib} kB\nRssShmem:\t{shmem_kib} kB\nVmSwap:\t{swap_kib} kB\n"
        );
        let status = match locked_kib {
            0 => status,
            _ => {
                let all_kib = anon_kib + shmem_kib + locked_kib;
                let resident_kib = anon_kib + shmem_kib + file_kib;
                format!("{status}VmLck:\t{all_kib} kB\nVmRSS:\t{resident_kib} kB\n")
            }
        };
        let write = |name: &str, content: &[u8]| self.write(&format!("proc/{pid}/{name}"), content);
        write("stat", &stat);
        write("statm", statm.as_bytes());
        write("status", status.as_bytes());
        write("oom_score_adj", format!("{oom_score_adj}\n").as_bytes());
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
