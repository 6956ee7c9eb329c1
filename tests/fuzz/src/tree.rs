//! A whole tree below `--root`, read, judged and surveyed by the library: an input
//! holds its files. `tests/fuzz_trees` gives trees to the program itself.

use bustd::choose::observer::{Observer, StallSource};
use bustd::choose::scope::Scope;
use bustd::choose::survey::survey;
use bustd::choose::surveyor::{Remembered, SurveyContext};
use bustd::choose::vigil::Vigil;
use bustd::config::limits::Limits;
use bustd::config::policy::Policy;
use bustd::config::scope::Asked;
use bustd::decide::levels::Levels;
use bustd::decide::pacing::Headroom;
use bustd::decide::verdict::{Verdict, decide};
use bustd::decide::victim::{Ranking, TABLE};
use bustd::read::kfile::Tree;
use bustd::read::{memory, swap};
use rustix::fd::AsFd;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::{env, process};

/// In the order of an input, which separates them by NUL; what it does not hold is
/// empty.
const FILES: [&str; 22] = [
    "proc/meminfo",
    "proc/swaps",
    "proc/vmstat",
    "proc/pressure/memory",
    "sys/block/zram0/mm_stat",
    "proc/9/stat",
    "proc/9/statm",
    "proc/9/status",
    "proc/9/oom_score_adj",
    "proc/10/stat",
    "proc/10/statm",
    "proc/10/status",
    "proc/10/oom_score_adj",
    "proc/self/mountinfo",
    "proc/self/cgroup",
    "proc/9/cgroup",
    "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/a/memory.max",
    "sys/fs/cgroup/a/memory.current",
    "sys/fs/cgroup/a/memory.stat",
    "sys/fs/cgroup/a/memory.pressure",
    "sys/fs/cgroup/a/cgroup.procs",
];

struct Planted {
    /// Each with what is in it.
    files: Mutex<Vec<(File, Vec<u8>)>>,
    tree: Tree,
}

/// Made once, in memory where there is a tmpfs, and written to again and again.
fn planted() -> &'static Planted {
    static PLANTED: OnceLock<Planted> = OnceLock::new();
    PLANTED.get_or_init(|| {
        let shm = PathBuf::from("/dev/shm");
        let base = if shm.is_dir() { shm } else { env::temp_dir() };
        // Of one name for each process: what is left of an earlier one is used again.
        let dir = base.join(format!("bustd-fuzz-{}", process::id()));
        let make = |path: &&str| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
            (File::create(path).expect("a file"), Vec::new())
        };
        let files = Mutex::new(FILES.iter().map(make).collect());
        let name = CString::new(dir.as_os_str().as_bytes()).expect("no NUL");
        let tree = Tree::open_captured(&name).expect("it was just made");
        Planted { files, tree }
    })
}

/// Looked at as the machine's, and as that of the cgroup with the lowest limit.
pub fn look(input: &[u8]) {
    let Planted { files, tree } = planted();
    let mut texts = input.split(|&byte| byte == 0);
    for (file, held) in files.lock().expect("one thread").iter_mut() {
        let text = texts.next().unwrap_or_default();
        // Most inputs differ from the one before in one file.
        if text != held.as_slice() {
            file.set_len(0).and_then(|()| file.write_all_at(text, 0)).expect("room");
            *held = text.to_vec();
        }
    }
    let proc = tree.proc.as_fd();
    let _ = (swap::read_swaps(tree), memory::read_vmstat(proc));
    look_twice(tree, &Scope::of_machine(tree));
    if let Ok(scope) = Scope::find(tree, Asked::Auto, false)
        && !scope.is_machine()
    {
        look_twice(tree, &scope);
    }
}

/// A second apart.
fn look_twice(tree: &Tree, scope: &Scope<'_>) {
    let proc = tree.proc.as_fd();
    let mut observer = Observer::new(tree, scope, StallSource::Windows);
    let mut remembered = None;
    for now_us in [1_000_000, 2_000_000] {
        let Ok(snapshot) = observer.read(now_us) else { return };
        let limits = Limits::default();
        let levels = Levels::of(&limits, &snapshot);
        if snapshot.mem.mem_available_kib > levels.plenty_kib() {
            assert_eq!(decide(&snapshot, &levels), Verdict::Enough);
        }
        let _ = Headroom::of(&snapshot, &levels).fill_time_us();
        let context = SurveyContext {
            policy: &Policy::default(),
            total_kib: snapshot.mem.mem_total_kib,
            swap_used_kib: snapshot.mem.swap_used_kib(),
            page_kib: observer.page_kib(),
            overhead_kib: snapshot.mem.overhead_kib,
            locked_kib: snapshot.mem.locked_kib,
            own: None,
            command: None,
            set_aside: &[],
            before: remembered.as_ref(),
            shmem_growth_kib: 0,
            scope,
            vigil: &Vigil::new(proc, scope),
            now_us,
        };
        let mut ranking = Ranking::<TABLE>::default();
        let _ = survey(proc, &context, &mut ranking, &mut Default::default());
        let all = ranking.all();
        assert!(all.len() <= 2 && all.is_sorted_by(|first, second| first.score_kib >= second.score_kib));
        let mut next = Remembered::default();
        next.renew(&ranking, now_us);
        remembered = Some(next);
    }
}
