//! What a process writes, and where: `/proc/PID/io`, `fdinfo` and `mountinfo`.

use crate::read::kfile::{self, ReadError};
use crate::read::process::{Pid, read_file};
use crate::sys::line::Word;
use rustix::fd::BorrowedFd;

/// In a file that is being filled nobody stays as near to its start for long. A
/// file with a position below this is a pidfile, or a device or pipe that has a
/// name there, which have no position.
const LEAST_WRITTEN: u64 = 4096;

/// Parses `/proc/PID/fdinfo/FD` into the number of the mount the file is on, if
/// it is open for writing and more than a little has been written.
pub fn parse_written_mount(text: &[u8]) -> Option<u64> {
    const KEYS: [Word; 3] = [Word::new("flags"), Word::new("mnt_id"), Word::new("pos")];
    let [flags, mount, pos] = kfile::numbers_of(text, &KEYS);
    if pos? < LEAST_WRITTEN {
        return None;
    }
    // Flags are octal; read as decimal the last digit is the same, and its
    // lower two bits are O_ACCMODE, 0 for reading.
    let last_digit = flags? % 10;
    if last_digit & 3 == 0 { None } else { mount }
}

/// Is this line of `/proc/PID/mountinfo`, `ID parent major:minor root point
/// options [tags] - type source options`, that of mount `id`, a tmpfs?
pub fn is_tmpfs_mount(line: &[u8], id: u64) -> bool {
    let mut fields = kfile::fields(line);
    fields.next().and_then(kfile::parse_u64) == Some(id)
        && fields.any(|field| field == b"-")
        && matches!(fields.next(), Some(b"tmpfs" | b"rootfs"))
}

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
