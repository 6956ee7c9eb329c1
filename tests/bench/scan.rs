//! What it costs to look at every process once: bustd's survey beside a floor.

use crate::clock::thread_cpu_ns;
use bustd::choose::scope::Scope;
use bustd::choose::survey::{Surveyed, survey};
use bustd::choose::surveyor::SurveyContext;
use bustd::choose::vigil::Vigil;
use bustd::config::policy::Policy;
use bustd::decide::victim::{Ranking, TABLE};
use bustd::read::kfile::Tree;
use bustd::read::memory;
use bustd::sys::program;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, RawDir, openat};
use std::ffi::CStr;
use std::hint::black_box;
use std::mem::MaybeUninit;

/// Processor time for one scan each, right after one another.
pub struct Pair {
    pub floor_ns: f64,
    pub survey_ns: f64,
}

/// Goes first in turn, so that neither always finds what the other left.
pub fn measure_pair(tree: &Tree, scope: &Scope<'_>, floor_first: bool) -> Pair {
    let proc = tree.proc.as_fd();
    let timed = |scan: &dyn Fn() -> usize| {
        let start = thread_cpu_ns();
        black_box(scan());
        (thread_cpu_ns() - start) as f64
    };
    let floor = || timed(&|| scan_floor(proc));
    let survey = || timed(&|| scan_survey(proc, scope));
    if floor_first {
        let floor_ns = floor();
        Pair { floor_ns, survey_ns: survey() }
    } else {
        let survey_ns = survey();
        Pair { floor_ns: floor(), survey_ns }
    }
}

/// Looks at every process as the guard does to choose one.
pub fn scan_survey(proc: BorrowedFd<'_>, scope: &Scope<'_>) -> usize {
    let mem = memory::read_meminfo(proc).expect("meminfo");
    let context = SurveyContext {
        policy: &Policy::default(),
        total_kib: mem.mem_total_kib,
        swap_used_kib: mem.swap_total_kib - mem.swap_free_kib,
        overhead_kib: mem.overhead_kib,
        locked_kib: mem.locked_kib,
        page_kib: program::page_kib(),
        own: Some(rustix::process::getpid()),
        set_aside: &[None; 8],
        command: None,
        before: None,
        shmem_growth_kib: 0,
        scope,
        vigil: &Vigil::new(proc, scope),
        now_us: 0,
    };
    let mut ranking = Ranking::<TABLE>::default();
    let Ok(Surveyed::All { processes: listed }) =
        survey(proc, &context, &mut ranking, &mut Default::default())
    else {
        panic!("the survey failed")
    };
    black_box(ranking);
    listed as usize
}

/// The least anything does that looks at every process: getdents(2) with room
/// for a thousand names at a time, then open, read and close `statm` of each.
/// What was read is not looked at.
pub fn scan_floor(proc: BorrowedFd<'_>) -> usize {
    const STATM: &[u8] = b"/statm";
    let dir = openat(proc, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut names = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(dir.expect("/proc"), &mut names);
    let mut processes = 0;
    while let Some(entry) = entries.next() {
        let entry = entry.expect("getdents");
        let name = entry.file_name().to_bytes();
        if !name[0].is_ascii_digit() {
            continue;
        }
        processes += 1;
        let mut path = [0; 32];
        path[..name.len()].copy_from_slice(name);
        path[name.len()..][..STATM.len()].copy_from_slice(STATM);
        let path = CStr::from_bytes_until_nul(&path).expect("a pid is short");
        if let Ok(file) = openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            let mut text = [MaybeUninit::<u8>::uninit(); 192];
            let _ = black_box(rustix::io::read(&file, &mut text));
        }
    }
    processes
}
