//! How much a process writes: `/proc/PID/io`.

use crate::read::kfile::{self, ReadError};
use crate::read::process::{Pid, read_file};
use crate::sys::line::Word;
use rustix::fd::BorrowedFd;

/// Parses `/proc/PID/io` into the bytes written by write(2) and its relatives
/// that were not for a disk (`wchar` less `write_bytes`): to tmpfs, to pipes, to
/// terminals.
pub fn parse_undisked_bytes(text: &[u8]) -> Option<u64> {
    const KEYS: [Word; 2] = [Word::new("wchar"), Word::new("write_bytes")];
    let [wchar, write_bytes] = kfile::numbers_of(text, &KEYS);
    Some(wchar?.saturating_sub(write_bytes.unwrap_or(0)))
}

/// Reads from `/proc/PID/io` (Linux 2.6.20, CONFIG_TASK_IO_ACCOUNTING) what
/// [`parse_undisked_bytes`] tells.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::NotPermitted`] where we may not trace it.
pub fn read_undisked_bytes(proc: BorrowedFd<'_>, pid: Pid) -> Result<u64, ReadError> {
    let mut buf = [0; 256];
    parse_undisked_bytes(read_file(proc, pid, "/io", &mut buf)?).ok_or(ReadError::Malformed)
}
