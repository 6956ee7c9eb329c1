//! What the signals and the end of the command that a guard runs mean to it.

use crate::read::kfile::{parse_u64, place_of};
use crate::sys::line::Word;
use core::ffi::c_int;

/// Who gets the signals that the guard is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// The command.
    #[default]
    Child,
    /// Its process group.
    Group,
}

impl Forward {
    /// The first of these or the second.
    pub fn of(place: [u8; 2]) -> Self {
        if place[0] == 0 { Self::Child } else { Self::Group }
    }
}

/// A status, and what to end with in its place. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitMap(pub [u8; 2]);

impl ExitMap {
    /// Reads `FROM:TO`; `None` for what is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let at = text.iter().position(|&byte| byte == b':')?;
        let status = |text| u8::try_from(parse_u64(text)?).ok();
        Some(Self([status(&text[..at])?, status(&text[at + 1..])?]))
    }

    /// What to end with after `status`.
    pub fn apply(self, status: u8) -> u8 {
        let Self([from, to]) = self;
        if status == from { to } else { status }
    }
}

/// The status of a process that was ended for want of memory, as the kernel's own
/// killer leaves it.
pub const KILLED: u8 = 128 + 9;

/// What a shell says of a process that exited with this status, or else was ended by
/// this signal.
pub fn status_of(exit_status: Option<c_int>, signal: Option<c_int>) -> u8 {
    exit_status.unwrap_or_else(|| 128 + signal.unwrap_or(0)) as u8
}

/// The signals that have names here, and their numbers.
static NAMES: [Word; 7] = [
    Word::new("HUP"),
    Word::new("INT"),
    Word::new("QUIT"),
    Word::new("KILL"),
    Word::new("USR1"),
    Word::new("USR2"),
    Word::new("TERM"),
];
// By the C library's names: on mips two of them have other numbers.
static NUMBERS: [u8; NAMES.len()] = [
    libc::SIGHUP as u8,
    libc::SIGINT as u8,
    libc::SIGQUIT as u8,
    libc::SIGKILL as u8,
    libc::SIGUSR1 as u8,
    libc::SIGUSR2 as u8,
    libc::SIGTERM as u8,
];

/// One of the more usual signals by its name, with or without SIG, or any by its
/// number.
pub fn parse_signal(text: &[u8]) -> Option<u8> {
    match place_of(text.strip_prefix(b"SIG").unwrap_or(text), &NAMES) {
        Some(at) => Some(NUMBERS[at]),
        None => parse_u64(text).filter(|number| (1..=64).contains(number)).map(|number| number as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_mapped() {
        let map = |text: &str, status| ExitMap::parse(text.as_bytes()).unwrap().apply(status);
        assert_eq!([143, 0, 1].map(|status| map("143:0", status)), [0, 0, 1]);
        assert_eq!(map("255:254", 255), 254);
        let bad: [&[u8]; 9] = [b"", b"1", b"1:", b":1", b"1:2:3", b"256:0", b"0:256", b"1:2,", b"-1:0"];
        assert!(bad.into_iter().all(|text| ExitMap::parse(text).is_none()));
    }

    #[test]
    fn an_end_has_a_status() {
        assert_eq!([0, 3, 255].map(|status| status_of(Some(status), None)), [0, 3, 255]);
        assert_eq!([1, 9, 15, 64].map(|signal| status_of(None, Some(signal))), [129, 137, 143, 192]);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("TERM", libc::SIGTERM), ("SIGUSR2", libc::SIGUSR2), ("HUP", libc::SIGHUP)] {
            assert_eq!(parse_signal(text.as_bytes()), Some(number as u8));
        }
        assert_eq!(parse_signal(b"9"), Some(9));
        let bad: [&[u8]; 6] = [b"", b"0", b"term", b"SIG", b"SIG9", b"100"];
        assert!(bad.into_iter().all(|text| parse_signal(text).is_none()));
    }
}
