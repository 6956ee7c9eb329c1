//! Signals to the guard, and a log that nobody reads.

use crate::harness::{
    ASK, Eater, Guard, Journal, QUIET, SCRATCH, bustd, eventually, in_namespace, limit_files,
};
use crate::terminal::terminal;
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn term_and_int_end_it_with_0() {
    in_namespace(|| {
        for signal in [Signal::TERM, Signal::INT] {
            let guard = Guard::watching(&mut Journal::new(), &[QUIET]);
            guard.send(signal);
            guard.finish();
        }
    });
}

#[test]
fn usr1_writes_one_status_line_each_time() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let guard = Guard::watching(&mut journal, &[QUIET]);
        for _ in 0..3 {
            guard.send(Signal::USR1);
            let line = journal.expect("status: ");
            assert!(line.contains(" available of ") && line.ends_with("; kills so far: 0"), "{line:?}");
        }
        guard.end();
        assert_eq!(journal.count("status: "), 3);
    });
}

#[test]
fn hup_and_usr2_do_not_end_it() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let guard = Guard::watching(&mut journal, &[QUIET]);
        guard.send(Signal::USR2);
        guard.send(Signal::HUP);
        journal.expect("SIGHUP: there is nothing to read again");
        guard.look(&mut journal);
        guard.end();
    });
}

#[test]
fn reports_come_by_themselves() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let guard = Guard::watching(&mut journal, &[QUIET, &["--report", "1"]]);
        let began = Instant::now();
        for _ in 0..2 {
            let line = journal.expect("status: ");
            assert!(line.ends_with("; kills so far: 0"), "{line:?}");
        }
        assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
        guard.end();
    });
}

#[test]
fn a_report_tells_of_kills() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let guard = Guard::watching(&mut journal, &[ASK]);
        let mut victim = Eater::named("victim").start_guarded(&journal);
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        journal.expect("\"victim\" died ");
        let line = guard.look(&mut journal);
        assert!(line.ends_with("; kills so far: 1 (1 exhaustion), the last of \"victim\""), "{line:?}");
        guard.end();
    });
}

#[test]
fn a_log_file_is_opened_anew_at_hup() {
    in_namespace(|| {
        let journal = Journal::new();
        let (path, old) = (format!("{SCRATCH}/log"), format!("{SCRATCH}/log.1"));
        let lines = |path: &str| fs::read_to_string(path).unwrap_or_default();
        fs::write(&path, "before\n").unwrap();
        let guard = Guard::start(&journal, &[QUIET, &["--log", &format!("file:{path}")]]);
        eventually("it watches", || lines(&path).contains("watching"));
        let text = lines(&path);
        assert!(text.starts_with("before\n"), "{text}");
        let line = text.lines().last().unwrap();
        let pid = format!("Z bustd[{}]: ", guard.pid());
        assert!(line.starts_with("20") && line.find(&pid) == Some(19), "{line}");
        fs::rename(&path, &old).unwrap();
        guard.send(Signal::USR1);
        eventually("the old file goes on", || lines(&old).contains("status: "));
        guard.send(Signal::HUP);
        eventually("there is a new file", || Path::new(&path).exists());
        guard.send(Signal::USR1);
        eventually("it is written to", || lines(&path).contains("status: "));
        assert_eq!(lines(&old).matches("status: ").count(), 1);
        // A directory cannot be written to: it goes on with what it has.
        fs::rename(&path, &old).unwrap();
        fs::create_dir(&path).unwrap();
        guard.send(Signal::HUP);
        eventually("it says why", || lines(&old).contains("cannot open the log again, a directory"));
        guard.end();
    });
}

#[test]
fn a_log_that_is_a_pipe_nobody_reads_holds_up_no_kill() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let path = format!("{SCRATCH}/fifo");
        let c_path = std::ffi::CString::new(path.clone()).unwrap();
        // SAFETY: a C string.
        assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0);
        let guard = Guard::start(&journal, &[ASK, &["--log", &format!("file:{path}")]]);
        assert_eq!(guard.exit().code(), Some(1));
        journal.expect(&format!("bustd: --log \"{path}\": the kernel refused"));
        let mut reader = File::options().read(true).write(true).open(&path).unwrap();
        fill(&mut reader);
        let guard = Guard::start(&journal, &[ASK, &["--log", &format!("file:{path}")]]);
        let mut victim = Eater::named("victim").start_guarded(&journal);
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        guard.end();
    });
}

#[test]
fn a_log_whose_reader_has_gone_does_not_end_it() {
    in_namespace(|| {
        let journal = Journal::new();
        let (reader, writer) = pipe().unwrap();
        let mut command = bustd(&journal, &[ASK]);
        command.stderr(writer);
        let guard = Guard::spawn(command);
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        while !line.contains("watching") {
            reader.read_line(&mut line).unwrap();
        }
        drop(reader);
        guard.send(Signal::PIPE);
        let mut victim = Eater::named("victim").start_guarded(&journal);
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        guard.end();
    });
}

#[test]
fn a_log_file_that_may_not_grow_does_not_end_it() {
    in_namespace(|| {
        let journal = Journal::new();
        let mut command = bustd(&journal, &[ASK]);
        command.stderr(File::create(format!("{SCRATCH}/log")).unwrap());
        limit_files(&mut command, 100);
        let guard = Guard::spawn(command);
        let mut victim = Eater::named("victim").start_guarded(&journal);
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        guard.end();
    });
}

#[test]
fn a_full_log_holds_up_no_kill_and_the_loss_is_told() {
    in_namespace(|| {
        let journal = Journal::new();
        let (mut reader, mut writer) = pipe().unwrap();
        fill(&mut writer);
        let mut command = bustd(&journal, &[ASK]);
        command.stderr(writer);
        let guard = Guard::spawn(command);
        let mut victim = Eater::named("victim").start_guarded(&journal);
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        // Only the guard can still be writing: two reads make room for it.
        let mut told = Vec::new();
        let mut buf = [0; 1 << 16];
        eventually("lost lines are told of", || {
            guard.send(Signal::USR1);
            let len = reader.read(&mut buf).unwrap();
            told.extend(buf[..len].iter().filter(|&&byte| byte != FILLER));
            String::from_utf8_lossy(&told).contains(" lines before this were lost)")
        });
        guard.end();
    });
}

const FILLER: u8 = b'.';

/// Writes until no more goes in.
fn fill(writer: &mut (impl Write + AsRawFd)) {
    set_nonblocking(writer, true);
    while writer.write(&[FILLER]).is_ok() {}
    set_nonblocking(writer, false);
}

fn set_nonblocking(file: &impl AsRawFd, nonblocking: bool) {
    let flags = if nonblocking { libc::O_NONBLOCK } else { 0 };
    // SAFETY: an open descriptor and an integer.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) }, 0);
}

#[test]
fn a_terminal_that_stands_still_holds_up_no_kill() {
    in_namespace(|| {
        let journal = Journal::new();
        let (mut master, mut slave) = terminal();
        fill(&mut slave);
        // Room again, but for no whole line: poll(2) says that it can be
        // written to, and write(2) would wait for the rest.
        assert_eq!(master.read(&mut [0; 10]).unwrap(), 10);
        eventually("there is a little room", || {
            let mut polled = libc::pollfd { fd: slave.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
            // SAFETY: one valid pollfd.
            unsafe { libc::poll(&mut polled, 1, 0) == 1 }
        });
        let mut command = bustd(&journal, &[ASK]);
        command.stderr(slave);
        let guard = Guard::spawn(command);
        let mut victim = Eater::named("victim").start_guarded(&journal);
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        guard.end();
    });
}

#[test]
fn a_terminal_that_stops_background_jobs_does_not_stop_it() {
    in_namespace(|| {
        let journal = Journal::new();
        let (_master, slave) = terminal();
        let fd = slave.as_raw_fd();
        // SAFETY: a terminal, and valid settings that are filled in first.
        unsafe {
            // As a shell on this terminal, in whose background the guard runs.
            assert_eq!(libc::setsid(), 1);
            assert_eq!(libc::ioctl(fd, libc::TIOCSCTTY, 0), 0);
            let mut settings = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(fd, &mut settings), 0);
            settings.c_lflag |= libc::TOSTOP;
            assert_eq!(libc::tcsetattr(fd, libc::TCSANOW, &settings), 0);
        }
        let mut command = bustd(&journal, &[ASK]);
        command.stderr(slave).process_group(0);
        let guard = Guard::spawn(command);
        let mut victim = Eater::named("victim").start_guarded(&journal);
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        guard.end();
    });
}
