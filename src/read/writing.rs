//! How much a process writes: `/proc/PID/io`.

use crate::read::kfile::{self, ReadError};
use crate::read::process::{Pid, read_file};
use crate::sys::line::Word;
use rustix::fd::BorrowedFd;

/// What was written by write(2) and its relatives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes that were not for a disk (`wchar` less `write_bytes`): to tmpfs, to pipes, to
    /// terminals.
    pub bytes: u64,
    /// How many calls it took (`syscw`).
    pub calls: u64,
}

impl Written {
    /// The most that it can take of a tmpfs, in bytes: each call may begin a page, as it does where each
    /// writes a small file.
    pub fn most_bytes(&self) -> u64 {
        const PAGE: u64 = 4096;
        self.bytes.saturating_add(self.calls.saturating_mul(PAGE))
    }
}

/// Parses `/proc/PID/io`.
pub fn parse_written(text: &[u8]) -> Option<Written> {
    const KEYS: [Word; 3] = [Word::new("wchar"), Word::new("write_bytes"), Word::new("syscw")];
    let [wchar, write_bytes, syscw] = kfile::numbers_of(text, &KEYS);
    Some(Written { bytes: wchar?.saturating_sub(write_bytes.unwrap_or(0)), calls: syscw.unwrap_or(0) })
}

/// Reads from `/proc/PID/io` (Linux 2.6.20, CONFIG_TASK_IO_ACCOUNTING) what
/// [`parse_written`] tells.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::NotPermitted`] where we may not trace it.
pub fn read_written(proc: BorrowedFd<'_>, pid: Pid) -> Result<Written, ReadError> {
    let mut buf = [0; 256];
    parse_written(read_file(proc, pid, "/io", &mut buf)?).ok_or(ReadError::Malformed)
}
