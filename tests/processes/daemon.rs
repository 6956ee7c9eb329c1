//! Becoming a daemon, and being the only one.

use crate::harness::{Guard, Journal, QUIET, SCRATCH, bustd, eventually, in_namespace, living, mount};
use bustd::read::kfile::Tree;
use bustd::read::process::{Pid, read_stat};
use rustix::fd::AsFd;
use rustix::process::{Signal, kill_process};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

const PIDFILE: &str = "/run/guard.pid";
const LOCKED: &[&str] = &["--pidfile", PIDFILE];

/// What the pidfile at `path` names.
fn pid_in(path: &str) -> Pid {
    let text = fs::read_to_string(path).expect("a pidfile");
    let pid = text.strip_suffix('\n').and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    pid.unwrap_or_else(|| panic!("{text:?} in {path}"))
}

#[test]
fn a_second_instance_names_the_first_and_exits_1() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let first = Guard::watching(&mut journal, &[QUIET, LOCKED]);
        assert_eq!(pid_in(PIDFILE), first.pid());
        let second = Guard::start(&journal, &[QUIET, LOCKED]);
        assert_eq!(second.exit().code(), Some(1));
        let line = journal.expect("already running");
        assert_eq!(line, format!("bustd: already running with pid {}: it holds \"{PIDFILE}\"", first.pid()));
        assert_eq!(pid_in(PIDFILE), first.pid());
        first.end();
        assert!(!Path::new(PIDFILE).exists());
    });
}

/// Most programs tell their version for it.
#[test]
fn the_letter_for_verbose_alone_starts_no_guard() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let asked = bustd(&journal, &[]).arg("-V").status().expect("a program");
        assert_eq!(asked.code(), Some(2));
        journal.expect("bustd: -V: alone it starts no guard; write --version or --verbose");
        assert_eq!(living("bustd"), []);
    });
}

#[test]
fn a_pidfile_left_behind_is_taken_over() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let first = Guard::watching(&mut journal, &[QUIET, LOCKED]);
        first.send(Signal::KILL);
        first.exit();
        fs::write(PIDFILE, "1234567890\nand more than a pid takes\n").unwrap();
        let second = Guard::watching(&mut journal, &[QUIET, LOCKED]);
        assert_eq!(pid_in(PIDFILE), second.pid());
        second.end();
    });
}

#[test]
fn a_pidfile_that_is_somebody_elses_by_now_is_left_alone() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let first = Guard::watching(&mut journal, &[QUIET, LOCKED]);
        fs::remove_file(PIDFILE).unwrap();
        let second = Guard::watching(&mut journal, &[QUIET, LOCKED]);
        first.end();
        assert_eq!(pid_in(PIDFILE), second.pid());
        second.end();
    });
}

#[test]
fn a_symbolic_link_is_no_pidfile() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let precious = format!("{SCRATCH}/precious");
        fs::write(&precious, "text").unwrap();
        symlink(&precious, PIDFILE).unwrap();
        assert_eq!(Guard::start(&journal, &[QUIET, LOCKED]).exit().code(), Some(2));
        journal.expect(&format!("bustd: --pidfile \"{PIDFILE}\": not a file"));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "text");
    });
}

/// A /dev with nothing in it but `null` and `log`; what is written to the
/// latter.
fn bare_dev() -> UnixDatagram {
    let dev = format!("{SCRATCH}/dev");
    let null = format!("{dev}/null");
    fs::create_dir(&dev).unwrap();
    mount(&["-t", "tmpfs", "none", &dev]);
    fs::write(&null, "").unwrap();
    mount(&["--bind", "/dev/null", &null]);
    mount(&["--rbind", &dev, "/dev"]);
    let socket = UnixDatagram::bind("/dev/log").expect("a socket");
    socket.set_nonblocking(true).unwrap();
    socket
}

#[test]
fn a_daemon_leaves_everything_and_watches_before_its_parent_returns() {
    in_namespace(|| {
        let journal = Journal::new();
        let syslog = bare_dev();
        let mut command = bustd(&journal, &[&["--dry-run"], LOCKED]);
        command.current_dir(SCRATCH);
        assert_eq!(Guard::spawn(command).exit().code(), Some(0));
        // It was watching by then: what it says of that is here already.
        let mut line = [0; 1024];
        eventually("the daemon said that it watches", || {
            let len = syslog.recv(&mut line).expect("a line in the log");
            String::from_utf8_lossy(&line[..len]).contains("watching")
        });

        let daemon = pid_in(PIDFILE);
        let stat = read_stat(Tree::open_live().unwrap().proc.as_fd(), daemon).unwrap();
        assert_eq!((stat.ppid, stat.pgrp), (1, daemon.as_raw_pid()));
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::getsid(daemon.as_raw_pid()) }, daemon.as_raw_pid());
        let link = |name: &str| fs::read_link(format!("/proc/{daemon}/{name}")).unwrap();
        assert_eq!(link("cwd"), Path::new("/"));
        for stream in ["fd/0", "fd/1", "fd/2"] {
            assert_eq!(link(stream), Path::new("/dev/null"));
        }

        kill_process(daemon, Signal::TERM).unwrap();
        eventually("the daemon has ended", || has_ended(daemon));
        assert!(!Path::new(PIDFILE).exists());
    });
}

/// Is `pid`, an orphan that became our child, gone?
fn has_ended(pid: Pid) -> bool {
    let mut status = -1;
    // SAFETY: a valid integer to write to.
    let ended = unsafe { libc::waitpid(pid.as_raw_pid(), &mut status, libc::WNOHANG) } == pid.as_raw_pid();
    if ended {
        assert_eq!(status, 0, "the daemon's wait status");
    }
    ended
}

#[test]
fn roots_daemon_locks_the_usual_pidfile() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let _syslog = bare_dev();
        assert_eq!(Guard::start(&journal, &[&["--dry-run"]]).exit().code(), Some(0));
        let daemon = pid_in("/run/bustd.pid");
        assert_eq!(Guard::start(&journal, &[&["--dry-run"]]).exit().code(), Some(1));
        journal.expect(&format!("already running with pid {daemon}: it holds \"/run/bustd.pid\""));
    });
}

#[test]
fn a_daemon_that_cannot_start_says_why_and_its_parent_returns_1() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let pidfile = "/nonexistent/pid";
        assert_eq!(Guard::start(&journal, &[&["--pidfile", pidfile]]).exit().code(), Some(1));
        journal.expect(&format!("bustd: --pidfile \"{pidfile}\": no such file or directory"));
        journal.expect_none("watching");
    });
}
