//! Kills as numbers for others: a file in the Prometheus text format, written
//! anew at start and after each kill, and the count on the pidfile
//! ([`Held`](crate::sys::lock::Held)).

use crate::decide::verdict::{Rule, Urgency};
use crate::read::process::Comm;
use crate::sys::file::openat;
use crate::sys::line::{Line, named};
use crate::sys::lock::unlock_before;
use crate::sys::time::realtime_s;
use core::ffi::CStr;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{CWD, OFlags, rename, unlink};
use rustix::io::Errno;

/// Longer paths are cut by [`Line`], and so not taken.
pub const MAX_PATH: usize = 500;

/// Kills so far.
#[derive(Debug)]
pub struct Stats<'a> {
    /// The file, if it was asked for.
    pub path: Option<&'a CStr>,
    /// The pidfile, if there is one.
    pidfile: Option<BorrowedFd<'a>>,
    started_s: u64,
    /// By rule, and by what was needed: SIGTERM, SIGKILL.
    kills: [u32; Rule::ALL.len() * 2],
    last_s: u64,
    last_comm: Comm,
    failed: bool,
    /// Not called by name: so the linker can refuse a loop that refers to it, which is
    /// given up where there is nobody to tell.
    tell: Option<Tell<'a>>,
}

type Tell<'a> = fn(&mut Stats<'a>, &mut More<'_>) -> Option<Errno>;

impl<'a> Stats<'a> {
    /// No kills since now.
    pub fn new(path: Option<&'a CStr>) -> Self {
        Self {
            path,
            pidfile: None,
            started_s: realtime_s(),
            kills: [0; Rule::ALL.len() * 2],
            last_s: 0,
            last_comm: Comm::NONE,
            failed: false,
            tell: None,
        }
    }

    /// Tells of them from now on, on our pidfile too.
    pub fn begin(&mut self, pidfile: Option<BorrowedFd<'a>>) {
        self.pidfile = pidfile;
        self.tell = (pidfile.is_some() || self.path.is_some()).then_some(Self::tell_all);
    }

    /// Counts a kill.
    pub fn count(&mut self, rule: Rule, urgency: Urgency, comm: &Comm) {
        self.kills[rule as usize * 2 + urgency as usize] += 1;
        self.last_s = realtime_s();
        self.last_comm = *comm;
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.kills.iter().map(|&kills| u64::from(kills)).sum()
    }

    /// Appends how many there were, and by which rules.
    pub fn push_kills(&self, line: &mut Line) {
        line.number(self.total());
        let mut before = " (";
        for (pair, rule) in self.kills.chunks_exact(2).zip(Rule::ALL) {
            let kills = u64::from(pair[0]) + u64::from(pair[1]);
            if kills > 0 {
                line.text(before).number(kills).text(" ").text(rule.name());
                before = ", ";
            }
        }
        if self.total() > 0 {
            line.text("), the last of ").quoted(self.last_comm.as_bytes());
        }
    }

    /// Tells whoever asks, and what `more` adds. Why that failed, unless it did the time
    /// before too.
    pub fn publish(&mut self, more: &mut More<'_>) -> Option<Errno> {
        (self.tell?)(self, more)
    }

    fn tell_all(&mut self, more: &mut More<'_>) -> Option<Errno> {
        if let Some(pidfile) = self.pidfile {
            unlock_before(pidfile, self.total());
        }
        let failure = self.path.and_then(|path| self.replace(path, more).err());
        let is_known = core::mem::replace(&mut self.failed, failure.is_some());
        failure.filter(|_| !is_known)
    }

    /// Writes a new file and puts it in the place of the old one, so that
    /// nobody ever reads half of it.
    fn replace(&self, path: &CStr, more: &mut More<'_>) -> Result<(), Errno> {
        let mut new = Line::default();
        let new = new.bytes(path.to_bytes()).text(".new").as_cstr();
        // One left behind, or somebody's link to what is not ours.
        let _ = unlink(new);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut out = Out { file: openat(CWD, new, flags)?, line: Line::default(), done: Ok(()) };
        self.write(&mut out);
        more(&mut out);
        let done = out.done.and_then(|()| rename(new, path));
        if done.is_err() {
            let _ = unlink(new);
        }
        done
    }

    fn write(&self, out: &mut Out) {
        out.line.text(named!(START)).number(self.started_s).text(named!(KILLS));
        out.flush();
        for (place, kills) in self.kills.iter().enumerate() {
            out.line.text("bustd_kills_total{rule=\"").text(Rule::ALL[place / 2].name());
            out.line.text(if place % 2 == 0 { "\",signal=\"term\"} " } else { "\",signal=\"kill\"} " });
            out.line.number((*kills).into()).text("\n");
        }
        out.flush();
        if self.last_s > 0 {
            out.line.text(named!(LAST)).number(self.last_s).text(named!(LAST_INFO));
            // A backslash takes two in this format, and other bytes than ASCII
            // would have to be UTF-8.
            out.line.escaped_as(self.last_comm.as_bytes(), "\\\\x").text("\"} 1\n");
            out.flush();
        }
    }
}

// Whole: code that composes them would be larger.
const START: &str = "\
# HELP bustd_start_time_seconds When bustd started.
# TYPE bustd_start_time_seconds gauge
bustd_start_time_seconds ";

const KILLS: &str = "
# HELP bustd_kills_total Kills by rule and last signal.
# TYPE bustd_kills_total counter
";

const LAST: &str = "\
# HELP bustd_last_kill_timestamp_seconds When the last kill was.
# TYPE bustd_last_kill_timestamp_seconds gauge
bustd_last_kill_timestamp_seconds ";

const LAST_INFO: &str = "
# HELP bustd_last_kill_info Whom it hit.
# TYPE bustd_last_kill_info gauge
bustd_last_kill_info{comm=\"";

/// What else is to be written.
pub type More<'m> = dyn FnMut(&mut Out) + 'm;

/// A file being written, up to the first failure.
#[derive(Debug)]
pub struct Out {
    file: OwnedFd,
    /// What comes next.
    pub line: Line,
    done: Result<(), Errno>,
}

impl Out {
    /// Writes what is in the line.
    pub fn flush(&mut self) {
        if self.done.is_ok() {
            self.done = match rustix::io::write(&self.file, self.line.as_bytes()) {
                Ok(len) if len == self.line.as_bytes().len() => Ok(()),
                // A full disk takes what fits.
                Ok(_) => Err(Errno::NOSPC),
                Err(errno) => Err(errno),
            };
        }
        self.line.clear();
    }
}
