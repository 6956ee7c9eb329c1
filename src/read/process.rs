//! What the kernel says of one process: `/proc/PID/{statm,stat,oom_score,
//! oom_score_adj}` (proc(5)). Never `cmdline` or `environ`: reading
//! them waits for the process's mmap lock, possibly for ever (moby#15204).

use crate::read::kfile::{self, ReadError, open_dir};
use crate::read::listing::{Listed, list_processes, parse_pid};
use crate::sys::line::{DIGITS, Joined, digits};
use crate::sys::time::now_us;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;
pub use rustix::process::Pid;

/// Reads `PID/NAME` below `proc`, up to its last whole line where it does not
/// fit into `buf`.
///
/// # Errors
/// See [`ReadError`].
pub fn read_file<'b>(
    proc: BorrowedFd<'_>,
    pid: Pid,
    name: &str,
    buf: &'b mut [u8],
) -> Result<&'b [u8], ReadError> {
    let text = kfile::read_small(proc, path_of(pid, name).as_cstr(), buf)?;
    // A process that dies between open and read leaves an empty file.
    if text.is_empty() { Err(ReadError::Missing) } else { Ok(text) }
}

/// The path of `name`, which begins with a slash, below `/proc`.
pub fn path_of(pid: Pid, name: &str) -> Joined {
    Joined::new([digits(pid.as_raw_pid().unsigned_abs().into(), &mut [0; DIGITS]), name.as_bytes()])
}

/// `/proc/PID/statm`, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statm {
    /// Address space.
    pub size_pages: u64,
    /// Resident: anonymous, file and shared memory.
    pub resident_pages: u64,
    /// The part of `resident_pages` that is file or shared memory.
    pub shared_pages: u64,
}

/// Parses `size resident shared text lib data dt`.
pub fn parse_statm(text: &[u8]) -> Option<Statm> {
    let mut numbers = kfile::fields(text).map(kfile::parse_u64);
    let mut next = || numbers.next()?;
    Some(Statm { size_pages: next()?, resident_pages: next()?, shared_pages: next()? })
}

/// Reads `/proc/PID/statm`. All zero for a kernel thread, and for a process
/// whose leading thread has exited, others living or not.
///
/// # Errors
/// See [`ReadError`].
pub fn read_statm(proc: BorrowedFd<'_>, pid: Pid) -> Result<Statm, ReadError> {
    let mut buf = [0; 192];
    parse_statm(read_file(proc, pid, "/statm", &mut buf)?).ok_or(ReadError::Malformed)
}

/// What only who is not to be found has: so many dead threads that no living one is
/// found in time, or a path of a cgroup too long for the kernel to tell (4 KiB, up to
/// Linux 6.7).
pub const HIDING: ReadError = ReadError::Io(Errno::NAMETOOLONG);

/// Asks the threads of `pid` one after the other, each below the directory of all, as
/// long as what is asked for is [`ReadError::Missing`]. Where the first has exited the
/// second has it as a rule; but thousands may be zombies that their tracer does not
/// wait for, so they are asked no longer than until `until_us`.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::Missing`] when no thread has it, and [`HIDING`].
pub fn ask_threads(
    proc: BorrowedFd<'_>,
    pid: Pid,
    until_us: u64,
    ask: &mut dyn FnMut(BorrowedFd<'_>, Pid) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let tasks = open_dir(proc, path_of(pid, "/task").as_cstr())?;
    let mut answer = Err(ReadError::Missing);
    let listed = list_processes(tasks.as_fd(), &mut |tid| {
        answer = ask(tasks.as_fd(), tid);
        let is_over = answer != Err(ReadError::Missing) || now_us() >= until_us;
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if listed == Listed::Stopped && answer == Err(ReadError::Missing) { Err(HIDING) } else { answer }
}

/// Reads `statm` of the first thread of `pid` that still has memory: the
/// leader's is all zero once it has exited, though its threads keep it all.
///
/// # Errors
/// Those of [`ask_threads`].
pub fn read_statm_of_threads(proc: BorrowedFd<'_>, pid: Pid, until_us: u64) -> Result<Statm, ReadError> {
    let mut found = Statm::default();
    ask_threads(proc, pid, until_us, &mut |tasks, tid| {
        found = read_statm(tasks, tid)?;
        if found.resident_pages > 0 { Ok(()) } else { Err(ReadError::Missing) }
    })?;
    Ok(found)
}

/// About how much memory and swap an `oom_score` stands for, in thousandths of all,
/// where nothing else tells. What it means depends on the kernel: see
/// [`read_oom_score`].
pub fn thousandths_of_score(oom_score: u32, oom_score_adj: i16) -> u64 {
    let (score, adj) = (i64::from(oom_score), i64::from(oom_score_adj));
    let since_5_9 = score * 3 / 2 - 1000 - adj;
    // Nobody has less than nothing, but for what was rounded off.
    let thousandths = if since_5_9 < -2 { score - adj } else { since_5_9 };
    thousandths.clamp(0, 1000).unsigned_abs()
}

/// A process name of up to 15 bytes: any byte but NUL, so newlines, blanks and
/// parentheses too. Escape it before it goes to people.
#[derive(Clone, Copy)]
pub struct Comm {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl PartialEq for Comm {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Comm {}

impl Comm {
    /// The kernel keeps no more (TASK_COMM_LEN, less a NUL).
    pub const MAX_LEN: usize = 15;

    /// No name at all.
    pub const NONE: Self = Self { bytes: [0; Self::MAX_LEN], len: 0 };

    /// The first 15 bytes of `name`.
    pub fn new(name: &[u8]) -> Self {
        let mut comm = Self::NONE;
        let len = name.len().min(comm.bytes.len());
        comm.bytes[..len].copy_from_slice(&name[..len]);
        comm.len = len as u8;
        comm
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl core::fmt::Debug for Comm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// Who a process is: pids are reused, a pid together with its start is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The thread-group leader's pid.
    pub pid: Pid,
    /// When it started, in clock ticks since boot (stat field 22).
    pub starttime: u64,
}

/// The fields of `/proc/PID/stat` that tell who a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its name.
    pub comm: Comm,
    /// `R`, `S`, `D`, `Z`, `T`, … (field 3).
    pub state: u8,
    /// Its parent, 0 where that is outside our pid namespace.
    pub ppid: i32,
    /// Its process group, 0 where that is led from outside our pid namespace.
    pub pgrp: i32,
    /// The kernel's PF_ flags (field 9).
    pub flags: u64,
    /// Page faults of its own, minor and major (fields 10 and 12): it has not made more
    /// pages than that, but for huge ones.
    pub faults: u64,
    /// Threads, a leader that has exited included (field 20).
    pub num_threads: u64,
    /// See [`Identity::starttime`].
    pub starttime: u64,
}

/// What tells that processes were started for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobKey {
    /// The user, by real uid: whatever else they have in common, one user's
    /// processes never die for another's.
    pub uid: u32,
    /// The name.
    pub comm: Comm,
    /// The parent.
    pub ppid: i32,
    /// The process group.
    pub pgrp: i32,
}

impl JobKey {
    /// Are these of one job: of one user and name, and of one process group or one
    /// parent? The group and the children of process 1 are not one job, for
    /// everything on a machine can have those in common.
    pub fn same_job(&self, other: &Self) -> bool {
        let shared = |mine: i32, theirs: i32| mine > 1 && mine == theirs;
        self.same_program(other) && (shared(self.pgrp, other.pgrp) || shared(self.ppid, other.ppid))
    }

    /// Are these of one user and name?
    pub fn same_program(&self, other: &Self) -> bool {
        self.uid == other.uid && self.comm == other.comm
    }

    /// Was it started by process 1, or from outside our pid namespace, and left in
    /// that one's group? Then nothing but its program tells its job.
    pub fn is_of_init(&self) -> bool {
        self.ppid <= 1 && self.pgrp <= 1
    }
}

/// The `oom_score_adj` of what is never killed.
pub const NEVER_KILL_ADJ: i16 = -1000;

/// PF_KTHREAD, the same bit since Linux 2.6.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What is known of a process's first thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// It lives, or nobody has looked.
    TakenToLive,
    /// It has exited; other threads may live.
    Exited,
}

impl Stat {
    /// Its job key, if it is `uid`'s, which this file does not tell.
    pub fn job_key(&self, uid: u32) -> JobKey {
        JobKey { uid, comm: self.comm, ppid: self.ppid, pgrp: self.pgrp }
    }

    /// Is this a kernel thread?
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }

    /// Has the first thread exited?
    pub fn has_leader_exited(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// What became of the first thread.
    pub fn leader(&self) -> Leader {
        if self.has_leader_exited() { Leader::Exited } else { Leader::TakenToLive }
    }

    /// Has every thread of this process exited? A leader that is a zombie
    /// while threads live is not gone: they keep its memory.
    pub fn is_gone(&self) -> bool {
        self.has_leader_exited() && self.num_threads <= 1
    }
}

/// Parses `pid (comm) state ppid …`. comm may hold anything, so it ends at the
/// last `)`.
pub fn parse_stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let comm = Comm::new(text.get(open + 1..close)?);
    let mut fields = kfile::fields(&text[close + 1..]);
    let state = *fields.next()?.first()?;
    let ppid = kfile::parse_i32(fields.next()?)?;
    let pgrp = kfile::parse_i32(fields.next()?)?;
    // Fields 6 to 8: session, tty_nr, tpgid.
    let flags = kfile::parse_u64(fields.nth(3)?)?;
    let minor = kfile::parse_u64(fields.next()?)?;
    let major = kfile::parse_u64(fields.nth(1)?)?;
    // Fields 13 to 19: fault and time counters, priority, nice.
    let num_threads = kfile::parse_u64(fields.nth(7)?)?;
    let starttime = kfile::parse_u64(fields.nth(1)?)?;
    let faults = minor.saturating_add(major);
    Some(Stat { comm, state, ppid, pgrp, flags, faults, num_threads, starttime })
}

/// Our own pid as `proc` shows it. Not getpid(2)'s where /proc was mounted for
/// another pid namespace: the pids in it are then other processes than those
/// we would signal.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::Missing`] where we are not in `proc` at all.
pub fn read_own_pid(proc: BorrowedFd<'_>) -> Result<Pid, ReadError> {
    let mut buf = [0; 512];
    let text = kfile::read_start(proc, c"self/stat", &mut buf)?;
    kfile::fields(text).next().and_then(parse_pid).ok_or(ReadError::Malformed)
}

/// Reads `/proc/PID/stat`.
///
/// # Errors
/// See [`ReadError`].
pub fn read_stat(proc: BorrowedFd<'_>, pid: Pid) -> Result<Stat, ReadError> {
    // The line may be longer, but the fields that are wanted end within 310
    // bytes. It is not cut at a newline, for the name may hold one.
    let mut buf = [0; 384];
    let text = kfile::read_start(proc, path_of(pid, "/stat").as_cstr(), &mut buf)?;
    if text.is_empty() { Err(ReadError::Missing) } else { parse_stat(text).ok_or(ReadError::Malformed) }
}

/// The first pid namespace, whose processes are all that there are, by its inode
/// (include/uapi/linux/nsfs.h).
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Are we in the first pid namespace? Where that cannot be told we are not.
pub fn is_in_first_pid_namespace(proc: BorrowedFd<'_>) -> bool {
    let stat = statat(proc, c"self/ns/pid", AtFlags::empty());
    stat.is_ok_and(|stat| stat.st_ino == FIRST_PID_NAMESPACE)
}

/// Longer paths of executables are not told.
pub const MAX_EXE: usize = 256;

/// Reads where `/proc/PID/exe` points: the path of the file that the process
/// executes, for kernel threads nowhere. Does not wait for the process's mmap
/// lock, unlike `cmdline`. Of a file that was replaced or removed it tells the
/// path that it had.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::NotPermitted`] where we may not trace it, and
/// [`ReadError::Malformed`] where the path is too long.
pub fn read_exe<'b>(
    proc: BorrowedFd<'_>,
    pid: Pid,
    buf: &'b mut [u8; MAX_EXE],
) -> Result<&'b [u8], ReadError> {
    let len = rustix::fs::readlinkat_raw(proc, path_of(pid, "/exe").as_cstr(), &mut buf[..])?;
    if len == MAX_EXE {
        return Err(ReadError::Malformed);
    }
    let path = &buf[..len];
    Ok(path.strip_suffix(b" (deleted)").unwrap_or(path))
}

/// Reads which process was started last: the fifth field of `/proc/loadavg`, of the
/// pid namespace that `proc` shows.
///
/// # Errors
/// See [`ReadError`].
pub fn read_last_pid(proc: BorrowedFd<'_>) -> Result<Pid, ReadError> {
    let mut buf = [0; 96];
    let text = kfile::read_small(proc, c"loadavg", &mut buf)?;
    kfile::fields(text).nth(4).and_then(parse_pid).ok_or(ReadError::Malformed)
}

/// Reads `/proc/PID/oom_score_adj` (Linux 2.6.36; `oom_adj` before), −1000
/// (never kill) to 1000.
///
/// # Errors
/// See [`ReadError`].
pub fn read_oom_score_adj(proc: BorrowedFd<'_>, pid: Pid) -> Result<i16, ReadError> {
    Ok(read_number(proc, pid, "/oom_score_adj")?.clamp(-1000, 1000) as i16)
}

/// Reads `/proc/PID/oom_score` (Linux 2.6.11): 0 for what the kernel would not
/// kill; from 5.9 (1000 + badness · 1000 / total) · 2 / 3, so about 666 for an
/// idle process, before that badness in thousandths of all memory.
///
/// # Errors
/// See [`ReadError`].
pub fn read_oom_score(proc: BorrowedFd<'_>, pid: Pid) -> Result<u32, ReadError> {
    u32::try_from(read_number(proc, pid, "/oom_score")?).map_err(|_| ReadError::Malformed)
}

fn read_number(proc: BorrowedFd<'_>, pid: Pid, name: &str) -> Result<i32, ReadError> {
    kfile::read_number(proc, path_of(pid, name).as_cstr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    #[test]
    fn pids_are_positive_decimal() {
        assert_eq!(parse_pid(b"1"), Some(pid(1)));
        assert_eq!(parse_pid(b"4194304"), Some(pid(4_194_304)));
        for bad in [&b"0"[..], b"-5", b"self", b"", b".", b"12a", b"99999999999"] {
            assert_eq!(parse_pid(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn paths_hold_any_pid() {
        for raw in [1, 10, 305, i32::MAX] {
            let path = path_of(pid(raw), "/oom_score_adj");
            assert_eq!(path.as_cstr().to_bytes(), std::format!("{raw}/oom_score_adj").as_bytes());
        }
    }

    #[test]
    fn stat_splits_at_the_last_parenthesis() {
        let tail = b" S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 9876 1 2 3\n";
        for name in [&b"cat"[..], b") R 1 1", b"a b", b"x\ny", b"((", b"", b"tmux: server"] {
            let text = [b"12 (", name, b")", tail].concat();
            let stat = parse_stat(&text).unwrap();
            assert_eq!(stat.comm.as_bytes(), name);
            assert_eq!((stat.state, stat.ppid, stat.pgrp), (b'S', 7, 42));
            assert_eq!((stat.faults, stat.num_threads, stat.starttime), (4, 3, 9876));
            assert!(!stat.is_kernel_thread());
        }
        for bad in [&b""[..], b"12", b"12 (a", b"12 )a(", b"12 (a)", b"12 (a) S 1", b"12 (a) S x 1 1 1 1 1"] {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn zombie_leaders_with_threads_are_not_gone() {
        let stat = |state: &str, threads: u32| {
            let text = std::format!("1 (a) {state} 1 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 {threads} 0 5 ");
            parse_stat(text.as_bytes()).unwrap()
        };
        assert!(stat("Z", 1).is_gone());
        assert!(!stat("Z", 2).is_gone());
        assert!(!stat("D", 1).is_gone());
        let kthread = parse_stat(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 ").unwrap();
        assert!(kthread.is_kernel_thread());
    }

    #[test]
    fn a_score_tells_of_memory_whichever_kernel_made_it() {
        // (1000 + badness) * 2 / 3 since 5.9, the badness with oom_score_adj.
        for (thousandths, adj) in [(0, 0), (300, 0), (300, 200), (700, -500), (90, -80)] {
            let told = thousandths_of_score(((1000 + thousandths + adj) * 2 / 3) as u32, adj as i16);
            assert!(told.abs_diff(thousandths as u64) <= 2, "{thousandths}, {adj}: {told}");
        }
        // The badness itself before that.
        assert_eq!(thousandths_of_score(300, 0), 300);
        assert_eq!(thousandths_of_score(300, 200), 100);
        assert_eq!(thousandths_of_score(u32::MAX, 0), 1000);
        assert_eq!(thousandths_of_score(0, 0), 0);
    }

    #[test]
    fn statm_is_three_numbers() {
        let statm = parse_statm(b"2214 230 180 10 0 330 0\n").unwrap();
        assert_eq!((statm.size_pages, statm.resident_pages, statm.shared_pages), (2214, 230, 180));
        for bad in [&b""[..], b"1 2", b"1 2 x 4 5 6", b"-1 2 3 4 5 6"] {
            assert_eq!(parse_statm(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn reads_itself() {
        let tree = kfile::Tree::open_live().unwrap();
        let me = rustix::process::getpid();
        assert_eq!(read_own_pid(tree.proc.as_fd()), Ok(me));
        let stat = read_stat(tree.proc.as_fd(), me).unwrap();
        assert!(!stat.is_gone() && !stat.is_kernel_thread());
        assert!(read_statm(tree.proc.as_fd(), me).unwrap().resident_pages > 0);
        assert!(read_statm_of_threads(tree.proc.as_fd(), me, u64::MAX).unwrap().resident_pages > 0);
        let mut seen = false;
        let listed = list_processes(tree.proc.as_fd(), &mut |pid| {
            seen |= pid == me;
            ControlFlow::Continue(())
        });
        assert_eq!(listed, Ok(Listed::All));
        assert!(seen);
        assert!(read_last_pid(tree.proc.as_fd()).is_ok());
        let nobody = pid(i32::MAX);
        assert_eq!(read_stat(tree.proc.as_fd(), nobody), Err(ReadError::Missing));
    }
}
