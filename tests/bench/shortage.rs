//! Memory that seems to run out, in the benchmark's own mount namespace.

use std::ffi::CStr;
use std::fs::{File, remove_file};
use std::hint::spin_loop;
use std::io::Error;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The TERM limit for a guard that is to watch and not to act.
pub const LIMIT: &str = "4G";
/// From a little below the level where low memory begins, one and a half times
/// the limit, to a little above the limit.
const FROM_KIB: u64 = 5900 << 10;
const TO_KIB: u64 = 4200 << 10;

const MEMINFO: &CStr = c"/proc/meminfo";

/// Whose memory it is that is not available any more.
#[derive(Clone, Copy)]
pub enum Taken {
    /// A leak's: it is in anonymous pages.
    ByProcess,
    /// The kernel's, as what fills pipes and sockets: no process claims it.
    ByNobody,
}

/// A /proc/meminfo of our own in place of the kernel's, as long as this lives.
pub struct Shortage {
    taken: Taken,
    file: File,
    path: PathBuf,
}

impl Shortage {
    pub fn begin(taken: Taken) -> Self {
        let path = std::env::temp_dir().join(format!("bench-meminfo.{}", std::process::id()));
        let file = File::create(&path).expect("a temporary file");
        let shortage = Self { taken, file, path };
        shortage.set(FROM_KIB);
        let path = std::ffi::CString::new(shortage.path.as_os_str().as_encoded_bytes()).expect("no NUL");
        let none = std::ptr::null();
        // SAFETY: C strings, and null where mount(2) ignores the pointer.
        let mounted =
            unsafe { libc::mount(path.as_ptr(), MEMINFO.as_ptr(), none, libc::MS_BIND, none.cast()) };
        assert_eq!(mounted, 0, "mount: {}", Error::last_os_error());
        shortage
    }

    /// More memory than sysinfo(2) ever tells of, so that a look at that alone
    /// never satisfies a guard; the same length in one write, so that nobody
    /// reads half of it.
    fn set(&self, available_kib: u64) {
        let total_kib = 1_u64 << 40;
        let anon_kib = match self.taken {
            Taken::ByProcess => total_kib - available_kib,
            Taken::ByNobody => 0,
        };
        let text = format!(
            "MemTotal: {total_kib} kB\nMemFree: 1024 kB\nMemAvailable: {available_kib:16} kB\nAnonPages: {anon_kib:16} kB\n"
        );
        self.file.write_all_at(text.as_bytes(), 0).expect("write");
    }

    /// Lets memory get less for so long, evenly, and keeps a processor busy for
    /// a tenth of the time, as whoever takes memory does: on an idle machine a
    /// guard may sleep longer.
    pub fn last(&self, span: Duration, since: Instant, whole: Duration) {
        const TURN: Duration = Duration::from_millis(10);
        let until = Instant::now() + span;
        while Instant::now() < until {
            let passed = since.elapsed().as_secs_f64() / whole.as_secs_f64();
            self.set(FROM_KIB - (passed.min(1.0) * (FROM_KIB - TO_KIB) as f64) as u64);
            let busy = Instant::now();
            while busy.elapsed() < TURN / 10 {
                spin_loop();
            }
            sleep(TURN * 9 / 10);
        }
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        // SAFETY: a C string.
        unsafe { libc::umount2(MEMINFO.as_ptr(), libc::MNT_DETACH) };
        let _ = remove_file(&self.path);
    }
}
