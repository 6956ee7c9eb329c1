//! Lines and tables for people, and the same facts as one JSON object for programs.

use bustd::sys::child::Environment;
use bustd::sys::file::{stderr, stdout};
use bustd::sys::line::{Line, Word};
use bustd::sys::power::{self, Power};
use core::ffi::c_int;

/// Exit status for a bad command line.
pub const EXIT_USAGE: i32 = 2;
/// Exit status for everything else that keeps us from starting.
pub const EXIT_FAILURE: i32 = 1;

/// Prints to standard output and returns the exit status.
pub fn print(text: &[u8]) -> c_int {
    match rustix::io::write(stdout(), text) {
        Ok(len) if len == text.len() => 0,
        _ => EXIT_FAILURE,
    }
}

/// Says why on standard error and exits.
// Out of line, so that whoever goes on to guard has no such line on its stack.
#[inline(never)]
pub fn fail(status: i32, why: &str) -> ! {
    fail_with(status, complaint().text(why))
}

/// A line for [`fail_with`], begun.
pub fn complaint() -> Line {
    let mut line = Line::default();
    line.text("bustd: ");
    line
}

/// The same about a path or another value: `what "value": why`.
// Out of line for the same reason.
#[inline(never)]
pub fn fail_about(status: i32, what: &str, value: &[u8], why: &str) -> ! {
    let mut line = complaint();
    line.text(what).quoted(value).text(": ").text(why);
    fail_with(status, &mut line)
}

/// Says what could not be done and why.
// Out of line for the same reason.
#[inline(never)]
pub fn fail_because(status: i32, what: &str, why: &str) -> ! {
    let mut line = complaint();
    line.text(what).text(": ").text(why);
    fail_with(status, &mut line)
}

/// The same as [`fail`] with a longer story.
pub fn fail_with(status: i32, line: &mut Line) -> ! {
    line.end_line();
    let _ = rustix::io::write(stderr(), line.as_bytes());
    leave(status)
}

/// Ends the program, and the machine if this is its init.
pub fn leave(status: i32) -> ! {
    power::end(status, Power::Off)
}

const BOLD: &str = "\x1b[1m";
const NOT_BOLD: &str = "\x1b[m";

/// Where what is said of an entry begins.
const ENTRY_AT: usize = 9;

/// Where the first column after a row's name begins.
const NAME_WIDTH: usize = 6;

/// Names wider than this are cut: a process name that is no text is escaped.
const COMM_WIDTH: usize = 15;

/// What stands in a column.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// A number.
    Count,
    /// A size in KiB: `512 KiB`, `31 MiB`.
    Size,
    /// A share in hundredths of a per cent: `12.5%`.
    Share,
    /// Yes or no.
    Flag,
    /// A name, cut where it is too wide.
    Name,
    /// Text up to the end of the line.
    Rest,
}

impl Kind {
    /// The widest that values of this kind are as a rule.
    const fn width(self) -> usize {
        match self {
            Self::Size => "10239 KiB".len(),
            Self::Count | Self::Share => "100.5%".len(),
            Self::Flag => "yes".len(),
            Self::Name | Self::Rest => COMM_WIDTH,
        }
    }

    const fn is_text(self) -> bool {
        matches!(self, Self::Name | Self::Rest)
    }

    /// What programs are told of the unit, behind the heading.
    const fn unit(self) -> &'static str {
        match self {
            Self::Size => "_kib",
            Self::Share => "_bp",
            _ => "",
        }
    }
}

/// A column: what people see over it, and what is in it.
#[derive(Clone, Copy)]
pub struct Column {
    heading: Word,
    kind: Kind,
}

/// A column of a table.
pub const fn column(heading: &str, kind: Kind) -> Column {
    Column { heading: Word::new(heading), kind }
}

/// A table: a row a line, or an object a row. Its columns are a static of their
/// own: only what has a name can be given up with the rest of start-up.
pub struct Table {
    /// Stands over the rows' names; for a list, whose rows have none, it is what
    /// programs call the list.
    pub title: &'static str,
    /// Whether rows have no names.
    pub is_list: bool,
    /// The columns.
    pub columns: &'static [Column],
}

/// What stands in one place.
#[derive(Clone, Copy)]
pub enum Value<'v> {
    /// Not known, or not there.
    Unknown,
    /// A number, size or share, by the column's kind.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Bytes that need not be text.
    Text(&'v [u8]),
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl<'v, V: Into<Value<'v>>> From<Option<V>> for Value<'v> {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Unknown, Into::into)
    }
}

/// How tables are shown.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Json,
    Plain,
    /// With bold headings.
    Bold,
}

/// Standard output, table by table.
pub struct Console {
    style: Style,
    /// Shown over what was shown before.
    is_live: bool,
    /// What JSON has before the next row.
    before_row: &'static str,
    is_list_open: bool,
    has_table: bool,
    status: c_int,
}

impl Console {
    /// Nothing shown yet.
    pub fn new(is_json: bool, environment: Environment) -> Self {
        let style = match is_json {
            true => Style::Json,
            false if wants_bold(environment) => Style::Bold,
            false => Style::Plain,
        };
        Self { style, is_live: false, before_row: "{", is_list_open: false, has_table: false, status: 0 }
    }

    /// The same, over what was shown before.
    pub fn live(environment: Environment) -> Self {
        Self { is_live: true, ..Self::new(false, environment) }
    }

    /// Shows an entry of people's status: a name, or none for more of the one before, and
    /// what `build` says of it.
    pub fn entry(&mut self, name: &str, build: impl FnOnce(&mut Line)) {
        let mut line = Line::default();
        let is_bold = self.style == Style::Bold && !name.is_empty();
        line.text(if is_bold { BOLD } else { "" }).text(name).text(if is_bold { NOT_BOLD } else { "" });
        for _ in name.len()..ENTRY_AT {
            line.text(" ");
        }
        build(&mut line);
        line.end_line();
        self.has_table = true;
        self.print(&line);
    }

    /// Begins a table.
    pub fn begin(&mut self, table: &Table) {
        if self.style == Style::Json {
            if table.is_list {
                let mut line = Line::default();
                // Behind another list, that ends.
                line.text(if self.is_list_open { "],\n" } else { self.before_row })
                    .quoted(table.title.as_bytes())
                    .text(":[");
                self.print(&line);
                self.before_row = "";
                self.is_list_open = true;
            }
            return;
        }
        let mut line = Line::default();
        line.text(if self.has_table { "\n" } else { "" });
        if self.style == Style::Bold {
            line.text(BOLD);
        }
        self.print(&line);
        self.has_table = true;
        let mut row = Row::new(if table.is_list { "" } else { table.title });
        for column in table.columns {
            row.put(column, column.heading.as_bytes());
        }
        if self.style == Style::Bold {
            row.line.text(NOT_BOLD);
        }
        row.line.end_line();
        self.print(&row.line);
    }

    /// Shows a row, a value for each of the table's columns.
    pub fn row(&mut self, table: &Table, name: &str, values: &[Value<'_>]) {
        debug_assert_eq!(values.len(), table.columns.len());
        let cells = table.columns.iter().zip(values);
        if self.style == Style::Json {
            let mut line = Line::default();
            line.text(self.before_row);
            self.before_row = ",\n";
            if !table.is_list {
                line.quoted(name.as_bytes()).text(":");
            }
            for (at, (column, value)) in cells.enumerate() {
                line.text(if at == 0 { "{\"" } else { ",\"" });
                line.bytes(column.heading.as_bytes()).text(column.kind.unit()).text("\":");
                push_json(&mut line, value);
            }
            line.text("}");
            return self.print(&line);
        }
        let mut row = Row::new(name);
        for (column, value) in cells {
            let mut cell = Line::default();
            push_plain(&mut cell, column.kind, value);
            row.put(column, cell.as_bytes());
        }
        row.line.end_line();
        self.print(&row.line);
    }

    /// Shows a text, to people only.
    pub fn note(&mut self, text: &[u8]) {
        if self.style != Style::Json {
            let mut line = Line::default();
            self.print(line.bytes(text));
        }
    }

    /// Has the program end with `status`, unless that is 0.
    pub fn end_with(&mut self, status: c_int) {
        self.status |= status;
    }

    /// Ends the object; the exit status.
    pub fn finish(mut self) -> c_int {
        if self.style == Style::Json {
            let mut line = Line::default();
            line.text(if self.is_list_open { "]}\n" } else { "}\n" });
            self.print(&line);
        }
        self.status
    }

    fn print(&mut self, line: &Line) {
        for part in line.as_bytes().split_inclusive(|&byte| byte == b'\n') {
            // What is left there of an older line.
            if self.is_live && part.ends_with(b"\n") {
                self.status |= print(&part[..part.len() - 1]) | print(b"\x1b[K\n");
            } else {
                self.status |= print(part);
            }
        }
    }
}

/// A line of a table that is being put together.
struct Row {
    line: Line,
    /// Where the next column begins.
    at: usize,
}

impl Row {
    fn new(name: &str) -> Self {
        let mut line = Line::default();
        line.text(name);
        Self { line, at: if name.is_empty() { 0 } else { NAME_WIDTH } }
    }

    fn put(&mut self, column: &Column, cell: &[u8]) {
        let kind = column.kind;
        let cell = if kind == Kind::Name && cell.len() > COMM_WIDTH { cut(cell) } else { cell };
        let width = column.heading.as_bytes().len().max(kind.width()) + if kind.is_text() { 2 } else { 1 };
        // Text stands at the left, numbers at the right.
        let start = if kind.is_text() { self.at + 2 } else { (self.at + width).saturating_sub(cell.len()) };
        if self.at > 0 {
            // However wide what stands before.
            self.line.text(" ");
        }
        while self.line.as_bytes().len() < start {
            self.line.text(" ");
        }
        self.line.bytes(cell);
        self.at += width;
    }
}

fn push_json(line: &mut Line, value: &Value<'_>) {
    match *value {
        Value::Unknown => line.text("null"),
        Value::Number(number) => line.signed(number),
        Value::Flag(flag) => line.text(if flag { "true" } else { "false" }),
        // A byte becomes the character of that number.
        Value::Text(text) => line.text("\"").escaped_as(text, "\\u00").text("\""),
    };
}

fn push_plain(cell: &mut Line, kind: Kind, value: &Value<'_>) {
    match *value {
        Value::Unknown => cell.text("-"),
        Value::Number(number) => match kind {
            Kind::Size => cell.text(if number < 0 { "-" } else { "" }).size(number.unsigned_abs()),
            Kind::Share => cell.percent(number.unsigned_abs()),
            _ => cell.signed(number),
        },
        Value::Flag(flag) => cell.text(if flag { "yes" } else { "no" }),
        Value::Text(text) => cell.escaped(text),
    };
}

/// As much of an escaped text as there is room for, and no half of an escape.
fn cut(cell: &[u8]) -> &[u8] {
    const ESCAPE: usize = b"\\xff".len();
    let last = cell[..COMM_WIDTH].iter().rposition(|&byte| byte == b'\\');
    &cell[..last.filter(|at| at + ESCAPE > COMM_WIDTH).unwrap_or(COMM_WIDTH)]
}

/// Is standard output a terminal that understands more than text?
pub fn has_screen(environment: Environment) -> bool {
    rustix::termios::isatty(stdout()) && environment.value("TERM") != Some(b"dumb")
}

/// Are headings to be bold: there, for somebody who did not set NO_COLOR
/// (no-color.org)?
fn wants_bold(environment: Environment) -> bool {
    has_screen(environment) && environment.value("NO_COLOR").is_none_or(<[u8]>::is_empty)
}
