//! Starting: the only guard, told to whoever waits, and explained to whoever did not
//! mean to.

use crate::harness::{
    Eater, FORCE, Guard, Journal, PROGRAM, QUIET, SCRATCH, bustd, eventually, in_namespace, mount, skip,
};
use crate::init::children_of;
use crate::terminal::terminal;
use rustix::process::{Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Guards in earnest, but never acts.
const IDLE: &[&str] = &["--no-daemon", "--mem", "1K,1K", "--swap", "0", "--psi", "100"];

fn own_name() -> SocketAddr {
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap();
    SocketAddr::from_abstract_name(format!("bustd/{}/0", namespace.display())).unwrap()
}

#[test]
fn a_second_guard_without_a_pidfile_names_the_first() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let first = Guard::watching(&mut journal, &[IDLE]);
        let pidfile = format!("{SCRATCH}/pid");
        for options in [&[][..], &["--pidfile", &pidfile]] {
            let second = Guard::start(&journal, &[IDLE, options]);
            let pid = first.pid();
            assert_eq!(second.exit().code(), Some(1));
            let line = journal.expect("already running");
            assert_eq!(line, format!("bustd: already running with pid {pid}"));
            assert!(!fs::exists(&pidfile).unwrap());
        }
        // Who kills nobody may look on, and a command is run all the same.
        Guard::watching(&mut journal, &[QUIET]).end();
        let with_command = Guard::start(&journal, &[&IDLE[1..], &["--", "true"]]);
        journal.expect("another guard is running besides this one");
        journal.expect("watching");
        with_command.finish();
        first.end();
        Guard::watching(&mut journal, &[IDLE]).end();
    });
}

#[test]
fn a_status_finds_a_guard_without_a_pidfile() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let guard_line = |args: &[&str]| {
            let output = Command::new(PROGRAM).arg("--status").args(args).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().find(|line| line.starts_with("guard ")).expect("a line about the guard").to_owned()
        };
        let none = "guard    none holds a pidfile";
        assert_eq!(guard_line(&[]), none);
        let guard = Guard::watching(&mut journal, &[IDLE]);
        let pid = guard.pid();
        assert_eq!(guard_line(&[]), format!("guard    pid {pid}, without a pidfile"));
        let row = guard_line(&["--verbose"]);
        assert_eq!(row.split_whitespace().rev().take(2).collect::<Vec<_>>(), ["-", &pid.to_string()]);
        // Another was asked about.
        assert_eq!(guard_line(&["--pidfile", "/run/other.pid"]), none);
        guard.end();
        assert_eq!(guard_line(&[]), none);
    });
}

#[test]
fn a_guard_that_was_killed_is_followed_at_once() {
    in_namespace(|| {
        let mut journal = Journal::new();
        for _ in 0..3 {
            let guard = Guard::watching(&mut journal, &[IDLE]);
            guard.send(Signal::KILL);
            guard.exit();
        }
    });
}

/// The hole: what it had forked held its name for as long as it waited in the kernel, and
/// the next guard was refused.
#[test]
fn what_a_killed_guard_has_forked_keeps_nobody_away() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("no strace(1)");
    }
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").mib(80).start(&journal);
        // Which a hook does before it is executed, and the guard does not.
        let bare = bustd(&journal, &[FORCE, &["--before-kill", "/bin/true"]]);
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-o", "/dev/null", "-e", "trace=setsid"]);
        command.args(["-e", "inject=setsid:delay_enter=10s"]).arg(PROGRAM).args(bare.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let guard = Guard::spawn(command);
        assert_eq!(victim.death(), Some(libc::SIGKILL));
        journal.expect("\"victim\" died ");
        let pid = guard.pid();
        let child = children_of(pid)[0];
        guard.send(Signal::KILL);
        guard.exit();
        Guard::watching(&mut journal, &[IDLE]).end();
        kill_process(child, Signal::KILL).expect("it is still there");
    });
}

/// Everybody can take a name, and that is to keep nobody from guarding.
#[test]
fn a_name_that_is_no_guards_is_told_of() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let taken = UnixListener::bind_addr(&own_name()).unwrap();
        let guard = Guard::start(&journal, &[IDLE]);
        journal.expect("somebody has taken our name: another guard would go unnoticed");
        journal.expect("watching");
        guard.end();
        drop(taken);
    });
}

#[test]
fn systemd_and_s6_are_told_when_it_watches() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let path = format!("{SCRATCH}/notify");
        let name = SocketAddr::from_abstract_name(format!(
            "notify-{}",
            own_name().as_abstract_name().unwrap().len()
        ))
        .unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.clone()),
            (
                UnixDatagram::bind_addr(&name).unwrap(),
                format!("@{}", String::from_utf8_lossy(name.as_abstract_name().unwrap())),
            ),
        ];
        for (socket, variable) in &sockets {
            let mut command = bustd(&journal, &[IDLE]);
            command.env("NOTIFY_SOCKET", variable);
            let guard = Guard::spawn(command);
            let mut text = [0; 64];
            let len = socket.recv(&mut text).unwrap();
            assert_eq!(&text[..len], b"READY=1");
            assert_eq!(journal.count("watching"), 1);
            guard.end();
            journal = Journal::new();
        }

        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = bustd(&journal, &[IDLE, &["--ready-fd", "9"]]);
        let fd = writer.as_raw_fd();
        // SAFETY: one system call.
        unsafe {
            command.pre_exec(move || {
                if libc::dup2(fd, 9) == 9 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            })
        };
        let guard = Guard::spawn(command);
        drop(writer);
        let mut text = Vec::new();
        // To the end, for it closes its side.
        reader.read_to_end(&mut text).unwrap();
        assert_eq!((text, journal.count("watching")), (b"\n".to_vec(), 1));
        guard.end();
        let guard = Guard::start(&journal, &[IDLE, &["--ready-fd", "9"]]);
        assert_eq!(guard.exit().code(), Some(2));
        journal.expect("bustd: --ready-fd \"9\": not an open descriptor");
    });
}

#[test]
fn a_terminal_is_told_what_has_been_started() {
    in_namespace(|| {
        let journal = Journal::new();
        let log = format!("file:{SCRATCH}/log");
        let kinds = [(&["--dry-run"][..], "kills nobody"), (&IDLE[1..], "kills when memory runs out")];
        for (options, does) in kinds {
            let (master, slave) = terminal();
            let mut command = bustd(&journal, &[options, &["--log", &log]]);
            command.stderr(slave);
            let guard = Guard::spawn(command);
            let mut line = String::new();
            BufReader::new(master).read_line(&mut line).unwrap();
            guard.finish();
            let pid = fs::read_to_string("/run/bustd.pid").unwrap();
            let pid = pid.trim();
            assert_eq!(
                line.trim(),
                format!(
                    "bustd: guarding in the background as pid {pid}; it {does}. Stop it: kill {pid}; ask \
                     it: bustd --status"
                )
            );
            // SAFETY: no pointers.
            unsafe { libc::kill(pid.parse().unwrap(), libc::SIGTERM) };
            eventually("the daemon has ended", || !fs::exists("/run/bustd.pid").unwrap());
        }
    });
}

#[test]
fn the_usual_file_is_read_if_it_is_there() {
    in_namespace(|| {
        let mut journal = Journal::new();
        // Over /etc as it is here, for this namespace only.
        let etc = format!("{SCRATCH}/etc");
        fs::create_dir(&etc).unwrap();
        fs::copy("/etc/passwd", format!("{etc}/passwd")).unwrap();
        mount(&["--bind", &etc, "/etc"]);
        let conf = "/etc/bustd.conf";
        fs::write(conf, "no-daemon # in the foreground\nmem 123M,45M\nunkillables sshd\ndry-run\n").unwrap();
        let guard = Guard::start(&journal, &[]);
        let line = journal.expect("watching");
        assert!(
            line.contains("SIGTERM at 123 MiB available") && line.contains("SIGKILL at 45 MiB"),
            "{line}"
        );
        guard.end();
        let guard = Guard::start(&journal, &[&["--mem", "99M"]]);
        let line = journal.expect("watching");
        assert!(line.contains("SIGTERM at 99 MiB available"), "{line}");
        guard.end();
        fs::write(conf, "\nmemory 10%\n").unwrap();
        assert_eq!(Guard::start(&journal, &[]).exit().code(), Some(2));
        journal.expect("bustd: /etc/bustd.conf:2: --memory: unknown option, see --help");
        fs::remove_file(conf).unwrap();
        fs::create_dir(conf).unwrap();
        assert_eq!(Guard::start(&journal, &[QUIET]).exit().code(), Some(1));
        journal.expect("bustd: --config \"/etc/bustd.conf\": a directory");
    });
}

#[test]
fn without_proc_it_says_what_to_do() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let none = format!("{SCRATCH}/none");
        fs::create_dir(&none).unwrap();
        mount(&["--rbind", &none, "/proc"]);
        assert_eq!(bustd(&journal, &[QUIET]).status().unwrap().code(), Some(1));
        journal.expect("bustd: /proc is not mounted: mount -t proc proc /proc");
    });
}
