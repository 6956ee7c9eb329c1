//! bustd, the program: start-up in order, then the loop.
//!
//! The entry point is C's, so that the standard library's own start-up code,
//! which needs a heap and threads, is not linked. Nothing else of that library
//! is used: there is no heap.
#![no_main]
#![deny(unsafe_code)]

mod check;
mod cli;
mod console;
mod daemon;
mod oom;
mod status;

use bustd::act::capability::Capabilities;
use bustd::monitor::Monitor;
use bustd::read::kfile::{ReadError, Tree};
use bustd::read::process::read_own_pid;
use bustd::sys::arguments::{Arguments, NoHeap};
use bustd::sys::child::{self, Environment};
use bustd::sys::file::{self, Closed};
use bustd::sys::line::Line;
use bustd::sys::program::StartupCode;
use bustd::sys::signals::open_signals;
use bustd::tell::log::{Log, Sink};
use cli::{Command, Options};
use core::ffi::{CStr, c_char, c_int};
use daemon::{DEFAULT_PIDFILE, Pidfile, PidfileError};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::process::getpid;

#[global_allocator]
static NO_HEAP: NoHeap = NoHeap;

/// Exit status for a bad command line.
const EXIT_USAGE: i32 = 2;
/// Exit status for everything else that keeps us from starting.
const EXIT_FAILURE: i32 = 1;

/// Where the C library enters.
///
/// # Safety
/// `argv` and `environ` hold NUL-terminated strings, as main(3) is given them.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(
    argc: c_int,
    argv: *const *const c_char,
    environ: *const *const c_char,
) -> c_int {
    let closed = file::fill_standard_streams();
    // SAFETY: as main(3) is given them, and they stay as long as the process.
    let mut args = unsafe { Arguments::new(argc, argv) };
    // SAFETY: the same.
    let environment = unsafe { Environment::new(environ) };
    // The first is the program's name.
    args.next();
    let mut options = Options::default();
    let command = cli::parse(args, &mut options);
    match command {
        Command::Guard => guard(&options, closed, environment),
        Command::Help => print(cli::HELP.as_bytes()),
        Command::Version => print(concat!("bustd ", env!("CARGO_PKG_VERSION"), "\n").as_bytes()),
        Command::Status => status::show(&options, &open_tree(&options), environment),
        Command::Check => check::show(&options, &open_tree(&options)),
        Command::Oom(pids) => {
            let pids = pids.filter_map(|pid| cli::parse_pid_or_self(pid.to_bytes()));
            oom::show(pids, &open_tree(&options), environment)
        }
    }
}

/// Are we process 1?
pub fn is_init() -> bool {
    getpid().is_init()
}

/// Opens what everything is read from, or ends the program.
fn open_tree(options: &Options) -> Tree {
    let root = options.root;
    let tree = root.map_or_else(Tree::open_live, Tree::open_captured).unwrap_or_else(|error| {
        let mut line = complaint();
        line.quoted(root.unwrap_or(c"/").to_bytes()).text(": cannot open proc below it: ");
        fail_with(EXIT_FAILURE, line.text(error.reason()))
    });
    if tree.live && read_own_pid(tree.proc.as_fd()) != Ok(getpid()) {
        // What it shows under a pid is not what we would signal there.
        fail(EXIT_FAILURE, "/proc is not mounted, or another pid namespace's");
    }
    tree
}

#[allow(unsafe_code)]
fn guard(options: &Options, closed: Closed, environment: Environment) -> c_int {
    let Options { config, no_daemon, sink, pidfile, .. } = options;
    let tree = open_tree(options);
    let startup = StartupCode::default();
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
        true => Capabilities::acquire(&tree, environment, &startup),
        false => Capabilities::of_captured(),
    };
    let mut monitor = Monitor::new(&tree, *config, capabilities, &signals, &mut log);
    monitor.begin_stats(pidfile.as_ref().map(Pidfile::as_fd));
    if tree.live
        && !config.once
        && let Err(error) = monitor.announce()
    {
        let mut line = complaint();
        fail_with(EXIT_FAILURE, line.text("cannot read /proc/meminfo: ").text(error.reason()))
    }
    if let Some(parent) = parent {
        monitor.let_go_of_stderr();
        daemon::detach();
        parent.release();
    }
    monitor.run(&startup);
    if let Some(pidfile) = pidfile {
        pidfile.remove();
    }
    0
}

/// Takes the pidfile that was asked for, or root's daemon's own if it can be.
fn take_pidfile(asked: Option<&'static CStr>, daemon: bool) -> Option<Pidfile> {
    let default = || (daemon && rustix::process::geteuid().is_root()).then_some(DEFAULT_PIDFILE);
    let path = asked.or_else(default)?;
    match Pidfile::create(path) {
        Ok(pidfile) => Some(pidfile),
        Err(PidfileError::Held(pid)) => {
            let mut line = complaint();
            line.text("already running");
            if pid > 0 {
                line.text(" with pid ").signed(pid.into());
            }
            fail_with(EXIT_FAILURE, line.text(": it holds ").quoted(path.to_bytes()))
        }
        Err(PidfileError::NotAFile) => {
            let mut line = complaint();
            line.text("--pidfile ").quoted(path.to_bytes());
            fail_with(EXIT_FAILURE, line.text(": not a file, or one that has another name besides"))
        }
        // A system without /run does not have to have one for us.
        Err(PidfileError::Io(_)) if asked.is_none() => None,
        Err(PidfileError::Io(errno)) => {
            let mut line = complaint();
            line.text("--pidfile ").quoted(path.to_bytes()).text(": ");
            fail_with(EXIT_FAILURE, line.text(ReadError::from(errno).reason()))
        }
    }
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

/// Prints to standard output and returns the exit status.
#[allow(unsafe_code)]
fn print(text: &[u8]) -> c_int {
    // SAFETY: standard output was filled at entry and is never closed.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    match rustix::io::write(stdout, text) {
        Ok(len) if len == text.len() => 0,
        _ => EXIT_FAILURE,
    }
}

/// Says why on standard error and exits.
fn fail(status: i32, why: &str) -> ! {
    fail_with(status, complaint().text(why))
}

/// A line for [`fail_with`], begun.
fn complaint() -> Line {
    let mut line = Line::default();
    line.text("bustd: ");
    line
}

/// The same as [`fail`] with a longer story.
fn fail_with(status: i32, line: &mut Line) -> ! {
    line.end_line();
    let _ = rustix::io::write(file::stderr(), line.as_bytes());
    child::exit_now(status)
}
