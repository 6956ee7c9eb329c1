//! What is wrong in a file, and where: `rules.json:12:7: found …, allowed: …`.

use super::json::{Fault, Kind, Value};
use crate::sys::line::{Line, lit};

/// What a line about a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is good, but something in it looks wrong.
    Warning,
    /// The file is not used.
    Error,
}

/// Who is told what is wrong with a file, in whole lines without their ends.
pub type Say<'s> = dyn FnMut(Severity, &Line) + 's;

/// Longer texts are cut in messages.
const SHOWN_LEN: usize = 64;
const SHOWN_PATH: usize = 128;

/// Appends a path, or the end of one that is too long for a line.
#[inline(never)]
pub fn push_path(line: &mut Line, path: &[u8]) {
    let from = path.len().saturating_sub(SHOWN_PATH);
    line.escaped(path.get(from..).unwrap_or_default());
}

/// Appends a text in quotes, or the start of one that is too long for a line.
pub fn push_text(line: &mut Line, text: &[u8]) {
    line.quoted(text.get(..SHOWN_LEN).unwrap_or(text));
}

/// Tells of a file as a whole that it cannot be used.
#[inline(never)]
pub fn refuse_file(say: &mut Say<'_>, path: &[u8], why: &[u8]) {
    let mut line = Line::default();
    push_path(&mut line, path);
    say(Severity::Error, line.bytes(lit!(": ")).bytes(why));
}

/// Tells of one file: of everything that looks wrong, up to the first error. Who reads
/// need not look whether there was one: what comes of it is thrown away.
pub struct Teller<'t> {
    path: &'t [u8],
    text: &'t [u8],
    say: &'t mut Say<'t>,
    /// How many warnings there were.
    pub warnings: u32,
    /// The file is not used, and somebody has been told why.
    pub has_refused: bool,
}

impl<'t> Teller<'t> {
    /// Of a file that is called `path` and has this text.
    pub fn new(path: &'t [u8], text: &'t [u8], say: &'t mut Say<'t>) -> Self {
        Self { path, text, say, warnings: 0, has_refused: false }
    }

    /// The text of the file.
    pub fn text(&self) -> &[u8] {
        self.text
    }

    /// A line about a part of the file that stands there.
    pub fn about(&self, part: &[u8]) -> Line {
        self.about_byte((part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize))
    }

    /// A line about what stands at a byte of the file.
    // Out of line: many ask.
    #[inline(never)]
    pub fn about_byte(&self, at: usize) -> Line {
        let before = self.text.get(..at).unwrap_or(self.text);
        // The mark at the start of a file is no column.
        let before = before.strip_prefix(b"\xef\xbb\xbf").unwrap_or(before);
        let (mut row, mut column) = (1, 1);
        for &byte in before {
            match byte {
                b'\n' => (row, column) = (row + 1, 1),
                // A character of several bytes is one column.
                0x80..=0xbf => {}
                _ => column += 1,
            }
        }
        let mut line = Line::default();
        push_path(&mut line, self.path);
        line.bytes(lit!(":")).number(row).bytes(lit!(":")).number(column).bytes(lit!(": "));
        line
    }

    /// A warning that begins with a value.
    pub fn about_value(&self, value: Value<'_>) -> Line {
        let mut line = self.about(value.source());
        push_about(&mut line, value, lit!("warning: @"));
        line
    }

    /// Tells of what looks wrong.
    #[inline(never)]
    pub fn warn(&mut self, line: &Line) {
        if !self.has_refused {
            self.warnings += 1;
            (self.say)(Severity::Warning, line);
        }
    }

    /// Warns of a value in these words, in which `@` stands for it; of its key if they
    /// begin with that.
    #[inline(never)]
    pub fn warn_of(&mut self, value: Value<'_>, what: &[u8]) {
        let is_of_key = what.starts_with(KEY);
        let mut line = self.about(if is_of_key { value.key_source() } else { value.source() });
        line.bytes(lit!("warning: "));
        push_about(&mut line, value, what);
        self.warn(&line);
    }

    /// Tells of an error.
    #[inline(never)]
    pub fn refuse(&mut self, line: &Line) {
        if !self.has_refused {
            self.has_refused = true;
            (self.say)(Severity::Error, line);
        }
    }

    /// Tells that a value is not what is allowed.
    #[inline(never)]
    pub fn refuse_value(&mut self, value: Value<'_>, allowed: &[u8]) {
        let mut line = self.about(value.source());
        push_about(&mut line, value, lit!("found @, allowed: "));
        self.refuse(line.bytes(allowed));
    }

    /// Tells of what is no JSON.
    #[inline(never)]
    pub fn refuse_fault(&mut self, fault: &Fault) {
        let mut line = self.about_byte(fault.at);
        line.bytes(lit!("found "));
        match self.text.get(fault.at..) {
            Some([b'\n', ..]) => line.bytes(lit!("the end of the line")),
            Some(rest @ [_, more @ ..]) => {
                // A character as a whole.
                let more = more.iter().take(3).take_while(|&&byte| byte & 0xc0 == 0x80).count();
                line.quoted(rest.get(..=more).unwrap_or_default())
            }
            _ => line.bytes(lit!("the end of the file")),
        };
        self.refuse(line.bytes(ALLOWED).bytes(fault.allowed));
    }

    /// Tells that there is no memory.
    pub fn refuse_size(&mut self) {
        let mut line = self.about_byte(0);
        self.refuse(line.bytes(lit!("found too much to keep, allowed: a shorter file")));
    }
}

/// Between what was found and what is allowed.
const ALLOWED: &[u8] = lit!(", allowed: ");

/// The end of a line that tells what is allowed, word by word.
pub struct List<'l> {
    line: &'l mut Line,
    comma: &'static [u8],
}

impl<'l> List<'l> {
    /// Of this line.
    pub fn new(line: &'l mut Line) -> Self {
        Self { line, comma: ALLOWED }
    }

    /// One more.
    #[inline(never)]
    pub fn push(&mut self, word: &[u8]) {
        self.line.bytes(core::mem::replace(&mut self.comma, lit!(", "))).bytes(word);
    }
}

/// How words about a key begin.
const KEY: &[u8] = lit!("key ");

/// Appends `what` with a value, or with its key, in place of `@`.
#[inline(never)]
fn push_about(line: &mut Line, value: Value<'_>, what: &[u8]) {
    for &byte in what {
        match byte {
            b'@' if what.starts_with(KEY) => push_key(line, value),
            b'@' => push_value(line, value),
            _ => _ = line.bytes(&[byte]),
        }
    }
}

/// Appends what a value is, for people.
#[inline(never)]
pub fn push_value(line: &mut Line, value: Value<'_>) {
    let source = value.source();
    match (value.kind(), source) {
        (Kind::Array, _) => _ = line.bytes(lit!("an array")),
        (Kind::Object, _) => _ = line.bytes(lit!("an object")),
        (Kind::Text, [_, inner @ .., _]) => push_text(line, inner),
        _ => _ = line.escaped(source.get(..SHOWN_LEN).unwrap_or(source)),
    }
}

/// Appends a key in quotes.
#[inline(never)]
pub fn push_key(line: &mut Line, value: Value<'_>) {
    line.bytes(lit!("\""));
    for byte in value.key().take(SHOWN_LEN) {
        line.escaped(&[byte]);
    }
    line.bytes(lit!("\""));
}
