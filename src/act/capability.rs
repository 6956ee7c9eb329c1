//! What the kernel grants us. A guard asks for everything once, at start, and
//! nothing is required; a question only finds out what a guard would be given.

use crate::choose::scope::{Scope, Wakers};
use crate::config::policy::Believed;
use crate::read::kfile::{ReadError, Tree};
use crate::read::memory;
use crate::read::process::{self, NEVER_KILL_ADJ, Pid};
use crate::read::status::{Status, read_status};
use crate::sys::child::{Environment, Inherited};
use crate::sys::faults::Faults;
use crate::sys::file::open;
use crate::sys::line::Line;
use crate::sys::pidfd;
use crate::sys::program;
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getpid, getrlimit};

/// What we were given.
#[derive(Debug)]
pub struct Capabilities {
    /// Our `oom_score_adj` is −1000, so the kernel's own killer leaves us alone.
    pub spared: bool,
    /// Memory is locked: we answer when nothing else does.
    pub lock: Result<(), Errno>,
    /// Pressure, and a cgroup's events, to be woken by.
    pub wakers: Wakers,
    /// To be woken by whoever fills memory on an idle machine.
    pub faults: Option<Faults>,
    /// pidfd_open(2) and pidfd_send_signal(2).
    pub pidfd: bool,
    /// process_mrelease(2).
    pub release: bool,
    /// Without CAP_KILL: the only uid whose processes we may signal.
    pub only_uid: Option<u32>,
    /// Of whom bare names are believed.
    pub believed: Believed,
    /// Process 1 cannot be seen: /proc is mounted with hidepid, and what is
    /// not visible cannot be chosen.
    pub hidepid: bool,
    /// What to undo in children.
    pub inherited: Inherited,
}

/// This share of memory filled by one processor wakes us: a few times between
/// the limits for TERM and KILL.
const FAULTS_DEN: u64 = 128;

/// Bits in `CapEff`; see capabilities(7).
const CAP_KILL: u64 = 1 << 5;
const CAP_IPC_LOCK: u64 = 1 << 14;
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// As urgent as an ordinary process can be; real-time would let us starve
/// others if we ever kept a processor busy.
const NICE: i32 = -20;

impl Capabilities {
    /// What a captured tree offers: nothing but to be read.
    pub fn of_captured() -> Self {
        Self {
            spared: false,
            lock: Err(Errno::NOTSUP),
            wakers: Wakers::NONE,
            faults: None,
            pidfd: false,
            release: false,
            only_uid: None,
            believed: Believed::Everybody,
            hidepid: false,
            inherited: Inherited::default(),
        }
    }

    /// Asks the running kernel for everything, and changes our process to what it
    /// grants: priority, `oom_score_adj`, locked memory.
    // Out of line, so that the loop does not run below its stack.
    #[inline(never)]
    pub fn acquire(tree: &Tree, scope: &Scope<'_>, environment: Environment) -> Self {
        let has_pidfd = pidfd::probe();
        let mut wakers = Wakers::NONE;
        scope.arm(&mut wakers);
        let init = process::read_stat(tree.proc.as_fd(), Pid::INIT);
        let every_pages = memory::read_sysinfo().total_kib / program::page_kib() / FAULTS_DEN;
        let inherited =
            Inherited { oom_score_adj: lower_own_oom_score_adj(tree), nice: raise_priority(), environment };
        Self {
            spared: process::read_oom_score_adj(tree.proc.as_fd(), getpid()) == Ok(NEVER_KILL_ADJ),
            lock: lock_memory(),
            wakers,
            // They count everybody's, who are none of a cgroup's business.
            faults: if scope.is_machine() { Faults::open(every_pages) } else { None },
            pidfd: has_pidfd,
            release: has_pidfd && pidfd::probe_release(),
            only_uid: only_uid(&read_own_status(tree)),
            believed: believed_by_us(),
            hidepid: matches!(init, Err(ReadError::Missing | ReadError::NotPermitted)),
            inherited,
        }
    }
}

/// Of whom a guard that runs as we do believes bare names.
pub fn believed_by_us() -> Believed {
    if rustix::process::geteuid().is_root() { Believed::SystemUsers } else { Believed::Everybody }
}

/// What a guard would be given, found out without changing anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prospects {
    /// The window of its pressure trigger, if it could arm one.
    pub trigger_ms: Option<u32>,
    /// Could it lock its memory?
    pub can_lock: bool,
    /// The only uid whose processes it could signal, without CAP_KILL.
    pub only_uid: Option<u32>,
    /// Of whom it would believe bare names.
    pub believed: Believed,
    /// Could it have a victim's memory released?
    pub can_release: bool,
}

impl Prospects {
    /// Finds out from our own rights, which a guard started in our place has too.
    pub fn probe(tree: &Tree, scope: &Scope<'_>) -> Self {
        let status = read_own_status(tree);
        let cap_eff = status.map_or(0, |status| status.cap_eff);
        let own_kib = process::read_statm(tree.proc.as_fd(), getpid())
            .map_or(u64::MAX, |statm| statm.size_pages.saturating_mul(program::page_kib()));
        let lockable_kib = getrlimit(Resource::Memlock).current.map_or(u64::MAX, |bytes| bytes / 1024);
        let may_open = scope.open_pressure(OFlags::RDWR).is_ok();
        // Unprivileged windows are of 2 s, and before Linux 6.4 the file does not
        // open for writing.
        let window_ms = if cap_eff & CAP_SYS_RESOURCE != 0 { 1000 } else { 2000 };
        Self {
            trigger_ms: may_open.then_some(window_ms),
            can_lock: cap_eff & CAP_IPC_LOCK != 0 || own_kib <= lockable_kib,
            only_uid: only_uid(&status),
            believed: believed_by_us(),
            can_release: pidfd::probe() && pidfd::probe_release(),
        }
    }
}

/// Locks what we have and will have: pages as they are touched where the
/// kernel can (4.4), otherwise all at once.
fn lock_memory() -> Result<(), Errno> {
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE;
    mlockall(all | MlockAllFlags::ONFAULT).or_else(|errno| match errno {
        Errno::INVAL => mlockall(all),
        other => Err(other),
    })?;
    program::drop_vdso();
    Ok(())
}

fn raise_priority() -> i32 {
    let before = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, NICE);
    before
}

/// Lowers our `oom_score_adj` as far as allowed: to where it is never killed
/// with CAP_SYS_RESOURCE, otherwise not below what it was. Returns what it was,
/// if it was changed.
fn lower_own_oom_score_adj(tree: &Tree) -> Option<i16> {
    let proc = tree.proc.as_fd();
    let adj = process::read_oom_score_adj(proc, getpid()).ok()?;
    let file = open(proc, c"self/oom_score_adj", OFlags::WRONLY).ok()?;
    let is_lowered = [NEVER_KILL_ADJ, 0].into_iter().any(|wanted| {
        let mut text = Line::default();
        wanted < adj && rustix::io::write(&file, text.signed(wanted.into()).as_bytes()).is_ok()
    });
    // What a service manager has lowered for us is not meant for what we run.
    (is_lowered || adj < 0).then_some(adj.max(0))
}

fn read_own_status(tree: &Tree) -> Result<Status, ReadError> {
    read_status(tree.proc.as_fd(), getpid())
}

/// The one uid we may signal, unless we have CAP_KILL.
// Out of line: inlined it is larger.
#[inline(never)]
fn only_uid(own: &Result<Status, ReadError>) -> Option<u32> {
    let uid = rustix::process::geteuid().as_raw();
    let may_signal_others = match own {
        Ok(status) => status.cap_eff & CAP_KILL != 0,
        Err(_) => uid == 0,
    };
    (!may_signal_others).then_some(uid)
}
