//! What the files of one cgroup of version 2 say, for rules: see the kernel's
//! Documentation/admin-guide/cgroup-v2.rst. Sizes in bytes, as the files have them.

use crate::read::cgroup::parse_flat_key;
use crate::read::kfile::{self, ReadError};
use crate::read::listing::Listed;
use crate::read::proportion::proportion;
use crate::read::psi::{Pressure, PressureLine, parse_pressure};
use crate::sys::line::Word;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FileType, RawDir};

/// What stands for `max`: more than there can be.
pub const UNLIMITED: u64 = i64::MAX as u64;

/// Longer than most `io.stat`s. Of longer ones the end is not read.
const LEN: usize = 2048;

/// Longer than `memory.stat` and `cgroup.events` (1.3 kB in Linux 6.12).
const STAT_LEN: usize = 2048;

/// Parses a file with one number of bytes or pages, or with `max`.
pub fn parse_amount(text: &[u8]) -> Option<u64> {
    match text.trim_ascii_end() {
        b"max" => Some(UNLIMITED),
        b"" => None,
        number => kfile::parse_u64(number),
    }
}

/// Reads a file with one number, or with `max`.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::Malformed`] for an empty one too.
pub fn read_amount(dir: BorrowedFd<'_>, file: &CStr) -> Result<u64, ReadError> {
    let mut buf = [0; 32];
    parse_amount(kfile::read_small(dir, file, &mut buf)?).ok_or(ReadError::Malformed)
}

/// Reads what a cgroup has; 0 where that cannot be told.
pub fn read_current(dir: BorrowedFd<'_>) -> u64 {
    read_amount(dir, c"memory.current").unwrap_or(0)
}

/// Reads the `full` line of a pressure file.
///
/// # Errors
/// See [`ReadError`].
pub fn read_full_pressure(dir: BorrowedFd<'_>, file: &CStr) -> Result<PressureLine, ReadError> {
    Ok(read_pressure(dir, file)?.full)
}

/// Reads the `some` line of one.
///
/// # Errors
/// See [`ReadError`].
pub fn read_some_pressure(dir: BorrowedFd<'_>, file: &CStr) -> Result<PressureLine, ReadError> {
    Ok(read_pressure(dir, file)?.some)
}

fn read_pressure(dir: BorrowedFd<'_>, file: &CStr) -> Result<Pressure, ReadError> {
    let mut buf = [0; 256];
    parse_pressure(kfile::read_small(dir, file, &mut buf)?).ok_or(ReadError::Malformed)
}

/// Reads one number of a file of lines `key number`, whose key ends with a blank, or
/// `otherwise` where there is no such line; `None` where the file cannot be read.
// Out of line, so that its buffer is not on the stack of who asks.
#[inline(never)]
pub fn read_key(dir: BorrowedFd<'_>, file: &CStr, key: &str, otherwise: u64) -> Option<u64> {
    let mut buf = [0; 256];
    Some(parse_flat_key(kfile::read_small(dir, file, &mut buf).ok()?, key).unwrap_or(otherwise))
}

/// What rules want of `memory.stat`; `None` where a line is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// `anon`, in bytes.
    pub anon: Option<u64>,
    /// `pgscan`, in pages.
    pub pgscan: Option<u64>,
    /// `active_file` and `inactive_file`.
    pub file: u64,
    /// `active_anon` and `inactive_anon`.
    pub anon_lru: u64,
}

/// The keys that rules want.
const STAT_KEYS: [Word; 6] = [
    Word::new("anon"),
    Word::new("pgscan"),
    Word::new("active_file"),
    Word::new("inactive_file"),
    Word::new("active_anon"),
    Word::new("inactive_anon"),
];

/// Parses `memory.stat`, as far as rules want it.
pub fn parse_stat(text: &[u8]) -> Stat {
    let mut numbers = [None; STAT_KEYS.len()];
    for line in kfile::lines(text) {
        kfile::add_number(line, &STAT_KEYS, &mut numbers);
    }
    let [anon, pgscan, file @ .., active_anon, inactive_anon] = numbers;
    // However large the numbers.
    let sum = |of: [Option<u64>; 2]| {
        let [a, b] = of.map(|number| number.unwrap_or(0));
        a.saturating_add(b).min(UNLIMITED)
    };
    Stat { anon, pgscan, file: sum(file), anon_lru: sum([active_anon, inactive_anon]) }
}

/// Reads `memory.stat`.
///
/// # Errors
/// See [`ReadError`].
// Out of line, so that its buffer is not on the stack of who asks.
#[inline(never)]
pub fn read_stat(dir: BorrowedFd<'_>) -> Result<Stat, ReadError> {
    let mut buf = [0; STAT_LEN];
    Ok(parse_stat(kfile::read_small(dir, c"memory.stat", &mut buf)?))
}

/// Is `memory.oom.group` set? Only exactly the line `1` says so.
pub fn read_is_whole(dir: BorrowedFd<'_>) -> bool {
    let mut buf = [0; 8];
    let text = kfile::read_small(dir, c"memory.oom.group", &mut buf).unwrap_or_default();
    text == b"1" || text == b"1\n"
}

/// Room for the entries of one getdents(2).
const DIR_LEN: usize = 1024;

/// Calls `found` with each directory in `dir`, its number in the file system and its
/// name, until that says that it has seen enough.
///
/// # Errors
/// Those of getdents64(2); names before the error were told.
// Out of line, so that its buffer is not on the stack of who asks.
#[inline(never)]
pub fn list_dirs(
    dir: OwnedFd,
    found: &mut dyn FnMut(u64, &CStr) -> ControlFlow<()>,
) -> Result<Listed, ReadError> {
    let mut buf = [MaybeUninit::uninit(); DIR_LEN];
    let mut entries = RawDir::new(dir, &mut buf);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        let is_self = matches!(name.to_bytes(), b"." | b"..");
        let is_dir = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
        if !is_self && is_dir && found(entry.ino(), name).is_break() {
            return Ok(Listed::Stopped);
        }
    }
    Ok(Listed::All)
}

/// What one operation and one byte of each kind cost on a device, in units of ten to the
/// minus twelve: reads and bytes read, writes and bytes written, trims and bytes trimmed.
pub type Costs = [u64; 6];

/// What they are called in `io.stat`.
const IO_KEYS: [Word; 6] = [
    Word::new("rios"),
    Word::new("rbytes"),
    Word::new("wios"),
    Word::new("wbytes"),
    Word::new("dios"),
    Word::new("dbytes"),
];

/// What io has cost in all, in units of ten to the minus nine, each counter rounded down: of each line of
/// `io.stat`, `MAJ:MIN key=number …`, that is about a device that costs something.
/// What is missing in a line is 0; oomd ignores the whole file then.
pub fn parse_io_cost(text: &[u8], costs_of: &dyn Fn(u32, u32) -> Option<Costs>) -> u64 {
    let mut sum = 0_u64;
    for line in kfile::lines(text) {
        let mut fields = kfile::fields(line);
        let device = fields.next().and_then(parse_device);
        let Some(costs) = device.and_then(|(major, minor)| costs_of(major, minor)) else { continue };
        for field in fields {
            let Some((key, count)) = kfile::split_at(field, b'=') else { continue };
            if let (Some(at), Some(count)) = (kfile::place_of(key, &IO_KEYS), kfile::parse_u64(count)) {
                sum = sum.saturating_add(proportion(count, costs[at], 1000));
            }
        }
    }
    sum
}

fn parse_device(name: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = kfile::split_at(name, b':')?;
    let number = |text| u32::try_from(kfile::parse_u64(text)?).ok();
    Some((number(major)?, number(minor)?))
}

/// Reads what io has cost, as [`parse_io_cost`] tells it.
///
/// # Errors
/// See [`ReadError`].
#[inline(never)]
pub fn read_io_cost(
    dir: BorrowedFd<'_>,
    costs_of: &dyn Fn(u32, u32) -> Option<Costs>,
) -> Result<u64, ReadError> {
    let mut buf = [0; LEN];
    Ok(parse_io_cost(kfile::read_small(dir, c"io.stat", &mut buf)?, costs_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stat_does_not_tell_is_not_zero() {
        let text = b"anon 0\nfile 7\npgscan 12\npgscan_direct 5\nactive_file 3\ninactive_file 4\n";
        let stat = Stat { anon: Some(0), pgscan: Some(12), file: 7, anon_lru: 0 };
        assert_eq!(parse_stat(text), stat);
        assert_eq!(parse_stat(b"anon x\nanonymous 5\n"), Stat::default());
        let most = b"active_anon 18446744073709551615\ninactive_anon 18446744073709551615\n";
        assert_eq!(parse_stat(most).anon_lru, UNLIMITED);
    }

    #[test]
    fn amounts_are_numbers_or_max() {
        assert_eq!(parse_amount(b"4096\n"), Some(4096));
        assert_eq!(parse_amount(b"max\n"), Some(UNLIMITED));
        for text in [&b""[..], b"\n", b"-1\n", b"1 2\n", b"4096\n1\n"] {
            assert_eq!(parse_amount(text), None, "{text:?}");
        }
    }

    #[test]
    fn io_costs_what_the_device_makes_of_it() {
        let pico = 1_000_000_000_000;
        let costs_of = |major, minor| match (major, minor) {
            (8, 0) => Some([1, 2, 3, 4, 5, 6].map(|cost| cost * pico)),
            (8, 16) => Some([0, 0, 0, 0, 0, 1000]),
            _ => None,
        };
        let cost = |text: &[u8]| parse_io_cost(text, &costs_of);
        let line = b"8:0 rbytes=10 wbytes=100 rios=1 wios=1000 dbytes=10000 dios=100000\n";
        assert_eq!(cost(line) / 1_000_000_000, 1 + 20 + 3000 + 400 + 500_000 + 60_000);
        // What does not belong to it, and what is not asked for.
        assert_eq!(cost(b"8:0 \n8:1 rios=9\n8:16 rbytes=1 dbytes=7 cost.usage=3\nnonsense\n8:x rios=1"), 7);
        assert_eq!((cost(b""), cost(b"8:0 rios=18446744073709551615")), (0, u64::MAX));
        assert_eq!(cost(b"8:16 dbytes=18446744073709551615"), u64::MAX);
    }
}
