//! A /proc/meminfo that says what a test wants, for this namespace only.

use super::namespace::{SCRATCH, mount};
use std::fs::{File, OpenOptions, write};
use std::os::unix::fs::FileExt;

pub struct FakeMeminfo(File);

impl FakeMeminfo {
    /// A machine with more memory than sysinfo(2) ever tells of, so that a look
    /// at that alone never satisfies the guard.
    pub fn mount(available_mib: u64) -> Self {
        Self::mount_text(&text(available_mib))
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
        // The same length in one write: nobody reads half of it.
        self.0.write_all_at(text(mib).as_bytes(), 0).expect("write");
    }
}

fn text(available_mib: u64) -> String {
    let available_kib = available_mib * 1024;
    format!("MemTotal: {} kB\nMemFree: 1024 kB\nMemAvailable: {available_kib:16} kB\n", 1_u64 << 40)
}
