//! `bustd … COMMAND`: the guard as the init of a container and as a parent among
//! others.

use crate::harness::{
    Eater, FakeMeminfo, Journal, OnTerm, PROGRAM, ROLE, Role, eventually, exit_of, in_namespace,
    in_namespace_with_users, living, mount, pid_of, script, skip, unshare,
};
use crate::init::children_of;
use crate::terminal::terminal;
use bustd::read::kfile::Tree;
use bustd::read::process::{Pid, read_stat};
use rustix::fd::AsFd;
use rustix::process::{Signal, kill_process};
use std::io::Error;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

/// Nobody is killed by the guard.
const DRY: &[&str] = &["--dry-run"];

/// SIGTERM at half a gigabyte, and SIGKILL never.
const LIMIT: &[&str] = &["--mem", "512M,1M"];
const PLENTY_MIB: u64 = 600;
const SHORT_MIB: u64 = 500;

/// Whose init the guard is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Of a namespace of its own.
    First,
    /// Nobody's.
    Among,
}

const PLACES: [Place; 2] = [Place::First, Place::Among];

/// A guard that runs a command, or unshare(1) with such a guard below.
struct Attended {
    child: Child,
    place: Place,
}

impl Attended {
    fn start(journal: &Journal, place: Place, options: &[&[&str]], program: &[&str]) -> Self {
        Self::spawn(command_of(journal, place, options, program), place)
    }

    fn spawn(mut command: Command, place: Place) -> Self {
        Self { child: command.spawn().expect("the guard starts"), place }
    }

    /// The guard, by its pid here.
    fn pid(&self) -> Pid {
        match self.place {
            Place::First => children_of(pid_of(&self.child))[0],
            Place::Among => pid_of(&self.child),
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the guard lives");
    }

    /// What it ends with.
    fn status(mut self) -> i32 {
        exit_of(&mut self.child).code().expect("a status, and no signal")
    }
}

fn command_of(journal: &Journal, place: Place, options: &[&[&str]], program: &[&str]) -> Command {
    let mut command = match place {
        Place::First => unshare(),
        Place::Among => Command::new("env"),
    };
    if place == Place::First {
        // Its /proc is a new one.
        let boot = "[ ! -e /run/meminfo ] || mount --bind /run/meminfo /proc/meminfo; exec \"$@\"";
        command.args(["sh", "-c", boot, "boot"]);
    }
    command.arg(PROGRAM).args(options.concat()).arg("--").args(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
    command
}

/// What a shell that runs `lines` makes the guard end with.
fn status_of(journal: &Journal, place: Place, options: &[&[&str]], lines: &str) -> i32 {
    Attended::start(journal, place, options, &["sh", "-c", lines]).status()
}

/// Sleeps in small parts, so that a shell gets to its traps.
const REST: &str = "while :; do sleep 0.02; done";

// ---------------------------------------------------------------- the end

#[test]
fn it_ends_as_the_command_ends() {
    in_namespace(|| {
        let mut journal = Journal::new();
        for place in PLACES {
            let status = |lines: &str| status_of(&journal, place, &[DRY], lines);
            assert_eq!(["exit 0", "exit 7", "exit 255"].map(status), [0, 7, 255], "{place:?}");
            assert_eq!(["kill -TERM $$", "kill -KILL $$", "kill -SEGV $$"].map(status), [143, 137, 139]);
        }
        // Its log is standard error, and nothing is said of all that.
        assert_eq!(journal.count("watching"), 12);
        assert!(journal.lines().last().unwrap().contains("watching"));
    });
}

#[test]
fn statuses_are_mapped() {
    in_namespace(|| {
        let journal = Journal::new();
        for place in PLACES {
            let map: &[&str] = &["--map-exit", "143:0"];
            let status = |lines: &str| status_of(&journal, place, &[DRY, map], lines);
            assert_eq!(["kill -TERM $$", "exit 143", "exit 4"].map(status), [0, 0, 4]);
        }
    });
}

#[test]
fn what_cannot_be_executed_is_said_once() {
    in_namespace(|| {
        let no_right = script("no-right", "text");
        fs::set_permissions(&no_right, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        for place in PLACES {
            for (program, status, why) in [
                ("/nonexistent/program", 127, "no such file or directory"),
                ("nobody-has-this-name", 127, "no such file or directory"),
                ("/run/bustd/x", 127, "not a directory"),
                ("", 127, "no such file or directory"),
                (&no_right, 126, "not permitted"),
                ("/run", 126, "not permitted"),
            ] {
                let mut journal = Journal::new();
                assert_eq!(Attended::start(&journal, place, &[DRY], &[program]).status(), status);
                journal.expect("watching");
                let started = journal.lines().len() - 1;
                assert_eq!(journal.lines()[started..], [format!("bustd: \"{program}\": {why}")]);
            }
        }
    });
}

#[test]
fn a_program_is_looked_for_in_path() {
    in_namespace(|| {
        let journal = Journal::new();
        fs::create_dir("/run/first").unwrap();
        fs::write("/run/first/found", "").unwrap();
        fs::create_dir("/run/second").unwrap();
        fs::write("/run/second/found", "#!/bin/sh\nexit \"$1\"\n").unwrap();
        let status = |path: &str| {
            let mut command = command_of(&journal, Place::Among, &[DRY], &["found", "9"]);
            command.env("PATH", format!("/usr/bin:/bin:{path}"));
            Attended::spawn(command, Place::Among).status()
        };
        assert_eq!(status("/run/second"), 126);
        fs::set_permissions("/run/second/found", std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        assert_eq!(status("/run/first:/run/second"), 9);
        assert_eq!(status("/run/first"), 126);
    });
}

/// What the command leaves behind, in sessions and at depths of its own, is asked
/// to end and then made to.
#[test]
fn what_is_left_gets_term_and_then_kill() {
    in_namespace(|| {
        for place in PLACES {
            let mut journal = Journal::new();
            let bystander = Eater::named("bystander").mib(1).start(&journal);
            let polite = format!("trap 'echo polite: TERM >&2; exit' TERM; echo started >&2; {REST}");
            let deaf = format!(
                "trap 'echo deaf: TERM >&2' TERM; (setsid sh -c \"$1\" polite &); echo started >&2; {REST}"
            );
            let polite = script("polite", &polite);
            let deaf = script("deaf", &format!("#!/bin/sh\n{}", deaf.replace("\"$1\"", &polite)));
            let lines = format!("{deaf} & while [ ! -e /run/go ]; do sleep 0.02; done; exit 3");
            let attended =
                Attended::start(&journal, place, &[DRY, &["--grace", "700"]], &["sh", "-c", &lines]);
            journal.expect("started");
            journal.expect("started");
            let began = Instant::now();
            fs::write("/run/go", "").unwrap();
            let heard = [journal.expect(": TERM"), journal.expect(": TERM")];
            assert_ne!(heard[0], heard[1]);
            assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
            assert_eq!(attended.status(), 3);
            assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
            assert_eq!(journal.count("deaf: TERM"), 1);
            eventually("nobody is left", || living("deaf").is_empty() && living("polite").is_empty());
            bystander.expect_unharmed(&mut journal);
            fs::remove_file("/run/go").unwrap();
        }
    });
}

/// One by one, they would have time to fork.
#[test]
fn who_is_left_in_the_commands_group_gets_it_at_once() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("no strace(1)");
    }
    in_namespace(|| {
        let mut journal = Journal::new();
        // Two of the six leave the group.
        let deaf = "trap '' TERM; echo started >&2; exec sleep 1000";
        let lines = format!(
            "(setsid sh -c \"{deaf}\" &); (setsid sh -c \"{deaf}\" &)\n\
             for one in 1 2 3 4; do ({deaf}) & done\n\
             while [ ! -e /run/go ]; do sleep 0.02; done; echo group $$ >&2; exit 3"
        );
        let mut command = Command::new("strace");
        command.args(["-D", "-o", TRACE, "-e", "trace=kill"]);
        command.args([PROGRAM, "--dry-run", "--grace", "100", "--", "sh", "-c", &lines]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let attended = Attended::spawn(command, Place::Among);
        for _ in 0..6 {
            journal.expect("started");
        }
        fs::write("/run/go", "").unwrap();
        let line = journal.expect("group ");
        assert_eq!(attended.status(), 3);
        let group = line.trim_start_matches("group ");
        eventually("it is traced", || fs::read_to_string(TRACE).is_ok_and(|trace| trace.contains("+++")));
        let trace = fs::read_to_string(TRACE).unwrap();
        for signal in ["SIGTERM", "SIGKILL"] {
            let kills: Vec<_> = trace.lines().filter(|line| line.contains(signal)).collect();
            let of_group = format!("kill(-{group}, {signal}) = 0");
            let squeezed = |line: &&&str| line.split_whitespace().collect::<Vec<_>>().join(" ") == of_group;
            assert_eq!(kills.iter().filter(squeezed).count(), 1, "{trace}");
            // And the other two.
            assert_eq!(kills.len(), 3, "{trace}");
        }
        eventually("nobody is left", || living("sleep").is_empty());
        fs::remove_file("/run/go").unwrap();
    });
}

// ---------------------------------------------------------------- signals

#[test]
fn every_signal_reaches_the_command() {
    const SIGNALS: [(&str, i32); 16] = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("PIPE", libc::SIGPIPE),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
        ("TSTP", libc::SIGTSTP),
        ("TTIN", libc::SIGTTIN),
        ("TTOU", libc::SIGTTOU),
        ("URG", libc::SIGURG),
        ("XFSZ", libc::SIGXFSZ),
        ("WINCH", libc::SIGWINCH),
        ("IO", libc::SIGIO),
    ];
    in_namespace(|| {
        for place in PLACES {
            let mut journal = Journal::new();
            let traps: String = SIGNALS
                .iter()
                .map(|(name, number)| format!("trap 'echo got {name}. >&2' {number}\n"))
                .collect();
            let lines = format!("{traps}trap 'exit 5' 40\necho ready >&2; {REST}");
            let attended = Attended::start(&journal, place, &[DRY], &["sh", "-c", &lines]);
            journal.expect("ready");
            for (name, number) in SIGNALS {
                attended.send(Signal::from_named_raw(number).unwrap());
                journal.expect(&format!("got {name}."));
            }
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::kill(attended.pid().as_raw_pid(), 40) }, 0);
            assert_eq!(attended.status(), 5);
        }
    });
}

/// The hole: process 1 is sent nothing that it has no handler for, unless it has blocked
/// it; a container that was told to stop as soon as it had started went on.
#[test]
fn a_signal_that_comes_while_it_starts_is_not_lost() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("no strace(1)");
    }
    in_namespace(|| {
        let journal = Journal::new();
        // It is held for a moment where it first does something that can be seen.
        let mut command = unshare();
        command.args(["strace", "-D", "-o", TRACE, "-e", "trace=umask"]);
        command.args(["-e", "inject=umask:delay_enter=1s:when=1"]);
        command.args([PROGRAM, "--dry-run", "--", "sleep", "1000"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let attended = Attended::spawn(command, Place::First);
        let at_umask = format!("{} ", libc::SYS_umask);
        eventually("it is there", || {
            let guard = children_of(pid_of(&attended.child)).first().copied();
            let call =
                guard.map(|pid| fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default());
            call.is_some_and(|call| call.starts_with(&at_umask))
        });
        attended.send(Signal::TERM);
        assert_eq!(attended.status(), 143);
    });
}

/// The hole: nobody told of a death before the signal of that was blocked, and the guard
/// went on without a command.
#[test]
fn a_command_that_dies_before_it_begins_ends_the_guard() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("no strace(1)");
    }
    in_namespace(|| {
        let journal = Journal::new();
        // The first that the guard does when it has forked.
        let inject = ["-e", "trace=setpgid", "-e", "inject=setpgid:delay_exit=1s"];
        let mut command = Command::new("strace");
        command.args(["-D", "-o", TRACE]).args(inject).args([PROGRAM, "--dry-run", "--", "sleep", "1000"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let attended = Attended::spawn(command, Place::Among);
        let is_its = |pid: &Pid| fs::read(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == b"bustd\n");
        let mut child = None;
        eventually("it has forked", || {
            child = children_of(attended.pid()).into_iter().find(is_its).filter(|_| is_its(&attended.pid()));
            child.is_some()
        });
        kill_process(child.unwrap(), Signal::KILL).unwrap();
        assert_eq!(attended.status(), 137);
    });
}

/// And the command has blocked what process 1 was given so, and nothing else.
#[test]
fn the_command_of_process_1_has_the_signals_that_it_was_given() {
    in_namespace(|| {
        let journal = Journal::new();
        for blocked in [&[][..], &[libc::SIGUSR2, 40]] {
            // No shell comes before.
            let mut command = unshare();
            command.args([PROGRAM, "--dry-run", "--", "sed", "-n", "s/^SigBlk:.//p", "/proc/self/status"]);
            let block = move || {
                // SAFETY: a set that is filled in first.
                unsafe {
                    let mut set = std::mem::zeroed();
                    libc::sigemptyset(&mut set);
                    for &number in blocked {
                        libc::sigaddset(&mut set, number);
                    }
                    libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
                }
                Ok(())
            };
            // SAFETY: system calls only.
            unsafe { command.pre_exec(block) };
            let output = command.stdin(Stdio::null()).stderr(journal.pen()).output().unwrap();
            let mask = blocked.iter().fold(0_u64, |mask, number| mask | 1 << (number - 1));
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{mask:016x}\n"));
        }
    });
}

/// So many signals of real time wait at once.
const WAITING: usize = 5_000;

#[test]
fn memory_is_looked_at_between_signals() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("no strace(1)");
    }
    in_namespace(|| {
        let mut journal = Journal::new();
        let lines = "trap '' 40; trap 'exit 4' USR1; echo ready >&2; while :; do sleep 0.02; done";
        let bare = command_of(&journal, Place::Among, &[DRY], &["sh", "-c", lines]);
        let mut command = Command::new("strace");
        command.args(["-D", "-o", TRACE, "-e", "trace=read,sysinfo,pread64"]);
        // Behind env(1).
        command.args(bare.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let attended = Attended::spawn(command, Place::Among);
        journal.expect("ready");
        let guard = attended.pid();
        attended.send(Signal::STOP);
        for _ in 0..WAITING {
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::kill(guard.as_raw_pid(), 40) }, 0);
        }
        attended.send(Signal::CONT);
        let trace = || fs::read_to_string(TRACE).unwrap_or_default();
        let is_taken = |line: &&str| line.starts_with("read(") && line.contains("= 128");
        eventually("all are taken", || trace().lines().filter(is_taken).count() >= WAITING);
        attended.send(Signal::USR1);
        assert_eq!(attended.status(), 4);
        let (mut most, mut row) = (0, 0);
        for line in trace().lines() {
            row = if is_taken(&line) { row + 1 } else { 0 };
            most = most.max(row);
        }
        assert!((2..=256).contains(&most), "{most} in a row");
    });
}

#[test]
fn a_signal_goes_to_the_child_or_to_its_group() {
    in_namespace(|| {
        for place in PLACES {
            for whom in ["child", "group"] {
                let mut journal = Journal::new();
                let inner = format!("trap 'echo inner: USR1 >&2' USR1; echo ready >&2; {REST}");
                let lines = format!(
                    "trap 'echo outer: USR1 >&2' USR1; trap 'echo outer: USR2 >&2; exit 0' USR2\n\
                     ({inner}) & echo ready >&2; {REST}"
                );
                let options: [&[&str]; 3] = [DRY, &["--forward", whom], &["--grace", "0"]];
                let attended = Attended::start(&journal, place, &options, &["sh", "-c", &lines]);
                journal.expect("ready");
                journal.expect("ready");
                attended.send(Signal::USR1);
                let expected = if whom == "group" { 1 } else { 0 };
                eventually("those heard it", || {
                    journal.count("outer: USR1") == 1 && journal.count("inner: USR1") >= expected
                });
                attended.send(Signal::USR2);
                journal.expect("outer: USR2");
                let status = attended.status();
                assert_eq!(journal.count("inner: USR1"), expected, "{whom}");
                assert_eq!(status, 0);
            }
        }
    });
}

#[test]
fn job_control_stops_the_command_and_not_the_guard() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let attended =
            Attended::start(&journal, Place::Among, &[DRY], &["sh", "-c", "echo ready >&2; exec sleep 1000"]);
        journal.expect("ready");
        let state = |pid: Pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
        };
        let command = children_of(attended.pid())[0];
        attended.send(Signal::TSTP);
        eventually("the command has stopped", || state(command) == 'T');
        assert_ne!(state(attended.pid()), 'T');
        attended.send(Signal::CONT);
        eventually("it goes on", || state(command) == 'S');
        attended.send(Signal::TERM);
        assert_eq!(attended.status(), 143);
    });
}

#[test]
fn a_dead_parent_is_told_of() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let lines = format!("trap 'echo got USR2 >&2; exit' USR2; echo ready >&2; {REST}");
        // Its parent, which dies.
        let start = |journal: &Journal, options: &str| {
            let line = format!("{PROGRAM} --dry-run {options} -- sh -c \"$1\" & echo guard $! >&2; wait");
            let mut parent = Command::new("sh");
            parent.args(["-c", &line, "parent", &lines]);
            parent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen()).spawn().unwrap()
        };
        let mut parent = start(&journal, "--pdeathsig USR2");
        journal.expect("ready");
        parent.kill().unwrap();
        journal.expect("got USR2");
        parent.wait().unwrap();
        // And its guard.
        let mut parent = start(&journal, "--pdeathsig SIGUSR2");
        journal.expect("ready");
        let guard = children_of(pid_of(&parent))[0];
        kill_process(guard, Signal::KILL).unwrap();
        journal.expect("got USR2");
        parent.wait().unwrap();
    });
}

// ---------------------------------------------------------------- given back

/// What a process has of what a guard changes about itself. No shell comes before:
/// those change the same.
const TELL: [&[&str]; 3] = [
    &["sed", "-n", "/^Sig[BI]/p;/^Cap/p;/^NoNew/p;/^Seccomp:/p", "/proc/self/status"],
    &["cat", "/proc/self/limits", "/proc/self/oom_score_adj"],
    &["nice"],
];

/// In a place where a guard has every reason to change things.
fn start_oddly() -> io::Result<()> {
    // SAFETY: system calls with numbers, and a set that is filled in first.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 5);
        let mut blocked = std::mem::zeroed();
        libc::sigemptyset(&mut blocked);
        libc::sigaddset(&mut blocked, libc::SIGUSR2);
        libc::sigaddset(&mut blocked, libc::SIGTTOU);
        libc::sigprocmask(libc::SIG_SETMASK, &blocked, std::ptr::null_mut());
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        let limit = libc::rlimit { rlim_cur: 100, rlim_max: 200 };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            return Err(Error::last_os_error());
        }
    }
    fs::write("/proc/self/oom_score_adj", "100")
}

#[test]
fn the_command_has_what_the_guard_was_given() {
    in_namespace(|| {
        let journal = Journal::new();
        let tell = |mut command: Command| {
            // SAFETY: system calls only.
            unsafe { command.pre_exec(start_oddly) };
            let output = command.stdout(Stdio::piped()).stderr(Stdio::null()).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        let bare = TELL.map(|program| {
            let mut bare = Command::new(program[0]);
            bare.args(&program[1..]).stdin(Stdio::null());
            tell(bare)
        });
        assert!(bare[0].contains("SigBlk:\t0000000000200800"), "{bare:#?}");
        let attended = |program: &[&str]| command_of(&journal, Place::Among, &[DRY], program);
        for (program, bare) in TELL.into_iter().zip(&bare) {
            assert_eq!(tell(attended(program)), *bare, "{program:?}");
        }
        // But for what is open above standard error, where ls has its directory.
        let mut command = attended(&["ls", "/proc/self/fd"]);
        // SAFETY: a system call with numbers.
        unsafe {
            command.pre_exec(|| if libc::dup2(0, 9) == 9 { Ok(()) } else { Err(Error::last_os_error()) });
        }
        assert_eq!(tell(command), "0\n1\n2\n3\n");
    });
}

#[test]
fn the_command_has_a_group_and_the_terminal() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let (_master, slave) = terminal();
        let fd = slave.as_raw_fd();
        // SAFETY: a terminal.
        unsafe {
            assert_eq!(libc::setsid(), 1);
            assert_eq!(libc::ioctl(fd, libc::TIOCSCTTY, 0), 0);
        }
        // Its own group and the foreground's.
        let lines = "awk '{ print \"groups \" ($5 == $8), ($5 != 1) }' /proc/self/stat >&2";
        let mut command = command_of(&journal, Place::Among, &[DRY], &["sh", "-c", lines]);
        command.stdin(slave.try_clone().unwrap());
        assert_eq!(Attended::spawn(command, Place::Among).status(), 0);
        journal.expect("groups 1 1");
        // SAFETY: a terminal.
        assert_eq!(unsafe { libc::tcgetpgrp(fd) }, 1, "the foreground is given back");
        // One in the background takes nothing.
        let mut command = command_of(&journal, Place::Among, &[DRY], &["sh", "-c", lines]);
        command.stdin(slave.try_clone().unwrap()).process_group(0);
        assert_eq!(Attended::spawn(command, Place::Among).status(), 0);
        journal.expect("groups 0 1");
    });
}

// ---------------------------------------------------------------- poor places

/// How to make a container poorer, and whose.
const POOR: [(&str, &str); 7] = [
    ("mount -t tmpfs -o ro,size=4k none /dev", ""),
    ("mount -t tmpfs -o ro,size=4k none /sys", ""),
    ("mount -o remount,bind,ro /; mount -o remount,bind,ro /run", ""),
    ("mount -o remount,hidepid=2 /proc", ""),
    ("mount -o remount,hidepid=2 /proc", "--inh-caps=-all --bounding-set=-all"),
    ("", "--inh-caps=-all --bounding-set=-all"),
    ("", "--inh-caps=+kill,+ipc_lock --ambient-caps=+kill,+ipc_lock --bounding-set=-all,+kill,+ipc_lock"),
];

/// Process 1 hands signals on, reaps, ends what is left and ends as the command does.
#[test]
fn process_1_does_its_work_in_poor_places() {
    in_namespace_with_users(|| {
        for (prepare, rights) in POOR {
            let mut journal = Journal::new();
            let become_nobody = match rights {
                "" => String::new(),
                rights => {
                    format!("setpriv --reuid 65534 --regid 65534 --clear-groups {rights}")
                }
            };
            let lines = "trap 'exit 8' USR1; (true &); (trap '' TERM; exec sleep 1000) & (setsid sleep 1000 &)\n\
                         kill -USR1 1; while :; do sleep 0.02; done";
            let mut command = unshare();
            let boot = format!("{prepare}\nexec {become_nobody} \"$@\"");
            command.args(["sh", "-c", &boot, "boot", PROGRAM, "--dry-run", "--grace", "100", "--"]);
            command.args(["sh", "-c", lines]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
            let attended = Attended::spawn(command, Place::First);
            journal.expect("watching");
            assert_eq!(attended.status(), 8, "{prepare:?} {rights:?}");
            // It has nothing to say of that; a shell without /dev/null has.
            let last = journal.lines().iter().rfind(|line| line.starts_with("bustd: ")).unwrap();
            assert!(last.contains("watching"), "{last:?}");
        }
    });
}

// ---------------------------------------------------------------- orphans

const ORPHANS: usize = 10_000;
const TRACE: &str = "/run/trace";

/// A shell that has so many orphans made and exits with 4 once they are the
/// guard's, all at once, and reaped.
fn with_orphans(journal: &Journal) -> Command {
    let lines = "\"$0\" >/run/ready &\nuntil grep -q ready /run/ready; do sleep 0.1; done\n\
        echo ready >&2; kill -KILL $!; wait; while [ ! -e /run/go ]; do sleep 0.02; done; exit 4";
    let own = env::current_exe().unwrap();
    let mut command = command_of(
        journal,
        Place::Among,
        &[DRY, &["--verbose"]],
        &["sh", "-c", lines, own.to_str().unwrap()],
    );
    command.env(ROLE, Role::Breeder { comm: "orphan", zombies: ORPHANS, living: 0 }.script());
    command
}

#[test]
fn ten_thousand_orphans_are_reaped_without_delay() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let attended = Attended::spawn(with_orphans(&journal), Place::Among);
        journal.expect("ready");
        let guard = attended.pid();
        let began = Instant::now();
        eventually("all are reaped", || children_of(guard).len() <= 1 && living_or_dead("orphan") == 0);
        let each_us = began.elapsed().as_micros() as usize / ORPHANS;
        fs::write("/run/go", "").unwrap();
        assert_eq!(attended.status(), 4);
        // A reading comes after 256 at the latest, and waits for 20 ms at the most.
        assert!(each_us * 256 < 20_000, "{each_us} us each");
    });
}

fn living_or_dead(comm: &str) -> usize {
    let tree = Tree::open_live().unwrap();
    let mut count = 0;
    bustd::read::listing::for_each_process(tree.proc.as_fd(), &mut |pid| {
        let stat = read_stat(tree.proc.as_fd(), pid);
        count += usize::from(stat.is_ok_and(|stat| stat.comm.as_bytes() == comm.as_bytes()));
    })
    .unwrap();
    count
}

#[test]
fn memory_is_looked_at_between_orphans() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("no strace(1)");
    }
    in_namespace(|| {
        let mut journal = Journal::new();
        let bare = with_orphans(&journal);
        let mut command = Command::new("strace");
        command.args(["-D", "-o", TRACE, "-e", "trace=wait4,sysinfo,pread64"]);
        // Behind env(1).
        command.args(bare.get_args()).envs(bare.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let attended = Attended::spawn(command, Place::Among);
        journal.expect("ready");
        let trace = || fs::read_to_string(TRACE).unwrap_or_default();
        let reaped =
            |line: &&str| line.starts_with("wait4(-1") && !line.ends_with(" = 0") && !line.contains(" = -1 ");
        eventually("all are reaped", || trace().lines().filter(reaped).count() >= ORPHANS);
        fs::write("/run/go", "").unwrap();
        assert_eq!(attended.status(), 4);
        let (mut most, mut row) = (0, 0);
        for line in trace().lines() {
            row = if line.starts_with("wait4") { row + 1 } else { 0 };
            most = most.max(row);
        }
        assert!((2..=256).contains(&most), "{most} in a row");
    });
}

// ---------------------------------------------------------------- victims

/// A guard whose command plays `role`, with memory that becomes short once somebody
/// called so has said that it is ready.
fn with_eater(journal: &mut Journal, place: Place, options: &[&[&str]], role: &Role<'_>) -> Attended {
    let meminfo = FakeMeminfo::mount(PLENTY_MIB);
    let own = env::current_exe().unwrap();
    let mut command =
        command_of(journal, place, &[LIMIT, options.concat().as_slice()], &[own.to_str().unwrap()]);
    command.env(ROLE, role.script()).stdout(journal.pen());
    let attended = Attended::spawn(command, place);
    journal.expect("ready");
    meminfo.set_available(SHORT_MIB);
    attended
}

fn uncover_meminfo() {
    assert!(Command::new("umount").args(["-l", "/proc/meminfo"]).status().unwrap().success());
}

#[test]
fn a_worker_dies_and_the_command_lives() {
    in_namespace(|| {
        let own = env::current_exe().unwrap();
        let worker = Role::Eater(&Eater::named("worker").on_term(OnTerm::Die)).script();
        let worker =
            script("worker", &format!("#!/bin/sh\nexport {ROLE}='{worker}'\nexec {}\n", own.display()));
        let hook = script("hook", "#!/bin/sh\necho hook: $BUSTD_COMM >&2\n");
        for place in PLACES {
            for group in [&[][..], &["--kill-pgroup"]] {
                let mut journal = Journal::new();
                let options = [&["--before-kill", &hook], group];
                // It holds more than its worker, and ends with 1 when that is killed.
                let attended = with_eater(&mut journal, place, &options, &Role::Ancestor(100, &[&worker]));
                let line = journal.expect("killing pid");
                assert!(line.contains("\"worker\" with SIGTERM"), "{line:?}");
                journal.expect("hook: worker");
                journal.expect("\"worker\" died ");
                assert_eq!(attended.status(), 1);
                journal.expect_none("memory ran out");
                uncover_meminfo();
            }
        }
    });
}

#[test]
fn the_command_dies_when_nobody_else_would_help() {
    in_namespace(|| {
        for place in PLACES {
            let mut journal = Journal::new();
            let why = "/run/why";
            fs::write(why, "what was there before").unwrap();
            let options: [&[&str]; 2] = [&["--termination-log", why], &["--map-exit", "137:0"]];
            let attended = with_eater(&mut journal, place, &options, &Role::Eater(&Eater::named("lonely")));
            journal.expect("\"lonely\" with SIGTERM");
            journal.expect("lonely: SIGTERM");
            let line = journal.expect("; memory ran out (exhaustion), and only the command's end would help");
            assert_eq!(attended.status(), 137);
            assert_eq!(fs::read_to_string(why).unwrap(), line + "\n");
            uncover_meminfo();
        }
    });
}

/// Who is not below the guard does not die in the command's place.
#[test]
fn nobody_else_dies_for_the_command() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let bystander = Eater::named("bystander").start(&journal);
        let lonely = Eater::named("lonely").mib(100);
        let attended = with_eater(&mut journal, Place::Among, &[], &Role::Eater(&lonely));
        journal.expect("; memory ran out (exhaustion)");
        assert_eq!(attended.status(), 137);
        bystander.expect_unharmed(&mut journal);
    });
}

#[test]
fn kubernetes_is_told_without_an_option() {
    in_namespace(|| {
        let mut journal = Journal::new();
        fs::create_dir("/run/dev").unwrap();
        mount(&["-t", "tmpfs", "none", "/run/dev"]);
        fs::write("/run/dev/null", "").unwrap();
        mount(&["--bind", "/dev/null", "/run/dev/null"]);
        fs::write("/run/dev/termination-log", "").unwrap();
        mount(&["--rbind", "/run/dev", "/dev"]);
        let lonely = Eater::named("lonely");
        let attended = with_eater(&mut journal, Place::Among, &[], &Role::Eater(&lonely));
        let line = journal.expect("memory ran out");
        assert_eq!(attended.status(), 137);
        assert_eq!(fs::read_to_string("/dev/termination-log").unwrap(), line + "\n");
    });
}

// ---------------------------------------------------------------- start

#[test]
fn a_guard_that_cannot_start_runs_nothing() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let options: [&[&str]; 2] = [DRY, &["--termination-log", "/nonexistent/log"]];
        assert_eq!(status_of(&journal, Place::Among, &options, "echo started >&2"), 1);
        let line = journal.expect("--termination-log");
        assert_eq!(line, "bustd: --termination-log \"/nonexistent/log\": no such file or directory");
        let options: [&[&str]; 2] = [DRY, &["--pidfile", "/nonexistent/pid"]];
        assert_eq!(status_of(&journal, Place::Among, &options, "echo started >&2"), 1);
        journal.expect_none("started");
    });
}
