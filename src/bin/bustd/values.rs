//! What options take as values, each kind read by a function: bytes of the command
//! line to what they mean, or why they mean nothing.

use bustd::config::command::{ExitMap, parse_signal};
use bustd::config::scope::Asked;
use bustd::read::kfile::{parse_u64, place_of};
use bustd::read::listing::parse_pid;
use bustd::read::process::Pid;
use bustd::sys::line::{Line, Word, named};
use bustd::sys::ready::is_open;
use bustd::tell::log::Sink;
use bustd::tell::stats::MAX_PATH;
use core::ffi::CStr;
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, statat};
use rustix::process::getpid;

pub const NO_PID: &str = "needs PIDs";

/// A week.
pub const MAX_SECONDS: u64 = 7 * 24 * 60 * 60;
pub const NO_SECONDS: &str = "not a number of seconds up to a week";

pub fn parse_seconds(text: &'static CStr) -> Result<u64, &'static str> {
    parse_u64(text.to_bytes()).filter(|seconds| (1..=MAX_SECONDS).contains(seconds)).ok_or(NO_SECONDS)
}

pub fn parse_descriptor(text: &'static CStr) -> Result<u32, &'static str> {
    let number = parse_u64(text.to_bytes()).and_then(|number| u32::try_from(number).ok());
    number.filter(|&number| is_open(number)).ok_or(named!("not an open descriptor"))
}

pub fn parse_exit_map(text: &'static CStr) -> Result<[u8; 2], &'static str> {
    ExitMap::parse(text.to_bytes()).map(|exits| exits.0).ok_or(named!("not FROM:TO, both up to 255"))
}

pub fn parse_death_signal(text: &'static CStr) -> Result<[u8; 2], &'static str> {
    parse_signal(text.to_bytes()).map(|number| [number, 0]).ok_or(named!("not a signal"))
}

pub fn parse_forward(text: &'static CStr) -> Result<[u8; 2], &'static str> {
    const WHOM: [Word; 2] = [Word::new("child"), Word::new("group")];
    place_of(text.to_bytes(), &WHOM).map(|at| [at as u8, 0]).ok_or(named!("not child or group"))
}

/// A pid as the command line names it, `self` for our own.
pub fn parse_pid_or_self(text: &[u8]) -> Option<Pid> {
    if text == b"self" { Some(getpid()) } else { parse_pid(text) }
}

/// A minute: a machine that can wait longer needs no guard.
const MAX_GRACE_MS: u64 = 60_000;

pub fn parse_grace_ms(text: &'static CStr) -> Result<u64, &'static str> {
    parse_u64(text.to_bytes())
        .filter(|&ms| ms <= MAX_GRACE_MS)
        .ok_or(named!("not a number of milliseconds up to 60000"))
}

pub fn parse_sink(text: &'static CStr) -> Result<Sink, &'static str> {
    const SINKS: [(&[u8], Sink); 3] =
        [(b"stderr", Sink::Stderr), (b"kmsg", Sink::Kmsg), (b"syslog", Sink::Syslog)];
    if text.to_bytes().starts_with(FILE) {
        return parse_absolute_path(&text[FILE.len()..]).map(Sink::File);
    }
    let sink = SINKS.iter().find(|(name, _)| *name == text.to_bytes());
    sink.map(|&(_, sink)| sink).ok_or(named!("not stderr, kmsg, syslog or file:PATH"))
}

const FILE: &[u8] = b"file:";

/// A path that is used before we change to `/`, and so may be relative.
pub fn parse_any_path(text: &'static CStr) -> Result<&'static CStr, &'static str> {
    if text.is_empty() { Err(named!("the path is empty")) } else { Ok(text) }
}

pub fn parse_absolute_path(text: &'static CStr) -> Result<&'static CStr, &'static str> {
    match parse_any_path(text)?.to_bytes() {
        [b'/', ..] => Ok(text),
        _ => Err(named!("not an absolute path")),
    }
}

/// A file that will be replaced or emptied, if there is one: no device, nor a link,
/// which is there for a reason.
pub fn parse_replaced(text: &'static CStr) -> Result<&'static CStr, &'static str> {
    if text.count_bytes() > MAX_PATH {
        return Err(named!("the path is too long"));
    }
    let path = parse_absolute_path(text)?;
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
            Err(named!("not a file"))
        }
        _ => Ok(path),
    }
}

/// The directory that the file with this absolute path is in.
pub fn directory_of(path: &CStr) -> Line {
    let path = path.to_bytes();
    let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    let mut directory = Line::default();
    directory.bytes(&path[..end.max(1)]);
    directory
}

pub fn parse_program(text: &'static CStr) -> Result<&'static CStr, &'static str> {
    let path = parse_absolute_path(text)?;
    let is_file = statat(CWD, path, AtFlags::empty())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    if is_file && accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()).is_ok() {
        Ok(path)
    } else {
        Err(named!("not an executable file"))
    }
}

pub fn parse_scope(text: &'static CStr) -> Result<Asked<'static>, &'static str> {
    match text.to_bytes() {
        b"auto" => Ok(Asked::Auto),
        b"machine" => Ok(Asked::Machine),
        b"cgroup" => Ok(Asked::Cgroup),
        [b'/', ..] => Ok(Asked::Path(text)),
        _ => Err(named!("not auto, machine, cgroup or an absolute path")),
    }
}
