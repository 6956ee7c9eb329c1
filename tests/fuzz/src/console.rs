//! In the place of the program's: who would end the program ends one input.

use bustd::sys::line::Line;
use std::panic::resume_unwind;

pub const EXIT_USAGE: i32 = 2;
pub const EXIT_FAILURE: i32 = 1;

/// The command line was refused.
pub struct Refused;

pub fn print(_: &[u8]) -> i32 {
    0
}

pub fn complaint() -> Line {
    let mut line = Line::default();
    line.text("bustd: ");
    line
}

pub fn fail(status: i32, why: &str) -> ! {
    fail_with(status, complaint().text(why))
}

pub fn fail_about(status: i32, what: &str, value: &[u8], why: &str) -> ! {
    fail_with(status, complaint().text(what).quoted(value).text(": ").text(why))
}

pub fn leave(_: i32) -> ! {
    resume_unwind(Box::new(Refused))
}

/// One whole line of printable ASCII is what people would see.
pub fn fail_with(status: i32, line: &mut Line) -> ! {
    line.end_line();
    // A file that is not there is no mistake on the command line.
    assert!(matches!(status, EXIT_USAGE | EXIT_FAILURE));
    let (last, text) = line.as_bytes().split_last().expect("a line");
    assert!(*last == b'\n' && text.iter().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
    // Past the hook that takes a panic for a finding.
    resume_unwind(Box::new(Refused))
}
