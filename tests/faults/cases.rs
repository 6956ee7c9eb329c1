//! Which calls there are, how each can fail, and when.

use rustix::process::Pid;
use std::collections::BTreeMap;

/// In a debug build rustix asserts that there is none; the guard itself does not
/// ask.
const CLOSE: &[&str] = if cfg!(debug_assertions) { &[] } else { &["EIO", "EINTR"] };

/// What says that a process is gone, or off limits, is believed: whom the kernel
/// will not have killed is not the victim then.
const BELIEVED: [&str; 4] = ["ENOENT", "ESRCH", "EACCES", "EPERM"];

/// How each call of the loop can fail. Those without an error have none that
/// arguments that are always the same could get.
const ERRORS: &[(&str, &[&str])] = &[
    ("openat", &["EMFILE", "ENFILE", "ENOMEM", "EACCES", "EPERM", "ENOENT", "EINTR", "EIO", "ESRCH"]),
    ("openat2", &["EMFILE", "ENFILE", "ENOMEM", "EACCES", "ENOENT", "EAGAIN", "ENOSYS"]),
    ("read", &["EINTR", "EAGAIN", "EIO", "ESRCH", "ENOMEM", "EINVAL"]),
    ("pread64", &["EINTR", "EAGAIN", "EIO", "ENODEV", "ENOMEM", "EINVAL", "EOPNOTSUPP"]),
    ("getdents64", &["ENOENT", "ENOMEM", "EIO", "EINTR", "EINVAL"]),
    ("close", CLOSE),
    ("poll", &["EINTR", "ENOMEM", "EINVAL"]),
    ("ppoll", &["EINTR", "ENOMEM", "EINVAL"]),
    ("write", &["EAGAIN", "EINTR", "EIO", "ENOSPC", "EPIPE", "ENOMEM"]),
    ("ioctl", &["EINVAL"]),
    ("kill", &["EPERM", "ESRCH"]),
    ("pidfd_open", &["EMFILE", "ENFILE", "ENOMEM", "ENODEV", "ESRCH", "EINVAL", "ENOSYS", "EPERM"]),
    ("pidfd_send_signal", &["EPERM", "ESRCH", "EINVAL", "ENOSYS", "EAGAIN"]),
    ("process_mrelease", &["EINTR", "EAGAIN", "EINVAL", "ESRCH", "ENOSYS", "EPERM"]),
    ("clone", &["EAGAIN", "ENOMEM", "EPERM", "ENOSYS"]),
    ("fork", &["EAGAIN", "ENOMEM", "EPERM", "ENOSYS"]),
    ("wait4", &["EINTR", "ECHILD"]),
    ("waitid", &["EINTR", "ECHILD"]),
    ("nanosleep", &["EINTR"]),
    ("clock_nanosleep", &["EINTR"]),
    ("fcntl", &["EAGAIN", "EACCES", "ENOLCK", "EINVAL"]),
    ("rename", &["ENOSPC", "EROFS", "EACCES", "ENOENT", "EIO", "ENOMEM"]),
    ("renameat", &["ENOSPC", "EROFS", "EACCES", "ENOENT", "EIO", "ENOMEM"]),
    ("renameat2", &["ENOSPC", "EROFS", "EACCES", "ENOENT", "EIO", "ENOMEM"]),
    ("unlinkat", &["EROFS", "EACCES", "ENOENT", "EIO"]),
    ("name_to_handle_at", &["EOPNOTSUPP", "EPERM", "ENOMEM", "ENOENT", "ENOSYS"]),
    ("newfstatat", &["EACCES", "ENOENT", "ENOMEM", "EIO"]),
    ("readlinkat", &["EACCES", "ENOENT", "ENOMEM", "EIO"]),
    ("memfd_create", &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS"]),
    ("fchmod", &["EPERM", "EROFS"]),
    // Of rules that are read again.
    ("mmap", &["ENOMEM", "EAGAIN"]),
    ("munmap", &["ENOMEM"]),
    ("mlock", &["ENOMEM", "EPERM", "EAGAIN"]),
    ("mlock2", &["ENOMEM", "EPERM", "EAGAIN"]),
    ("munlock", &["ENOMEM"]),
    ("madvise", &["ENOMEM", "EINVAL"]),
    ("fstat", &["ENOMEM", "EIO"]),
    ("fgetxattr", &["ENODATA", "EACCES", "EOPNOTSUPP", "ERANGE", "ENOMEM"]),
    ("fsetxattr", &["ENOSPC", "EPERM", "EOPNOTSUPP", "EROFS", "ENOMEM"]),
    ("inotify_add_watch", &["ENOENT", "ENOSPC", "ENOMEM", "EACCES"]),
    // A child's, until it is the hook.
    ("dup2", &["EMFILE", "EINTR"]),
    ("dup3", &["EMFILE", "EINTR"]),
    ("execve", &["ENOENT", "EACCES", "ENOMEM", "EAGAIN", "E2BIG"]),
    ("setpriority", &["EPERM", "EACCES"]),
    ("rt_sigprocmask", &["EINVAL"]),
    ("setsid", &["EPERM"]),
    ("prlimit64", &["EPERM"]),
    ("clock_gettime", &[]),
    ("sysinfo", &[]),
    ("getpid", &[]),
    ("exit", &[]),
    ("exit_group", &[]),
    ("restart_syscall", &[]),
    ("rt_sigreturn", &[]),
    ("sched_yield", &[]),
];

/// When a case's fault comes.
#[derive(Clone, Copy, PartialEq)]
pub enum Phase {
    /// Memory is near the limit and looked at all the time.
    Steady,
    /// It falls below, and somebody dies, with hooks and a stats file.
    Kill,
    /// It falls below in a cgroup, and another below it dies as a whole.
    Whole,
    /// The same with somebody in it who is to live.
    Spared,
    /// A file of rules has a cgroup killed, and that is told in its attributes.
    Rules,
}

impl Phase {
    pub const ALL: [(Self, &str); 5] = [
        (Self::Steady, "steady"),
        (Self::Kill, "kill"),
        (Self::Whole, "whole"),
        (Self::Spared, "spared"),
        (Self::Rules, "rules"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(phase, _)| *phase == self).expect("all are there").1
    }

    pub fn is_in_cgroup(self) -> bool {
        matches!(self, Self::Whole | Self::Spared | Self::Rules)
    }
}

/// A phase's calls and how many of each there are.
pub type Calls = BTreeMap<String, u32>;

#[derive(Clone)]
pub struct Case {
    pub phase: Phase,
    pub call: &'static str,
    pub error: &'static str,
    /// strace's word for which of the calls fail.
    pub when: String,
}

impl Case {
    pub fn name(&self) -> String {
        let phase = self.phase.name();
        format!("{phase} {}:{}:when={}", self.call, self.error, self.when)
    }

    pub fn is_for_good(&self) -> bool {
        self.when.ends_with('+')
    }

    /// Does it say that a process is gone? Who is gone cannot be one who is to live.
    pub fn says_gone(&self) -> bool {
        self.error == "ESRCH" || (self.call, self.error) == ("openat", "ENOENT")
    }

    /// May another die for it, or nobody without a word?
    pub fn is_believed(&self) -> bool {
        BELIEVED.contains(&self.error) && self.phase != Phase::Steady
    }
}

/// The most times a call is failed once with the same error.
const MOST_SINGLES: u32 = 48;

/// Every case there is for these calls.
pub fn cases(phase: Phase, calls: &Calls) -> Vec<Case> {
    let mut cases = Vec::new();
    for (call, &count) in calls {
        let row = ERRORS.iter().find(|(known, _)| known == call);
        let &(call, errors) = row.unwrap_or_else(|| panic!("how can {call} fail? Please add it to ERRORS"));
        let mut singles = if phase == Phase::Steady {
            vec![1, count.div_ceil(2)]
        } else {
            vec![1, count.div_ceil(3), count * 2 / 3, count]
        };
        singles.retain(|&at| at > 0);
        singles.dedup();
        let doubles = [1, count / 2].into_iter().filter(|&at| at > 0);
        let mut whens: Vec<String> = singles.iter().map(u32::to_string).collect();
        whens.extend(doubles.map(|at| format!("{at}..{}", at + 1)));
        whens.extend([1, count / 2 + 1].map(|at| format!("{at}+")));
        whens.sort();
        whens.dedup();
        for &error in errors {
            // No kernel interrupts a call for ever.
            let whens = whens.iter().filter(|when| error != "EINTR" || !when.ends_with('+'));
            cases.extend(whens.map(|when| Case { phase, call, error, when: when.clone() }));
        }
        // With one of them, each of the calls.
        if let Some(error) = errors.first().filter(|_| phase != Phase::Steady) {
            let others = (1..=count.min(MOST_SINGLES)).filter(|at| !singles.contains(at));
            cases.extend(others.map(|at| Case { phase, call, error, when: at.to_string() }));
        }
    }
    cases
}

/// The guard's own calls and those of its children until they are somebody else.
/// strace(1) counts for each process anew: what counts is who makes most.
pub fn calls_of(trace: &str, guard: Pid) -> Calls {
    let mut counts = BTreeMap::<_, u32>::new();
    let mut others = Vec::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || others.contains(&pid) {
            continue;
        }
        if name == "execve" && pid != guard.to_string() {
            others.push(pid);
        }
        *counts.entry((name, pid)).or_default() += 1;
    }
    let mut calls = Calls::new();
    for ((name, _), count) in counts {
        let most = calls.entry(name.to_owned()).or_default();
        *most = count.max(*most);
    }
    calls
}
