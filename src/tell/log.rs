//! Lines to people: standard error, the kernel's log, syslog, or a file. Never blocks
//! and never fails: a line that cannot be written is counted, and the count
//! goes out with the next one.

use crate::sys::file::{open, stderr};
use crate::sys::line::Line;
use crate::sys::time::realtime_s;
use core::ffi::CStr;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard error.
    Stderr,
    /// `/dev/kmsg`, read with dmesg(1).
    Kmsg,
    /// The socket `/dev/log`.
    Syslog,
    /// This file, which is appended to.
    File(&'static CStr),
}

/// How much a line matters, as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Somebody should know: a kill, a missing capability.
    Warning = 4,
    /// How things go.
    Info = 6,
}

/// syslog(3)'s LOG_DAEMON.
const FACILITY_DAEMON: u64 = 3 << 3;

/// After this many lines /dev/kmsg is opened anew.
const KMSG_BURST: u32 = 8;

/// The log.
#[derive(Debug)]
pub struct Log {
    /// `None` for standard error as it is.
    fd: Option<OwnedFd>,
    sink: Sink,
    own_pid: u64,
    lost: u64,
    /// Lines written to [`Sink::Kmsg`] since it was opened.
    since_open: u32,
    /// The line being written. Here, and not on the stack of whoever writes.
    line: Line,
}

impl Log {
    /// Opens `sink`; one that cannot be opened is replaced by standard error.
    pub fn open(sink: Sink) -> Self {
        let opened = match sink {
            Sink::Stderr => None,
            Sink::Kmsg => open(CWD, c"/dev/kmsg", OFlags::WRONLY).ok(),
            Sink::Syslog => connect_syslog(),
            Sink::File(path) => open_file(path).ok(),
        };
        let (sink, fd) = match opened {
            Some(fd) => (sink, Some(fd)),
            None => (Sink::Stderr, reopen_stderr()),
        };
        let own_pid = rustix::process::getpid().as_raw_pid().unsigned_abs().into();
        Self { fd, sink, own_pid, lost: 0, since_open: 0, line: Line::default() }
    }

    /// Where lines really go.
    pub fn sink(&self) -> Sink {
        self.sink
    }

    fn write(&mut self, level: Level, build: impl FnOnce(&mut Line)) {
        build(self.begin(level));
        self.end();
    }

    fn begin(&mut self, level: Level) -> &mut Line {
        let out = &mut self.line;
        out.clear();
        match self.sink {
            Sink::Stderr => out.text("bustd: "),
            Sink::File(_) => {
                push_date(out, realtime_s());
                out.text(" bustd[").number(self.own_pid).text("]: ")
            }
            Sink::Kmsg | Sink::Syslog => {
                let priority = FACILITY_DAEMON + level as u64;
                out.text("<").number(priority).text(">bustd[").number(self.own_pid).text("]: ")
            }
        }
    }

    fn end(&mut self) {
        let out = &mut self.line;
        if self.lost > 0 {
            out.text(" (").number(self.lost).text(" lines before this were lost)");
        }
        if self.sink != Sink::Syslog {
            out.end_line();
        }
        if self.try_write() {
            self.lost = 0;
        } else {
            self.lost += 1;
        }
    }

    /// Opens the file that lines go to once more, for it may have been renamed;
    /// `None` where they go to no file. Where that fails it goes on with the old one.
    pub fn reopen(&mut self) -> Option<Result<(), Errno>> {
        let Sink::File(path) = self.sink else { return None };
        Some(open_file(path).map(|file| self.fd = Some(file)))
    }

    /// Lets go of the terminal or pipe that standard error was: whoever started
    /// a daemon may be waiting for its end.
    pub fn let_go_of_stderr(&mut self) {
        if self.sink == Sink::Stderr {
            self.fd = None;
        }
    }

    /// Writes a warning.
    pub fn warn(&mut self, build: impl FnOnce(&mut Line)) {
        self.write(Level::Warning, build);
    }

    /// The last line that was written.
    pub fn line(&self) -> &[u8] {
        self.line.as_bytes()
    }

    /// Writes a warning that is a text and no more.
    pub fn warn_of(&mut self, what: &str) {
        self.warn(|line| {
            line.text(what);
        });
    }

    /// Writes how things go.
    pub fn info(&mut self, build: impl FnOnce(&mut Line)) {
        self.write(Level::Info, build);
    }

    /// The kernel drops what is written to one open /dev/kmsg faster than ten
    /// lines in five seconds (printk_devkmsg, Linux 4.8), and says that it was
    /// written. It counts for each open file anew.
    fn renew_kmsg(&mut self) {
        self.since_open += 1;
        if self.since_open >= KMSG_BURST
            && let Ok(file) = open(CWD, c"/dev/kmsg", OFlags::WRONLY)
        {
            self.fd = Some(file);
            self.since_open = 1;
        }
    }

    fn try_write(&mut self) -> bool {
        if self.sink == Sink::Kmsg {
            self.renew_kmsg();
        }
        let bytes = self.line.as_bytes();
        match (self.sink, &self.fd) {
            (Sink::Syslog, Some(socket)) => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                if rustix::net::send(socket, bytes, flags).is_ok() {
                    return true;
                }
                // syslogd was restarted: its socket is a new one.
                let Some(socket) = connect_syslog() else { return false };
                let sent = rustix::net::send(&socket, bytes, flags).is_ok();
                self.fd = Some(socket);
                sent
            }
            (_, Some(file)) => rustix::io::write(file, bytes).is_ok(),
            (_, None) => write_stderr(bytes),
        }
    }
}

/// Opens the terminal or pipe that is standard error once more, so that writing
/// does not block when nobody reads: O_NONBLOCK on the descriptor we were given
/// would hold for everybody who shares it. Files never block, sockets cannot be
/// opened.
fn reopen_stderr() -> Option<OwnedFd> {
    let mode = rustix::fs::fstat(stderr()).ok()?.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::CharacterDevice | FileType::Fifo => {
            open(CWD, c"/proc/self/fd/2", OFlags::WRONLY | OFlags::NOCTTY).ok()
        }
        _ => None,
    }
}

/// Writes to standard error as we were given it, if poll(2) says that there is
/// room.
fn write_stderr(bytes: &[u8]) -> bool {
    let stderr = stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0);
    ready && fds[0].revents().contains(PollFlags::OUT) && rustix::io::write(stderr, bytes).is_ok()
}

/// Appends a time as `2026-11-26T14:54:38Z`.
fn push_date(line: &mut Line, realtime_s: u64) {
    let (mut year, mut month) = (1970, 1);
    let mut days = realtime_s / 86_400;
    loop {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let len = match month {
            2 => 28 + u64::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if days < len {
            break;
        }
        days -= len;
        month += 1;
        if month > 12 {
            (year, month) = (year + 1, 1);
        }
    }
    push_two(line.number(year), "-", month);
    push_two(line, "-", days + 1);
    push_two(line, "T", realtime_s / 3600 % 24);
    push_two(line, ":", realtime_s / 60 % 60);
    push_two(line, ":", realtime_s % 60);
    line.text("Z");
}

/// Appends a number of two digits.
#[inline(never)]
fn push_two(line: &mut Line, before: &str, number: u64) {
    line.text(before).text(if number < 10 { "0" } else { "" }).number(number);
}

/// Opens a log file. Everybody may read it; a pipe or a device does not hold us up.
///
/// # Errors
/// Those of openat(2).
pub fn open_file(path: &CStr) -> Result<OwnedFd, Errno> {
    open(CWD, path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY)
}

fn connect_syslog() -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(c"/dev/log").ok()?).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_764_168_878, "2025-11-26T14:54:38Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let mut line = Line::default();
            push_date(&mut line, seconds);
            assert_eq!(line.as_bytes(), date.as_bytes());
        }
    }
}
