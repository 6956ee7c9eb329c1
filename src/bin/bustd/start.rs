//! Starting: what happens between the command line and the loop.

use crate::cli::Options;
use crate::console::{EXIT_FAILURE, complaint, fail, fail_about, fail_because, fail_with};
use crate::daemon::{self, DEFAULT_PIDFILE, Pidfile, PidfileError};
use crate::{hold_program, is_init, watch};
use bustd::act::capability::Capabilities;
use bustd::monitor::Monitor;
use bustd::read::kfile::{ReadError, Tree, read_number};
use bustd::read::process::read_own_pid;
use bustd::sys::child::Environment;
use bustd::sys::file::Closed;
use bustd::sys::line::Line;
use bustd::sys::sandbox::{self, Filter, Needs, Standing};
use bustd::sys::signals::open_signals;
use bustd::tell::log::{Log, Sink};
use core::ffi::{CStr, c_int};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, statat};
use rustix::process::{geteuid, getpid};

/// Opens what everything is read from, or ends the program.
pub fn open_tree(options: &Options) -> Tree {
    let root = options.root;
    let tree = root.map_or_else(Tree::open_live, Tree::open_captured).unwrap_or_else(|error| {
        let dir = root.unwrap_or(c"/").to_bytes();
        fail_about(EXIT_FAILURE, "cannot open proc below ", dir, error.reason())
    });
    if tree.live && read_own_pid(tree.proc.as_fd()) != Ok(getpid()) {
        // What it shows under a pid is not what we would signal there.
        fail(EXIT_FAILURE, "/proc is not mounted, or another pid namespace's");
    }
    tree
}

/// Becomes the guard that was asked for, and watches until it is told to end.
#[allow(unsafe_code)]
pub fn guard(options: &Options, closed: Closed, environment: Environment) -> c_int {
    let Options { config, no_daemon, no_sandbox, sink, pidfile, .. } = options;
    let tree = open_tree(options);
    let daemon = tree.live && !no_daemon && !config.once && !is_init();
    let parent = daemon.then(|| {
        // SAFETY: this program has one thread, and its `abort` signals nobody else.
        let forked = unsafe { daemon::fork_and_leave() };
        forked.unwrap_or_else(|_| fail(EXIT_FAILURE, "cannot become a daemon"))
    });
    let pidfile = take_pidfile(*pidfile, daemon);
    let signals = open_signals().unwrap_or_else(|_| fail(EXIT_FAILURE, "cannot receive signals (signalfd)"));
    let mut log = open_log(*sink, daemon || is_init() || closed.stderr);
    let capabilities = match tree.live {
        true => Capabilities::acquire(&tree, environment),
        false => Capabilities::of_captured(),
    };
    if capabilities.lock.is_ok() {
        hold_program();
    }
    let needs = Needs {
        hooks: config.before_kill.is_some() || config.on_kill.is_some(),
        foreign_directory: config.stats.is_some_and(is_in_foreign_directory),
        // Where there is no end the number is as large as can be.
        end_of_files: read_number(tree.proc.as_fd(), c"sys/fs/file-max").is_ok(),
        files: config.stats.is_some() || pidfile.is_some(),
        syslog: log.sink() == Sink::Syslog,
        counters: capabilities.faults.is_some(),
    };
    let mut monitor = Monitor::new(&tree, *config, capabilities, &signals, &mut log);
    monitor.begin_stats(pidfile.as_ref().map(Pidfile::as_fd));
    monitor.renew_stack();
    let mut filter = Filter::default();
    let standing = match tree.live && !no_sandbox {
        true => sandbox::enter(&needs, &mut filter),
        false => Standing::Off,
    };
    if tree.live
        && !config.once
        && let Err(error) = monitor.announce(standing)
    {
        fail_because(EXIT_FAILURE, "cannot read /proc/meminfo", error.reason())
    }
    if let Some(parent) = parent {
        monitor.let_go_of_stderr();
        daemon::detach();
        parent.release();
    }
    watch(&mut monitor, &mut filter);
    if let Some(pidfile) = pidfile {
        pidfile.remove();
    }
    0
}

/// Takes the pidfile that was asked for, or root's daemon's own if it can be.
// Out of line: inlined it is larger.
#[inline(never)]
fn take_pidfile(asked: Option<&'static CStr>, daemon: bool) -> Option<Pidfile> {
    let default = || (daemon && geteuid().is_root()).then_some(DEFAULT_PIDFILE);
    let path = asked.or_else(default)?;
    match Pidfile::create(path) {
        Ok(pidfile) => Some(pidfile),
        Err(PidfileError::Held(pid)) => fail_held(pid, path),
        Err(PidfileError::NotAFile) => {
            let why = "not a file, or one that has another name besides";
            fail_about(EXIT_FAILURE, "--pidfile ", path.to_bytes(), why)
        }
        // A system without /run does not have to have one for us.
        Err(PidfileError::Io(_)) if asked.is_none() => None,
        Err(PidfileError::Io(errno)) => {
            fail_about(EXIT_FAILURE, "--pidfile ", path.to_bytes(), ReadError::from(errno).reason())
        }
    }
}

/// Does the directory of this file belong to another user? Then even root's guard
/// writes there by a capability only.
fn is_in_foreign_directory(path: &CStr) -> bool {
    let path = path.to_bytes();
    let end = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    let mut dir = Line::default();
    let stat = statat(CWD, dir.bytes(&path[..end]).as_cstr(), AtFlags::empty());
    stat.is_ok_and(|stat| stat.st_uid != geteuid().as_raw())
}

/// Another guard is there.
// Out of line, so that who goes on to guard has no such line on its stack.
#[inline(never)]
fn fail_held(pid: i32, path: &CStr) -> ! {
    let mut line = complaint();
    line.text("already running");
    if pid > 0 {
        line.text(" with pid ").signed(pid.into());
    }
    fail_with(EXIT_FAILURE, line.text(": it holds ").quoted(path.to_bytes()))
}

/// Opens the sink that was asked for; else the first that somebody can read.
fn open_log(asked: Option<Sink>, stderr_unread: bool) -> Log {
    match asked {
        Some(sink) => Log::open(sink),
        None if stderr_unread => {
            let kmsg = Log::open(Sink::Kmsg);
            if kmsg.sink() == Sink::Kmsg { kmsg } else { Log::open(Sink::Syslog) }
        }
        None => Log::open(Sink::Stderr),
    }
}
