//! Lines and tables for people, and the same facts as one JSON object for programs.
//!
//! A table's columns are named by their JSON keys, a blank between them; the
//! end of a name tells what stands in the column, and people see the name
//! without it:
//!
//! | ending       | what                               |
//! |--------------|------------------------------------|
//! | `_kib` `_bp` | a size, hundredths of a per cent   |
//! | `?`          | yes or no                          |
//! | `$`          | text, cut where it is too wide     |
//! | `~`          | text, up to the end of the line    |
//! | others       | a number                           |
//!
//! A table that ends with `~` is a list: its rows have no names.

use bustd::read::kfile::{self, Pieces};
use bustd::sys;
use bustd::sys::line::Line;
use core::ffi::c_int;
use rustix::fd::BorrowedFd;

/// Exit status for a bad command line.
pub const EXIT_USAGE: i32 = 2;
/// Exit status for everything else that keeps us from starting.
pub const EXIT_FAILURE: i32 = 1;

/// Prints to standard output and returns the exit status.
#[allow(unsafe_code)]
pub fn print(text: &[u8]) -> c_int {
    // SAFETY: standard output was filled at entry and is never closed.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    match rustix::io::write(stdout, text) {
        Ok(len) if len == text.len() => 0,
        _ => EXIT_FAILURE,
    }
}

/// Says why on standard error and exits.
pub fn fail(status: i32, why: &str) -> ! {
    fail_with(status, complaint().text(why))
}

/// A line for [`fail_with`], begun.
pub fn complaint() -> Line {
    let mut line = Line::default();
    line.text("bustd: ");
    line
}

/// The same as [`fail`] with a longer story.
pub fn fail_with(status: i32, line: &mut Line) -> ! {
    line.end_line();
    let _ = rustix::io::write(sys::stderr(), line.as_bytes());
    sys::exit_now(status)
}

/// A number nobody knows.
pub const UNKNOWN: i64 = i64::MIN;

/// Where the first column after the name of the row begins.
const NAME_WIDTH: usize = 6;

/// Text wider than this is cut: a process name that is no text is escaped.
const TEXT_WIDTH: usize = 15;

/// What is told, cell by cell.
pub struct Table {
    is_json: bool,
    /// With bold headings.
    is_bold: bool,
    /// The table's, and those of the row that are still to come.
    columns: &'static [u8],
    left: Pieces<'static>,
    /// Where the next column begins.
    at: usize,
    /// What JSON has before the next row.
    before_row: &'static str,
    line: Line,
    status: c_int,
}

impl Table {
    /// Nothing yet.
    pub fn new(is_json: bool) -> Self {
        Self {
            is_json,
            is_bold: !is_json && sys::wants_colour(),
            columns: b"",
            left: kfile::fields(b""),
            at: 0,
            before_row: "{",
            line: Line::default(),
            status: 0,
        }
    }

    /// Begins a table. `title` stands over its rows' names; a list, whose rows
    /// have none, is `title` to programs alone.
    pub fn begin_table(&mut self, title: &str, columns: &'static str) {
        let is_first = core::mem::replace(&mut self.columns, columns.as_bytes()).is_empty();
        let is_list = kind_of(self.columns) == b'~';
        if self.is_json {
            if is_list {
                self.line.text(self.before_row).quoted(title.as_bytes()).text(":[");
                self.before_row = "";
            }
            return;
        }
        self.status |= print(if is_first { b"" } else { b"\n" });
        self.begin_row(if is_list { "" } else { title });
        while let Some(column) = self.left.next() {
            self.put(column, heading(column));
        }
        if self.is_bold {
            self.status |= print(b"\x1b[1m");
            self.line.text("\x1b[m");
        }
        self.end_row();
    }

    /// Begins a row.
    pub fn begin_row(&mut self, name: &str) {
        self.left = kfile::fields(self.columns);
        self.at = if name.is_empty() { 0 } else { NAME_WIDTH };
        if self.is_json {
            self.line.text(self.before_row);
            self.before_row = ",\n";
            if self.at > 0 {
                self.line.quoted(name.as_bytes()).text(":");
            }
            self.line.text("{");
        } else {
            self.line.text(name);
        }
    }

    /// Fills the next column with a number.
    pub fn number(&mut self, number: i64) {
        let column = self.left.next().unwrap_or_default();
        let cell = &mut Line::default();
        let size = number.unsigned_abs();
        match kind_of(column) {
            _ if number == UNKNOWN => cell.text(if self.is_json { "null" } else { "-" }),
            b'?' if self.is_json => cell.text(if size == 0 { "false" } else { "true" }),
            b'?' => cell.text(if size == 0 { "no" } else { "yes" }),
            b'p' if !self.is_json => cell.percent(size),
            b'b' if !self.is_json => cell.text(if number < 0 { "-" } else { "" }).size(size),
            _ => cell.signed(number),
        };
        self.put(column, cell.as_bytes());
    }

    /// Fills the next column with bytes that need not be text.
    pub fn text(&mut self, text: &[u8]) {
        let column = self.left.next().unwrap_or_default();
        let cell = &mut Line::default();
        let (quote, prefix) = if self.is_json { ("\"", "\\u00") } else { ("", "\\x") };
        cell.text(quote).escaped_as(text, prefix).text(quote);
        self.put(column, cell.as_bytes());
    }

    /// Fills two columns: a limit, and how far away from it we are.
    pub fn limit(&mut self, now: u64, limit: u64) {
        self.number(limit as i64);
        self.number(now.saturating_sub(limit) as i64);
    }

    /// Has the program end with `status`, unless that is 0.
    pub fn end_with(&mut self, status: c_int) {
        self.status |= status;
    }

    /// Ends a row.
    pub fn end_row(&mut self) {
        if self.is_json {
            self.line.text("}");
        } else {
            self.line.end_line();
        }
        self.status |= print(self.line.as_bytes());
        self.line.clear();
    }

    /// Ends the object; the exit status.
    pub fn finish(&mut self) -> c_int {
        if self.is_json {
            self.status |= print(self.line.text("]}\n").as_bytes());
        }
        self.status
    }

    fn put(&mut self, column: &[u8], cell: &[u8]) {
        let (line, kind) = (&mut self.line, kind_of(column));
        let is_text = matches!(kind, b'$' | b'~');
        if self.is_json {
            if line.as_bytes().last() != Some(&b'{') {
                line.text(",");
            }
            let mark = usize::from(is_text || kind == b'?');
            line.quoted(&column[..column.len() - mark]).text(":").bytes(cell);
            return;
        }
        let cell = if kind == b'$' && cell.len() > TEXT_WIDTH { cut(cell) } else { cell };
        let least = if kind == b'b' { 9 } else { 6 };
        let width = if is_text { TEXT_WIDTH + 2 } else { column.len().max(least) + 1 };
        let start = if is_text { self.at + 2 } else { (self.at + width).saturating_sub(cell.len()) };
        if self.at > 0 {
            // However wide what stands before.
            line.text(" ");
        }
        while line.as_bytes().len() < start {
            line.text(" ");
        }
        line.bytes(cell);
        self.at += width;
    }
}

/// As much of an escaped text as there is room for, and no half of an escape.
fn cut(cell: &[u8]) -> &[u8] {
    const ESCAPE: usize = b"\\xff".len();
    let last = cell[..TEXT_WIDTH].iter().rposition(|&byte| byte == b'\\');
    &cell[..last.filter(|at| at + ESCAPE > TEXT_WIDTH).unwrap_or(TEXT_WIDTH)]
}

fn kind_of(column: &[u8]) -> u8 {
    column.last().copied().unwrap_or(0)
}

/// The column's name less what tells of its kind.
fn heading(column: &[u8]) -> &[u8] {
    let ending = match kind_of(column) {
        b'b' => b"_kib".len(),
        b'p' => b"_bp".len(),
        b'?' | b'$' | b'~' => 1,
        _ => 0,
    };
    &column[..column.len() - ending]
}
