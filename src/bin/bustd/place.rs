//! Complaints about options, and where those stand.

use crate::console::{EXIT_USAGE, complaint, fail_with};
use bustd::sys::line::{Line, named};
use core::ffi::CStr;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Longer texts than this, as they are shown, are cut in messages: there may be a file's
/// name and a value in a line, and the reason comes behind them.
const SHOWN_LEN: usize = 160;

/// As much of it as has room in a message.
pub fn shown(text: &[u8]) -> &[u8] {
    let mut len = 0;
    let has_room = |byte: &&u8| {
        len += if (b' '..=b'~').contains(*byte) { 1 } else { 4 };
        len <= SHOWN_LEN
    };
    &text[..text.iter().take_while(has_room).count()]
}

/// Appends a value in quotes, and three dots behind one that was cut.
pub fn push_value(line: &mut Line, value: &[u8]) {
    let shown = shown(value);
    line.quoted(shown).text(if shown.len() < value.len() { "..." } else { "" });
}

/// Where the options that are being read stand: on the command line, or on a line of
/// a file.
#[derive(Clone, Copy, Default)]
pub struct Place {
    pub file: Option<&'static CStr>,
    pub line: u32,
}

impl Place {
    /// A line that says what is wrong here, begun.
    pub fn complaint(self) -> Line {
        let mut line = complaint();
        if let Some(file) = self.file {
            line.escaped(shown(file.to_bytes())).text(":").number(self.line.into()).text(": ");
        }
        line
    }

    /// The same of an option and its value.
    pub fn complaint_of(self, option: &[u8], value: Option<&OsStr>) -> Line {
        let mut line = self.complaint();
        line.text("--").bytes(option);
        if let Some(value) = value {
            push_value(line.text(" "), value.as_bytes());
        }
        line
    }

    pub fn refuse(self, option: &[u8], value: Option<&OsStr>, what: &str) -> ! {
        fail_with(EXIT_USAGE, self.complaint_of(option, value).text(": ").text(what))
    }

    /// Ends the program for what the parser itself refuses of option `name`.
    pub fn refuse_error(self, name: &[u8], error: &lexopt::Error) -> ! {
        match error {
            lexopt::Error::UnexpectedValue { value, .. } => {
                self.refuse(name, Some(value), named!("takes no value"))
            }
            _ if name == b"psi" => {
                let mut line = self.complaint_of(name, None);
                fail_with(
                    EXIT_USAGE,
                    line.text(named!(": needs a value; what -p is to earlyoom is always done here")),
                )
            }
            _ => self.refuse(name, None, named!("needs a value")),
        }
    }
}

/// Ends the program for an option and its value if it has one, wherever they stand.
pub fn refuse(option: &[u8], value: Option<&OsStr>, what: &str) -> ! {
    Place::default().refuse(option, value, what)
}
