//! What the guard gives up once it has started, so that whoever took it over
//! could do little more than it does itself: capabilities, new privileges, and
//! system calls that the loop does not make.
//!
//! `tests/sandbox` plays every path of the loop and compares the calls it makes
//! with those that are allowed here.

use super::result_of;
use core::ffi::c_ulong;
use libc::{sock_filter, sock_fprog};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What a guard with its options needs besides what every guard needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// It starts programs, which are to have all the rights that it started with.
    pub hooks: bool,
    /// It replaces or removes a file in a directory of another user.
    pub foreign_directory: bool,
    /// The machine's table of open files has an end that users can reach, beyond
    /// which the kernel opens files for CAP_SYS_ADMIN only.
    pub end_of_files: bool,
    /// It has a pidfile or a stats file.
    pub files: bool,
    /// It logs to syslog, whose socket it may have to connect to again.
    pub syslog: bool,
    /// It has counters of page faults, which it switches on and off.
    pub counters: bool,
    /// A handler takes its signals.
    pub handler: bool,
    /// It runs a command, whose terminal it gives back at the end.
    pub command: bool,
    /// It is a machine's init, which switches that off at the end.
    pub machine: bool,
    /// It has rules, which it may read again.
    pub rules: bool,
}

/// Which guards make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All of them.
    Every,
    /// See [`Needs::files`].
    WithFiles,
    /// See [`Needs::syslog`].
    WithSyslog,
    /// See [`Needs::counters`].
    WithCounters,
    /// See [`Needs::handler`].
    WithHandler,
    /// See [`Needs::command`].
    WithCommand,
    /// See [`Needs::machine`].
    OfMachine,
    /// See [`Needs::rules`].
    WithRules,
}

impl Needs {
    fn has(&self, whose: Whose) -> bool {
        match whose {
            Whose::Every => true,
            Whose::WithFiles => self.files,
            Whose::WithSyslog => self.syslog,
            Whose::WithCounters => self.counters,
            Whose::WithHandler => self.handler,
            Whose::WithCommand => self.command,
            Whose::OfMachine => self.machine,
            Whose::WithRules => self.rules,
        }
    }
}

/// How far the sandbox goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// There is none: it was not asked for, or the kernel refused.
    #[default]
    Off,
    /// Only capabilities are given up, because hooks could not get back the rest.
    CapabilitiesOnly,
    /// The kernel has no seccomp filters, or this kind of machine has none of ours.
    NoSeccomp,
    /// All of it.
    Whole,
}

/// Signals to everybody; `exe`, `fdinfo` and kcmp(2) of other users' processes;
/// their `io` and `fd`, which only their owners may open.
const KEPT: CapabilitySet =
    CapabilitySet::KILL.union(CapabilitySet::SYS_PTRACE).union(CapabilitySet::DAC_READ_SEARCH);

/// Gives up what the loop does not need and builds its filter, which the loop puts
/// into force as it begins.
// Out of line, so that it is a part of start-up.
#[inline(never)]
pub fn enter(needs: &Needs, filter: &mut Filter) -> Standing {
    let mut kept = KEPT;
    // A hook may be a file, or the stats file in a directory, that only its owner
    // and this capability get at.
    // So may be the files of a cgroup that rules write to; its attributes, too, tell
    // only those with CAP_SYS_ADMIN what is trusted.
    kept.set(CapabilitySet::DAC_OVERRIDE, needs.hooks || needs.foreign_directory || needs.rules);
    kept.set(CapabilitySet::SYS_ADMIN, needs.end_of_files || needs.rules);
    kept.set(CapabilitySet::SYS_BOOT, needs.machine);
    if !needs.hooks {
        // Which takes CAP_SETPCAP, and so comes first.
        clear_bounding_set();
    }
    if give_up_capabilities(kept, needs.hooks).is_err() {
        return Standing::Off;
    }
    if needs.hooks {
        return Standing::CapabilitiesOnly;
    }
    let _ = rustix::thread::set_no_new_privs(true);
    if AUDIT_ARCH == 0 || !has_filters() {
        return Standing::NoSeccomp;
    }
    filter.build(needs);
    Standing::Whole
}

/// Keeps any program that this process could execute from gaining a capability;
/// without CAP_SETPCAP it stays as it is.
fn clear_bounding_set() {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            return;
        }
    }
}

/// Keeps no more of our capabilities than `kept`. A hook gets back what it would
/// have had: as root from the bounding set, as another user from the inheritable
/// set, which what is permitted must cover for that.
fn give_up_capabilities(kept: CapabilitySet, for_hooks: bool) -> Result<(), Errno> {
    let CapabilitySets { effective, permitted, inheritable } = rustix::thread::capabilities(None)?;
    // Where there is nothing to give up, the call may be one that a service must not make.
    if (effective | permitted | inheritable).difference(kept).is_empty() {
        return Ok(());
    }
    let inheritable = if for_hooks { inheritable } else { CapabilitySet::empty() };
    let sets = CapabilitySets {
        effective: effective & kept,
        permitted: permitted & (kept | inheritable),
        inheritable,
    };
    rustix::thread::set_capabilities(None, sets)
}

/// Does the kernel take filters? One that has them looks for this one at
/// address 0 and says so.
fn has_filters() -> bool {
    set_filter(core::ptr::null()) == Err(Errno::FAULT)
}

fn set_filter(program: *const sock_fprog) -> Result<(), Errno> {
    let mode = c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: reads a program of the length that it says, or nothing at all.
    // rustix does not wrap this call.
    result_of(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_SECCOMP, mode, program) }).map(|_| ())
}

use calls::AUDIT_ARCH;
pub use calls::CALLS;

/// The calls of the loop, on kinds of machines for which they are known.
#[cfg(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
mod calls {
    use super::Whose;
    use crate::sys::pidfd::SYS_PROCESS_MRELEASE;

    /// How linux/audit.h names this kind of machine: a 32-bit call of a 64-bit
    /// program has another name, and other numbers.
    pub const AUDIT_ARCH: u32 = if cfg!(target_arch = "x86_64") {
        0xC000_003E
    } else if cfg!(target_arch = "aarch64") {
        0xC000_00B7
    } else {
        0xC000_00F3
    };

    /// What is let through and for whom, those first that are made most often.
    pub const CALLS: &[(Whose, u16)] = &[
        (Whose::Every, libc::SYS_openat as u16),
        (Whose::Every, libc::SYS_read as u16),
        (Whose::Every, libc::SYS_close as u16),
        (Whose::Every, libc::SYS_ppoll as u16),
        (Whose::Every, libc::SYS_pread64 as u16),
        // Where the kernel's own page does not tell the time.
        (Whose::Every, libc::SYS_clock_gettime as u16),
        (Whose::Every, libc::SYS_getdents64 as u16),
        (Whose::Every, libc::SYS_sysinfo as u16),
        (Whose::Every, libc::SYS_write as u16),
        (Whose::Every, libc::SYS_readlinkat as u16),
        (Whose::Every, libc::SYS_kcmp as u16),
        (Whose::Every, libc::SYS_kill as u16),
        (Whose::Every, libc::SYS_pidfd_open as u16),
        (Whose::Every, libc::SYS_pidfd_send_signal as u16),
        // The child that releases a victim's memory.
        (Whose::Every, libc::SYS_clone as u16),
        (Whose::Every, SYS_PROCESS_MRELEASE as u16),
        (Whose::Every, libc::SYS_wait4 as u16),
        (Whose::Every, libc::SYS_exit_group as u16),
        // What cannot go on ends itself by its pid, and a refusal read as one would
        // mean everybody.
        (Whose::Every, libc::SYS_getpid as u16),
        (Whose::WithHandler, libc::SYS_rt_sigreturn as u16),
        (Whose::WithCounters, libc::SYS_ioctl as u16),
        (Whose::WithCommand, libc::SYS_ioctl as u16),
        (Whose::OfMachine, libc::SYS_sync as u16),
        (Whose::OfMachine, libc::SYS_reboot as u16),
        (Whose::WithFiles, libc::SYS_fcntl as u16),
        (Whose::WithFiles, libc::SYS_fstat as u16),
        (Whose::WithRules, libc::SYS_fstat as u16),
        (Whose::WithRules, libc::SYS_mmap as u16),
        (Whose::WithRules, libc::SYS_munmap as u16),
        (Whose::WithRules, libc::SYS_mlock as u16),
        (Whose::WithRules, libc::SYS_mlock2 as u16),
        (Whose::WithRules, libc::SYS_munlock as u16),
        (Whose::WithRules, libc::SYS_madvise as u16),
        (Whose::WithRules, libc::SYS_inotify_add_watch as u16),
        (Whose::WithRules, libc::SYS_fgetxattr as u16),
        (Whose::WithRules, libc::SYS_fsetxattr as u16),
        (Whose::Every, libc::SYS_newfstatat as u16),
        (Whose::Every, libc::SYS_name_to_handle_at as u16),
        (Whose::WithFiles, libc::SYS_unlinkat as u16),
        (Whose::WithFiles, SYS_RENAME),
        (Whose::WithSyslog, libc::SYS_socket as u16),
        (Whose::WithSyslog, libc::SYS_connect as u16),
        (Whose::WithSyslog, libc::SYS_sendto as u16),
    ];

    #[cfg(not(target_arch = "riscv64"))]
    const SYS_RENAME: u16 = libc::SYS_renameat as u16;
    #[cfg(target_arch = "riscv64")]
    const SYS_RENAME: u16 = libc::SYS_renameat2 as u16;
}

/// There is no list for this kind of machine, and so no filter.
#[cfg(not(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
mod calls {

    pub const AUDIT_ARCH: u32 = 0;
    /// None.
    pub const CALLS: &[(super::Whose, u16)] = &[];
}

/// Steps before the numbers of calls and after them.
const FRAME: usize = 5;
const MAX_STEPS: usize = FRAME + CALLS.len();

/// A program for the kernel that answers calls which are not in a list with
/// EPERM.
#[derive(Debug)]
pub struct Filter {
    steps: [sock_filter; MAX_STEPS],
    /// How many there are; none where there is no filter.
    len: usize,
}

const NO_STEP: sock_filter = sock_filter { code: 0, jt: 0, jf: 0, k: 0 };

// By hand, for there is none for arrays of this length.
impl Default for Filter {
    fn default() -> Self {
        Self { steps: [NO_STEP; MAX_STEPS], len: 0 }
    }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
/// Where seccomp_data has the number of the call and the kind of machine.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

impl Filter {
    fn build(&mut self, needs: &Needs) {
        self.push(LOAD, ARCH);
        self.push(IF_EQUAL, AUDIT_ARCH);
        self.push(LOAD, NUMBER);
        // With a name of its own, by which the linker puts it beside this code.
        static TABLE: [(Whose, u16); CALLS.len()] = *CALLS.first_chunk().expect("as long as it is");
        for &(whose, call) in &TABLE {
            if needs.has(whose) {
                // A call of the x32 kind has a bit in its number that none of
                // these has.
                self.push(IF_EQUAL, call.into());
            }
        }
        let refuse = self.len;
        self.push(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
        self.push(RETURN, libc::SECCOMP_RET_ALLOW);
        // Distances are counted from the next step. The first comparison goes on
        // if it holds, and the others are over.
        self.steps[1].jf = (refuse - 2) as u8;
        for (at, step) in self.steps[3..refuse].iter_mut().enumerate() {
            step.jt = (refuse - 3 - at) as u8;
        }
    }

    fn push(&mut self, code: u32, k: u32) {
        self.steps[self.len] = sock_filter { code: code as u16, k, ..NO_STEP };
        self.len += 1;
    }

    /// Puts it into force, for good. Does nothing if it is empty.
    ///
    /// # Errors
    /// Those of prctl(2).
    pub fn install(&mut self) -> Result<(), Errno> {
        if self.len == 0 {
            return Ok(());
        }
        set_filter(&sock_fprog { len: self.len as u16, filter: self.steps.as_mut_ptr() })
    }
}
