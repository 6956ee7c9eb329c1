//! A /proc/meminfo that says what a test wants, for this namespace only.

use super::namespace::{SCRATCH, mount};
use std::fs::{File, OpenOptions, write};
use std::os::unix::fs::FileExt;

pub struct FakeMeminfo(File);

impl FakeMeminfo {
    /// A machine with more memory than sysinfo(2) ever tells of, so that a look
    /// at that alone never satisfies the guard.
    pub fn mount(available_mib: u64) -> Self {
        Self::mount_text(&text(available_mib, 0))
    }

    /// A machine of 40 MiB, where even a quarter of one is worth a kill.
    pub fn mount_small() -> Self {
        Self::mount_text("MemTotal: 40960 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n")
    }

    fn mount_text(text: &str) -> Self {
        let path = format!("{SCRATCH}/meminfo");
        write(&path, text).expect("a file in scratch");
        mount(&["--bind", &path, "/proc/meminfo"]);
        Self(OpenOptions::new().write(true).open(path).expect("the same file"))
    }

    pub fn set_available(&self, mib: u64) {
        self.set(mib, 0);
    }

    /// So much is available, and so much is in tmpfs.
    pub fn set(&self, available_mib: u64, shmem_mib: u64) {
        // The same length in one write: nobody reads half of it.
        self.0.write_all_at(text(available_mib, shmem_mib).as_bytes(), 0).expect("write");
    }
}

fn text(available_mib: u64, shmem_mib: u64) -> String {
    let (total_kib, available_kib, shmem_kib) = (1_u64 << 40, available_mib * 1024, shmem_mib * 1024);
    let constant = format!("MemTotal: {total_kib} kB\nMemFree: 1024 kB\n");
    format!("{constant}MemAvailable: {available_kib:16} kB\nShmem: {shmem_kib:16} kB\n")
}
