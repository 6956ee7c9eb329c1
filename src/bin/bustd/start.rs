//! Starting: what happens between the command line and the loop.

use crate::cli::Options;
use crate::console::{EXIT_FAILURE, complaint, fail, fail_about, fail_because, fail_with};
use crate::daemon::{self, is_init};
use crate::pidfile::{DEFAULT_PIDFILE, Pidfile, PidfileError, USUAL_PIDFILES, find_holder};
use crate::program::{Uses, hold_program, kept_for, watch};
use crate::sole::{self, Sole};
use crate::values::directory_of;
use bustd::act::capability::Capabilities;
use bustd::act::command::Started;
use bustd::choose::scope::Scope;
#[cfg(feature = "rules")]
use bustd::config::rules::shelf::Shelf;
use bustd::config::scope::Asked;
use bustd::monitor::Monitor;
use bustd::read::kfile::{ReadError, Tree, read_number};
use bustd::read::process::read_own_pid;
use bustd::sys::child::{Arguments, Environment};
use bustd::sys::command::{self, Program};
use bustd::sys::file::{Closed, openat, stderr};
use bustd::sys::kept::keep_value;
use bustd::sys::line::named;
use bustd::sys::power::is_machines_init;
use bustd::sys::ready;
use bustd::sys::sandbox::{self, Filter, Needs, Standing};
use bustd::sys::signals::{Held, open_signals};
use bustd::tell::log::{Log, Sink, open_file};
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, statat};
use rustix::io::Errno;
use rustix::process::{Pid, geteuid, getpid};

/// Opens what everything is read from, or ends the program.
pub fn open_tree(options: &Options) -> Tree {
    let root = options.root;
    let tree = root.map_or_else(Tree::open_live, Tree::open_captured);
    if let (Err(error), Some(dir)) = (&tree, root) {
        fail_about(EXIT_FAILURE, named!("cannot open proc below "), dir.to_bytes(), error.reason());
    }
    let own = tree.as_ref().map_err(|error| *error).and_then(|tree| match tree.live {
        true => read_own_pid(tree.proc.as_fd()),
        false => Ok(getpid()),
    });
    match (tree, own) {
        (Ok(tree), Ok(pid)) if pid == getpid() => tree,
        // What it shows under a pid is not what we would signal there.
        (Ok(_), Ok(_)) => {
            fail(EXIT_FAILURE, named!("/proc is another pid namespace's: mount one of our own"))
        }
        _ => fail(EXIT_FAILURE, named!("/proc is not mounted: mount -t proc proc /proc")),
    }
}

/// Finds the memory that is to be guarded, or ends the program.
pub fn find_scope<'a>(options: &Options, tree: &'a Tree) -> Scope<'a> {
    let asked = options.config.scope;
    Scope::find(tree, asked, options.command.is_some()).unwrap_or_else(|error| {
        let why =
            if error == ReadError::Malformed { named!("no cgroup with memory") } else { error.reason() };
        match asked {
            Asked::Path(path) => fail_about(EXIT_FAILURE, "--scope ", path.to_bytes(), why),
            _ => fail_because(EXIT_FAILURE, named!("cannot find our own cgroup"), why),
        }
    })
}

/// Keeps what there is but one of in a page that the program has anyway, and so off the
/// stack.
pub fn keep<'v, T: 'v>(value: T) -> &'v mut T {
    keep_value(value).unwrap_or_else(|_| fail(EXIT_FAILURE, named!("out of memory")))
}

// These out of line, so that what is kept is never on the stack of who goes on to guard.

#[inline(never)]
fn keep_scope<'a>(options: &Options, tree: &'a Tree) -> &'a Scope<'a> {
    keep(find_scope(options, tree))
}

#[inline(never)]
fn keep_filter<'v>() -> &'v mut Filter {
    keep(Filter::default())
}

#[inline(never)]
fn keep_log<'v>(asked: Option<Sink>, stderr_unread: bool) -> &'v mut Log {
    keep(open_log(asked, stderr_unread))
}

/// Becomes the guard that was asked for, and watches until it is told to end.
#[allow(unsafe_code)]
pub fn guard(
    options: &Options,
    program: Option<Arguments>,
    held: Held,
    closed: Closed,
    environment: Environment,
) -> ! {
    let Options { config, no_daemon, no_sandbox, sink, pidfile, .. } = options;
    let tree = open_tree(options);
    #[cfg(feature = "rules")]
    let mut shelf = crate::rules::open_shelf(options, &tree);
    #[cfg(feature = "rules")]
    let has_rules = shelf.is_some();
    #[cfg(not(feature = "rules"))]
    let has_rules = false;
    let scope = keep_scope(options, &tree);
    let daemon = tree.live && !no_daemon && !config.once && !is_init();
    let parent = daemon.then(|| {
        // SAFETY: this program has one thread, and its `abort` signals nobody else.
        let forked = unsafe { daemon::fork_and_leave(config.dry_run) };
        forked.unwrap_or_else(|_| fail(EXIT_FAILURE, named!("cannot become a daemon")))
    });
    // Who kills nobody may try what another guard would do. A command is run and
    // process 1 goes on, whoever guards besides.
    let is_earnest = tree.live && !config.once && !config.dry_run;
    let may_refuse = program.is_none() && !is_init();
    // Cgroups may have a guard each.
    if is_earnest && may_refuse && scope.is_machine() {
        refuse_beside_others(*pidfile);
    }
    // What the guard writes is for everybody to read, whoever starts it.
    let for_everybody = Mode::WGRP | Mode::WOTH;
    let umask = rustix::process::umask(for_everybody);
    let pidfile = take_pidfile(*pidfile, daemon);
    rustix::process::umask(umask);
    let sole = is_earnest.then(|| sole::take(&tree, scope));
    if let Some(Sole::Other(pid)) = sole
        && may_refuse
    {
        if let Some(pidfile) = pidfile {
            pidfile.remove();
        }
        fail_other(pid);
    }
    let is_machines = is_machines_init();
    // Before anything changes that it would have to be given back.
    let command = program.map(|arguments| {
        let program = Program { arguments, environment, parent_death: options.parent_death, held };
        start_command(&program, options.termination_log, is_machines)
    });
    rustix::process::umask(for_everybody);
    let signals = open_signals(command.is_some())
        .unwrap_or_else(|_| fail(EXIT_FAILURE, named!("cannot receive signals (signalfd)")));
    let log = keep_log(*sink, daemon || is_init() || closed.stderr || tree.live && is_null(stderr()));
    if signals.are_handled() {
        log.warn_of(named!("no signalfd: signals are taken by a handler"));
    }
    match sole {
        Some(Sole::Unknown) => {
            log.warn_of(named!("somebody has taken our name: another guard would go unnoticed"))
        }
        Some(Sole::Other(_)) => log.warn_of(named!("another guard is running besides this one")),
        _ => {}
    }
    let capabilities = match tree.live {
        true => Capabilities::acquire(&tree, scope, environment),
        false => Capabilities::of_captured(),
    };
    let kept = kept_for(&Uses {
        command: command.is_some(),
        stats: config.stats.is_some() || pidfile.is_some(),
        patterns: config.policy.has_patterns(),
        hooks: config.has_hooks(),
        cgroup: scope.has_cgroup(),
        rules: has_rules,
    });
    if capabilities.lock.is_ok() {
        hold_program(&kept);
        #[cfg(feature = "rules")]
        shelf.iter().for_each(Shelf::lock);
    }
    #[cfg(feature = "rules")]
    let runs_programs = shelf.as_ref().is_some_and(crate::rules::runs_programs);
    #[cfg(not(feature = "rules"))]
    let runs_programs = false;
    let needs = Needs {
        hooks: config.has_hooks() || runs_programs,
        foreign_directory: config.stats.is_some_and(is_in_foreign_directory)
            || matches!(log.sink(), Sink::File(path) if is_in_foreign_directory(path)),
        // Where there is no end the number is as large as can be.
        end_of_files: read_number(tree.proc.as_fd(), c"sys/fs/file-max").is_ok(),
        files: config.stats.is_some() || pidfile.is_some(),
        syslog: log.sink() == Sink::Syslog,
        counters: capabilities.faults.is_some(),
        handler: signals.are_handled(),
        command: command.is_some(),
        machine: is_machines,
        rules: has_rules,
    };
    let mut monitor = Monitor::new(&tree, scope, *config, capabilities, &signals, log);
    #[cfg(feature = "rules")]
    crate::rules::start(&mut monitor, &mut shelf, &tree, *sink == Some(Sink::Kmsg));
    if let Some(command) = command {
        monitor.attend(command, &tree);
    }
    monitor.begin_stats(pidfile.as_ref().map(Pidfile::as_fd));
    monitor.renew_stack();
    let filter = keep_filter();
    let standing = match tree.live && !no_sandbox {
        true => sandbox::enter(&needs, filter),
        false => Standing::Off,
    };
    if tree.live
        && !config.once
        && let Err(error) = monitor.announce(standing)
    {
        fail_because(EXIT_FAILURE, named!("cannot read memory"), error.reason())
    }
    if tree.live && !config.once {
        tell_ready(
            options.ready_fd,
            environment.value("NOTIFY_SOCKET").filter(|_| options.command.is_none()),
        );
    }
    if let Some(parent) = parent {
        monitor.let_go_of_stderr();
        daemon::detach();
        parent.release();
    }
    monitor.trim_stack();
    watch(&mut monitor, filter, pidfile.as_ref(), &kept)
}

/// Tells who waits for it that we watch.
// Out of line, so that the loop does not run below its stack.
#[allow(unsafe_code)]
#[inline(never)]
fn tell_ready(descriptor: Option<u32>, socket: Option<&[u8]>) {
    if let Some(number) = descriptor {
        // SAFETY: it was open when the command line was read, before we opened any.
        let told = unsafe { ready::write_newline(number) };
        if let Err(errno) = told {
            fail_because(EXIT_FAILURE, named!("--ready-fd"), ReadError::from(errno).reason());
        }
    }
    if let Some(socket) = socket {
        ready::notify(socket);
    }
}

/// Starts the command, which waits for the loop to begin, or ends the program.
// Out of line: inlined it is larger.
#[allow(unsafe_code)]
#[cfg_attr(not(feature = "init"), allow(unused_variables, reason = "nothing is started"))]
#[inline(never)]
fn start_command(program: &Program, log: Option<&CStr>, is_machines: bool) -> Started {
    // SAFETY: this program has one thread, and its `abort` signals nobody else.
    let waiting = unsafe { command::start(program, fail_to_execute) }
        .unwrap_or_else(|_| fail(EXIT_FAILURE, named!("cannot start a process")));
    Started { waiting, termination_log: open_termination_log(log), is_machines }
}

/// Ends a child that could not become the command.
fn fail_to_execute(name: &CStr, why: Errno) -> ! {
    fail_about(command::status_of(why), "", name.to_bytes(), ReadError::from(why).reason())
}

/// Where Kubernetes looks for why a container ended.
const USUAL_TERMINATION_LOG: &CStr = c"/dev/termination-log";

/// Opens the file that was asked for, or else the usual one if it is there.
fn open_termination_log(asked: Option<&CStr>) -> Option<OwnedFd> {
    let mut flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::TRUNC;
    flags.set(OFlags::CREATE, asked.is_some());
    match (openat(CWD, asked.unwrap_or(USUAL_TERMINATION_LOG), flags), asked) {
        (Err(errno), Some(path)) => {
            let why = ReadError::from(errno).reason();
            fail_about(EXIT_FAILURE, named!("--termination-log "), path.to_bytes(), why)
        }
        (opened, _) => opened.ok(),
    }
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
            let why = named!("not a file, or one that has another name besides");
            fail_about(EXIT_FAILURE, named!("--pidfile "), path.to_bytes(), why)
        }
        // A system without /run does not have to have one for us.
        Err(PidfileError::Io(_)) if asked.is_none() => None,
        Err(PidfileError::Io(errno)) => {
            fail_about(EXIT_FAILURE, named!("--pidfile "), path.to_bytes(), ReadError::from(errno).reason())
        }
    }
}

/// Ends the program where a guard holds one of the usual pidfiles, whoever it is.
// Out of line, so that who goes on to guard has no such line on its stack.
#[inline(never)]
fn refuse_beside_others(own: Option<&CStr>) {
    for path in USUAL_PIDFILES {
        if Some(path) != own
            && let Some(holder) = find_holder(path)
        {
            fail_held(holder.pid, path);
        }
    }
}

/// Does the directory of this file belong to another user? Then even root's guard
/// writes there by a capability only.
// Out of line, for what is on the stack here the guard keeps.
#[inline(never)]
fn is_in_foreign_directory(path: &CStr) -> bool {
    let stat = statat(CWD, directory_of(path).as_cstr(), AtFlags::empty());
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

/// Another guard is there, and has no pidfile that we would have looked at.
// Out of line for the same reason.
#[inline(never)]
fn fail_other(pid: Pid) -> ! {
    let mut line = complaint();
    line.text(named!("already running with pid ")).signed(pid.as_raw_pid().into());
    fail_with(EXIT_FAILURE, &mut line)
}

/// Is what is written there read by nobody? Some supervisors give their services
/// nothing else.
fn is_null(stream: BorrowedFd<'_>) -> bool {
    let null = statat(CWD, c"/dev/null", AtFlags::empty());
    let is_same =
        |null: Stat| fstat(stream).is_ok_and(|stat| stat.st_rdev != 0 && stat.st_rdev == null.st_rdev);
    null.is_ok_and(is_same)
}

/// Opens the sink that was asked for; else the first that somebody can read.
fn open_log(asked: Option<Sink>, stderr_unread: bool) -> Log {
    if let Some(Sink::File(path)) = asked
        && let Err(errno) = open_file(path)
    {
        fail_about(EXIT_FAILURE, "--log ", path.to_bytes(), ReadError::from(errno).reason());
    }
    match asked {
        Some(sink) => Log::open(sink),
        None if stderr_unread => {
            let kmsg = Log::open(Sink::Kmsg);
            if kmsg.sink() == Sink::Kmsg { kmsg } else { Log::open(Sink::Syslog) }
        }
        None => Log::open(Sink::Stderr),
    }
}
