use crate::choose::survey::NEVER_KILL_ADJ;
use crate::read::kfile::{ReadError, Tree};
use crate::read::memory;
use crate::read::process;
use crate::read::psi::{self, PressureFile, Trigger};
use crate::sys::line::Line;
use crate::sys::{self, Faults, Inherited};
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};

/// What we could get, asked for once, at start; nothing here is required.
#[derive(Debug)]
pub struct Capabilities {
    /// Our `oom_score_adj` is −1000, so the kernel's own killer leaves us alone.
    pub spared: bool,
    /// Memory is locked: we answer when nothing else does.
    pub lock: Result<(), Errno>,
    /// PSI, to read.
    pub pressure: Result<PressureFile, ReadError>,
    /// PSI, to be woken by.
    pub trigger: Result<Trigger, Errno>,
    /// To be woken by whoever fills memory on an idle machine.
    pub faults: Option<Faults>,
    /// pidfd_open(2) and pidfd_send_signal(2).
    pub pidfd: bool,
    /// process_mrelease(2).
    pub release: bool,
    /// Without CAP_KILL: the only uid whose processes we may signal.
    pub only_uid: Option<u32>,
    /// Process 1 cannot be seen: /proc is mounted with hidepid, and what is
    /// not visible cannot be chosen.
    pub hidepid: bool,
    /// What to undo in children.
    pub inherited: Inherited,
}

/// This share of memory filled by one processor wakes us: a few times between
/// the limits for TERM and KILL.
const FAULTS_DEN: u64 = 128;

/// CAP_KILL's bit in `CapEff`.
const CAP_KILL: u64 = 1 << 5;

/// As urgent as an ordinary process can be; real-time would let us starve
/// others if we ever spun.
const NICE: i32 = -20;

impl Capabilities {
    /// What a captured tree offers: only reading.
    #[cold]
    pub fn of_captured(tree: &Tree) -> Self {
        let pressure = PressureFile::open(tree.proc.as_fd()).and_then(|file| file.read().map(|_| file));
        Self {
            spared: false,
            lock: Err(Errno::NOTSUP),
            pressure,
            trigger: Err(Errno::NOTSUP),
            faults: None,
            pidfd: false,
            release: false,
            only_uid: None,
            hidepid: false,
            inherited: Inherited::default(),
        }
    }

    /// Asks the running kernel for everything.
    #[inline(never)]
    #[cold]
    pub fn acquire(tree: &Tree) -> Self {
        let mut granted = Self::of_captured(tree);
        granted.pidfd = sys::probe_pidfd();
        granted.release = granted.pidfd && sys::probe_process_mrelease();
        granted.only_uid = read_only_uid(tree);
        granted.inherited =
            Inherited { oom_score_adj: lower_own_oom_score_adj(tree), nice: raise_priority() };
        let own = rustix::process::getpid();
        granted.trigger = match granted.pressure {
            Ok(_) => psi::arm_trigger(tree.proc.as_fd()),
            Err(_) => Err(Errno::NOENT),
        };
        let init = process::read_stat(tree.proc.as_fd(), process::Pid::INIT);
        granted.spared = process::read_oom_score_adj(tree.proc.as_fd(), own) == Ok(NEVER_KILL_ADJ);
        granted.lock = lock_memory();
        granted.faults = Faults::open(memory::read_sysinfo().total_kib / sys::page_kib() / FAULTS_DEN);
        granted.hidepid = matches!(init, Err(ReadError::Missing | ReadError::NotPermitted));
        granted
    }
}

/// Locks what we have and will have: pages as they are touched where the
/// kernel can (4.4), else all at once.
fn lock_memory() -> Result<(), Errno> {
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE;
    mlockall(all | MlockAllFlags::ONFAULT).or_else(|errno| match errno {
        Errno::INVAL => mlockall(all),
        other => Err(other),
    })?;
    sys::drop_vdso();
    Ok(())
}

fn raise_priority() -> i32 {
    let before = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, NICE);
    before
}

/// Lowers our `oom_score_adj` as far as allowed: to where it is never killed
/// with CAP_SYS_RESOURCE, else not below what it was. Returns what it was.
fn lower_own_oom_score_adj(tree: &Tree) -> [u8; 8] {
    let mut before = [0; 8];
    let proc = tree.proc.as_fd();
    let Ok(adj) = process::read_oom_score_adj(proc, rustix::process::getpid()) else {
        return before;
    };
    let Ok(file) = sys::open(proc, c"self/oom_score_adj", OFlags::WRONLY) else {
        return before;
    };
    for wanted in [NEVER_KILL_ADJ, 0] {
        let mut text = Line::default();
        text.signed(wanted.into());
        if wanted < adj && rustix::io::write(&file, text.as_bytes()).is_ok() {
            let mut text = Line::default();
            let text = text.signed(adj.into()).as_bytes();
            before[..text.len()].copy_from_slice(text);
            break;
        }
    }
    before
}

/// The one uid we may signal, unless we have CAP_KILL.
fn read_only_uid(tree: &Tree) -> Option<u32> {
    let uid = rustix::process::geteuid().as_raw();
    let may_signal_others = match process::read_status(tree.proc.as_fd(), rustix::process::getpid()) {
        Ok(status) => status.cap_eff & CAP_KILL != 0,
        Err(_) => uid == 0,
    };
    if may_signal_others { None } else { Some(uid) }
}
