//! Takes the command line apart, or a line of a file: options, and what values they are
//! given. Every error is one line that names both, and ends the program.

use crate::amount::{NO_UNIT, Zero, parse_pair};
use crate::console::{EXIT_FAILURE, EXIT_USAGE, fail, fail_with};
use crate::foreign::push_ours;
use crate::place::{Place, push_value, shown};
use crate::rows::{ROWS, Row};
use crate::values::*;
use bustd::config::limits::Pair;
use bustd::config::pattern::{GlobError, Globs, names_of_regular_expression};
use bustd::read::kfile::parse_u64;
use bustd::read::process::{Comm, Pid};
use bustd::sys::kept::keep;
use bustd::sys::line::named;
use core::ffi::CStr;
use lexopt::{Arg, Parser, RawArgs};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The command line as the kernel left it on the stack, where it stays as long
/// as the process.
pub struct Argv(pub Vec<&'static CStr>);

impl Argv {
    pub fn new(args: impl Iterator<Item = &'static CStr>) -> Self {
        Self(args.collect())
    }

    /// What takes it apart.
    pub fn parser(&self) -> Parser {
        Parser::from_args(self.0.iter().skip(1).map(|arg| OsStr::from_bytes(arg.to_bytes())))
    }

    /// A value for as long as the process. The parser's copy of it is on the
    /// heap, which the guard gives back before it watches; the same bytes are
    /// the end of the argument they came from.
    fn keep(&self, value: &OsStr) -> &'static CStr {
        let value = value.as_bytes();
        let suffix = self.0.iter().find_map(|arg| {
            let at = arg.count_bytes().checked_sub(value.len())?;
            let suffix = &arg[at..];
            (suffix.to_bytes() == value).then_some(suffix)
        });
        suffix.expect("a value is the end of an argument")
    }
}

/// One number or two.
pub type Small = [u8; 2];

/// The options of a command line, or of a line of a file, that are being read.
pub struct Reader<'a> {
    /// None for a file.
    pub argv: Option<&'a Argv>,
    parser: Parser,
    pub place: Place,
    /// The option now being read.
    pub name: &'static [u8],
    /// Those that were there, a bit each.
    pub given: u64,
    /// One that is only about COMMAND.
    pub needs_command: Option<&'static [u8]>,
    /// Where COMMAND is.
    pub command_at: Option<usize>,
}

impl<'a> Reader<'a> {
    /// One of a command line, if there is `argv`, or of a line of a file.
    pub fn new(argv: Option<&'a Argv>, parser: Parser, place: Place) -> Self {
        Self { argv, parser, place, name: b"", given: 0, needs_command: None, command_at: None }
    }

    /// The next option; `None` after the last, and where COMMAND begins. The one
    /// before may have been given a value that it does not take.
    pub fn next(&mut self) -> Option<&'static Row> {
        let arg = self.parser.next().unwrap_or_else(|error| self.place.refuse_error(self.name, &error))?;
        let (is_letter, name) = match &arg {
            Arg::Short(letter) => (true, letter.encode_utf8(&mut [0; 4]).as_bytes().to_vec()),
            Arg::Long(name) => (false, name.as_bytes().to_vec()),
            Arg::Value(_) => {
                // The parser has given out all but those behind it, and it.
                let count = self.argv.map_or(0, |argv| argv.0.len());
                self.command_at = Some(count - 1 - self.rest().count());
                return None;
            }
        };
        let row = ROWS.iter().find(|row| match is_letter {
            true => name == [row.letter],
            false => row.name.as_bytes() == name,
        });
        Some(row.unwrap_or_else(|| self.refuse_unknown(is_letter, &name)))
    }

    /// Ends the program for an argument that is no option of ours.
    fn refuse_unknown(&mut self, is_letter: bool, name: &[u8]) -> ! {
        let mut line = self.place.complaint();
        line.text(if is_letter { "-" } else { "--" }).escaped(shown(name)).text(": unknown option");
        let value = self.parser.value().ok();
        push_ours(&mut line, name, value.as_ref().map(|value| value.as_bytes()));
        fail_with(EXIT_USAGE, &mut line)
    }

    /// What the option is called.
    pub fn name(&self) -> &'static [u8] {
        self.name
    }

    /// Ends the program for it.
    pub fn refuse(&self, value: Option<&CStr>, what: &str) -> ! {
        self.place.refuse(self.name, value.map(|value| OsStr::from_bytes(value.to_bytes())), what)
    }

    /// The option's value.
    fn text(&mut self) -> &'static CStr {
        match self.parser.value() {
            Ok(value) => match self.argv {
                Some(argv) => argv.keep(&value),
                None => keep(value.as_bytes())
                    .unwrap_or_else(|_| fail(EXIT_FAILURE, named!("no memory to start with"))),
            },
            Err(error) => self.place.refuse_error(self.name, &error),
        }
    }

    /// A pair of limits. A bare number that is no percentage is asked back.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn limits(&mut self, zero: Zero) -> Pair {
        let text = self.text();
        let why = match parse_pair(text, zero) {
            Ok(pair) => return pair,
            Err(why) => why,
        };
        let mut line = self.place.complaint_of(self.name, Some(OsStr::from_bytes(text.to_bytes())));
        line.text(": ").text(why);
        if why == NO_UNIT {
            for (at, part) in text.to_bytes().split(|&byte| byte == b',').take(2).enumerate() {
                line.text(if at == 0 { "; " } else { "," }).escaped(shown(part));
                line.text(if parse_u64(part).is_some() { "M" } else { "" });
            }
            line.text("?");
        }
        fail_with(EXIT_USAGE, &mut line)
    }

    /// A list of globs.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn globs(&mut self) -> Globs<'static> {
        let text = self.text();
        let wrong = match Globs::parse(text.to_bytes()) {
            Ok(globs) => return globs,
            Err(wrong) => wrong,
        };
        let mut line = self.place.complaint_of(self.name, Some(OsStr::from_bytes(text.to_bytes())));
        match wrong {
            GlobError::EmptyList => line.text(named!(": the list is empty")),
            GlobError::EmptyItem => line.text(named!(": an item of the list is empty")),
            GlobError::Relative => line.text(named!(": a path begins with / or *")),
            GlobError::OpenBracket => line.text(named!(": a [ is not closed")),
            GlobError::RegularExpression(byte) => {
                line.text(": ").escaped(&[byte]).text(named!(" is of a regular expression; write "));
                match names_of_regular_expression(text.to_bytes()) {
                    Some(names) => push_value(&mut line, names),
                    None => {
                        line.text(named!("whole names with | between, * for any text, [")).escaped(&[byte]);
                        line.text(named!("] for the character"));
                        line.text(if byte == b'/' { named!(", exe:PATH for a file") } else { "" });
                    }
                }
                &mut line
            }
            GlobError::TooLong(glob) => {
                line.text(named!(": the kernel cuts names after 15 bytes; write '"));
                line.escaped(&glob[..Comm::MAX_LEN - 1]).text("*'")
            }
        };
        fail_with(EXIT_USAGE, &mut line)
    }

    /// What the option's value is parsed into, unless it is refused.
    pub fn value<T>(&mut self, parse: impl FnOnce(&'static CStr) -> Result<T, &'static str>) -> T {
        let text = self.text();
        parse(text).unwrap_or_else(|what| self.refuse(Some(text), what))
    }

    /// The same for values of which there are several kinds.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn small(&mut self, parse: fn(&'static CStr) -> Result<Small, &'static str>) -> Small {
        self.value(parse)
    }

    /// For an option that ends the reading: a value it was given is refused all
    /// the same.
    pub fn refuse_value(&mut self) {
        if let Err(error) = self.parser.next() {
            self.place.refuse_error(self.name, &error);
        }
    }

    /// What is left of the line.
    fn rest(&mut self) -> RawArgs<'_> {
        self.parser.raw_args().unwrap_or_else(|error| self.place.refuse_error(self.name, &error))
    }

    /// What is left of the line, read as pids; `--json` may stand between them.
    pub fn pids(&mut self, json: &mut bool) -> Vec<Pid> {
        let (place, name) = (self.place, self.name);
        let mut pids = Vec::new();
        for text in self.rest() {
            match parse_pid_or_self(text.as_bytes()) {
                Some(pid) => pids.push(pid),
                None if text == "--json" => *json = true,
                None => place.refuse(name, Some(&text), NO_PID),
            }
        }
        if pids.is_empty() {
            place.refuse(name, None, NO_PID);
        }
        pids
    }

    /// The seconds of `--watch`, which may be left out.
    pub fn watch_s(&mut self) -> u32 {
        const USUAL_S: u32 = 2;
        let is_number = |text: &OsStr| text.as_bytes().first().is_some_and(u8::is_ascii_digit);
        let given = self.parser.optional_value().or_else(|| self.rest().next_if(is_number));
        let Some(text) = given else { return USUAL_S };
        match parse_u64(text.as_bytes()) {
            Some(seconds @ 1..=MAX_SECONDS) => seconds as u32,
            _ => self.place.refuse(self.name, Some(&text), NO_SECONDS),
        }
    }
}
