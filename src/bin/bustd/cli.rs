//! Reads the command line. Every error is one line that names the option and
//! the value, and ends the program.

use crate::console::{EXIT_USAGE, complaint, fail_with, print};
use crate::options::{OPTIONS, Opt};
use bustd::config::Config;
use bustd::config::limits::{Amount, Pair};
use bustd::config::pattern::{GlobError, Globs};
use bustd::read::kfile::{parse_hundredths, parse_u64};
use bustd::read::listing::parse_pid;
use bustd::read::process::Pid;
use bustd::sys::line::Word;
use bustd::tell::log::Sink;
use bustd::tell::stats::MAX_PATH;
use core::ffi::{CStr, c_int};
use core::slice::IterMut;
use lexopt::{Arg, Parser};
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, statat};
use rustix::process::getpid;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

// `--help`, which the build script renders from the table of options and folds.
include!(concat!(env!("OUT_DIR"), "/help.rs"));

/// Prints `--help`; the exit status.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn print_help() -> c_int {
    let mut text = [0; HELP_LEN];
    let mut rest = text.iter_mut();
    HELP.iter().for_each(|&code| unfold(code, &mut rest));
    print(&text)
}

/// Writes what a byte of the folded text stands for: itself, or two others.
fn unfold(code: u8, rest: &mut IterMut<'_, u8>) {
    if let Some(at) = usize::from(code).checked_sub(0x80) {
        HELP_PAIRS[at].iter().for_each(|&code| unfold(code, rest));
    } else if let Some(byte) = rest.next() {
        *byte = code;
    }
}

/// What the command line asks for.
pub enum Command {
    /// To guard.
    Guard,
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// `--status`.
    Status,
    /// `--check`.
    Check,
    /// `--oom`, and the pids behind it.
    Oom(Vec<Pid>),
}

/// How to run.
#[derive(Default)]
pub struct Options {
    /// What the loop needs.
    pub config: Config<'static>,
    /// Stay in the foreground.
    pub no_daemon: bool,
    /// Give up no rights.
    pub no_sandbox: bool,
    /// Where lines go, if it was said.
    pub sink: Option<Sink>,
    /// Lock this.
    pub pidfile: Option<&'static CStr>,
    /// Read below this directory.
    pub root: Option<&'static CStr>,
    /// `--status` for programs.
    pub json: bool,
}

/// The command line as the kernel left it on the stack, where it stays as long
/// as the process.
pub struct Argv(Vec<&'static CStr>);

impl Argv {
    pub fn new(args: impl Iterator<Item = &'static CStr>) -> Self {
        Self(args.collect())
    }

    fn parser(&self) -> Parser {
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

/// What the parser needs of the table; the rest of that is not in the program.
struct Row {
    id: Opt,
    /// NUL for none.
    letter: u8,
    name: Word,
}

static ROWS: [Row; OPTIONS.len()] = {
    let mut rows = [const { Row { id: Opt::Help, letter: 0, name: Word::new("") } }; OPTIONS.len()];
    let mut at = 0;
    while at < OPTIONS.len() {
        let spec = &OPTIONS[at];
        let letter = match spec.letter {
            Some(letter) => letter as u8,
            None => 0,
        };
        rows[at] = Row { id: spec.id, letter, name: Word::new(spec.name) };
        at += 1;
    }
    rows
};

/// Longer values than this are cut in messages: each byte may be shown as four,
/// and the reason comes behind them.
const SHOWN_LEN: usize = 64;

fn shown(text: &[u8]) -> &[u8] {
    &text[..text.len().min(SHOWN_LEN)]
}

fn refuse(option: &[u8], value: Option<&OsStr>, what: &str) -> ! {
    let mut line = complaint();
    line.text("--").bytes(option);
    if let Some(value) = value {
        line.text(" ").quoted(shown(value.as_bytes()));
    }
    fail_with(EXIT_USAGE, line.text(": ").text(what))
}

/// Ends the program for an argument that is no option of ours.
fn refuse_unknown(arg: &Arg<'_>) -> ! {
    const UNKNOWN: &str = ": unknown option";
    let mut line = complaint();
    let what = match arg {
        Arg::Short(letter) => {
            line.text("-").escaped(letter.encode_utf8(&mut [0; 4]).as_bytes()).text(UNKNOWN)
        }
        Arg::Long(name) => line.text("--").escaped(shown(name.as_bytes())).text(UNKNOWN),
        Arg::Value(value) => line.quoted(shown(value.as_bytes())).text(": unexpected argument"),
    };
    fail_with(EXIT_USAGE, what.text(", see --help"))
}

/// Ends the program for what the parser itself refuses of option `name`.
fn refuse_error(name: &[u8], error: &lexopt::Error) -> ! {
    match error {
        lexopt::Error::UnexpectedValue { value, .. } => refuse(name, Some(value), "takes no value"),
        _ => refuse(name, None, "needs a value"),
    }
}

/// The next option; `None` after the last. `before` is the name of the one
/// before it, which may have been given a value that it does not take.
fn next_option(parser: &mut Parser, before: &[u8]) -> Option<&'static Row> {
    let arg = parser.next().unwrap_or_else(|error| refuse_error(before, &error))?;
    let row = ROWS.iter().find(|row| match arg {
        Arg::Short(letter) => char::from(row.letter) == letter,
        Arg::Long(name) => row.name.as_bytes() == name.as_bytes(),
        Arg::Value(_) => false,
    });
    Some(row.unwrap_or_else(|| refuse_unknown(&arg)))
}

/// The options of a command line that are being read.
struct Reader<'a> {
    argv: &'a Argv,
    parser: Parser,
    /// The option now being read.
    name: &'static [u8],
}

impl Reader<'_> {
    /// The option's value.
    fn text(&mut self) -> &'static CStr {
        match self.parser.value() {
            Ok(value) => self.argv.keep(&value),
            Err(error) => refuse_error(self.name, &error),
        }
    }

    /// What the option's value is parsed into, unless it is refused.
    fn value<T>(&mut self, parse: impl FnOnce(&'static CStr) -> Result<T, &'static str>) -> T {
        let text = self.text();
        parse(text).unwrap_or_else(|what| refuse(self.name, Some(OsStr::from_bytes(text.to_bytes())), what))
    }

    /// For an option that ends the reading: a value it was given is refused all
    /// the same.
    fn refuse_value(&mut self) {
        if let Err(error) = self.parser.next() {
            refuse_error(self.name, &error);
        }
    }

    /// What is left of the line, read as pids.
    fn pids(&mut self) -> Vec<Pid> {
        let left = self.parser.raw_args().unwrap_or_else(|error| refuse_error(self.name, &error));
        let pid = |text: OsString| {
            parse_pid_or_self(text.as_bytes()).unwrap_or_else(|| refuse(self.name, Some(&text), NO_PID))
        };
        let pids: Vec<Pid> = left.map(pid).collect();
        if pids.is_empty() {
            refuse(self.name, None, NO_PID);
        }
        pids
    }
}

/// Reads the command line, the program's name first, into `options`.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn parse(argv: &Argv, options: &mut Options) -> Command {
    let mut command = Command::Guard;
    let mut given = 0_u32;
    let mut reader = Reader { argv, parser: argv.parser(), name: b"" };
    while let Some(row) = next_option(&mut reader.parser, reader.name) {
        reader.name = row.name.as_bytes();
        let bit = 1 << row.id as u32;
        if given & bit != 0 {
            refuse(reader.name, None, "given twice");
        }
        given |= bit;
        let config = &mut options.config;
        match row.id {
            Opt::Mem => config.limits.mem = Some(reader.value(|text| parse_pair(text, Zero::Refused))),
            Opt::Swap => config.limits.swap = reader.value(|text| parse_pair(text, Zero::Allowed)),
            Opt::Psi => config.limits.psi_bp = reader.value(parse_psi),
            Opt::Grace => config.grace_us = reader.value(parse_grace_ms) * 1000,
            Opt::Prefer => config.policy.prefer = Some(reader.value(parse_globs)),
            Opt::Avoid => config.policy.avoid = Some(reader.value(parse_globs)),
            Opt::Unkillables => config.policy.unkillables = Some(reader.value(parse_globs)),
            Opt::KillPgroup => config.kill_pgroup = true,
            Opt::BeforeKill => config.before_kill = Some(reader.value(parse_program)),
            Opt::OnKill => config.on_kill = Some(reader.value(parse_program)),
            Opt::DryRun => config.dry_run = true,
            Opt::Once => config.once = true,
            Opt::Root => options.root = Some(reader.value(parse_any_path)),
            Opt::NoDaemon => options.no_daemon = true,
            Opt::NoSandbox => options.no_sandbox = true,
            Opt::Pidfile => options.pidfile = Some(reader.value(parse_absolute_path)),
            Opt::Log => options.sink = Some(reader.value(parse_sink)),
            Opt::Stats => config.stats = Some(reader.value(parse_replaced)),
            Opt::Verbose => config.verbose = true,
            Opt::Json => options.json = true,
            // The rest of the line is not read.
            Opt::Help | Opt::Version => {
                reader.refuse_value();
                return if row.id == Opt::Help { Command::Help } else { Command::Version };
            }
            Opt::Status | Opt::Check | Opt::Oom if !matches!(command, Command::Guard) => {
                refuse(reader.name, None, "one question at a time")
            }
            Opt::Status => command = Command::Status,
            Opt::Check => command = Command::Check,
            Opt::Oom => command = Command::Oom(reader.pids()),
        }
    }
    let Options { config, no_daemon, sink, root, json, .. } = options;
    if *sink == Some(Sink::Stderr) && !*no_daemon && !config.once && root.is_none() && !crate::is_init() {
        refuse(b"log", Some(OsStr::new("stderr")), "a daemon has none, add --no-daemon");
    }
    if *json && !matches!(command, Command::Status) {
        refuse(b"json", None, "only with --status");
    }
    command
}

const NO_PID: &str = "needs PIDs";

/// A pid as the command line names it, `self` for our own.
fn parse_pid_or_self(text: &[u8]) -> Option<Pid> {
    if text == b"self" { Some(getpid()) } else { parse_pid(text) }
}

/// May both limits be zero?
#[derive(Clone, Copy, PartialEq)]
enum Zero {
    Allowed,
    Refused,
}

fn parse_pair(value: &'static CStr, zero: Zero) -> Result<Pair, &'static str> {
    const SHAPE: &str = "not TERM[,KILL], each a percentage up to 100 or a size with K, M or G";
    let mut parts = value.to_bytes().split(|&byte| byte == b',');
    let mut next = || parts.next().map(|part| parse_amount(part).ok_or(SHAPE)).transpose();
    let term = next()?.ok_or(SHAPE)?;
    let kill = next()?.unwrap_or(term.half());
    if next()?.is_some() {
        return Err(SHAPE);
    }
    if zero == Zero::Refused && matches!(term, Amount::Share(0) | Amount::Kib(0)) {
        return Err("TERM must be above 0");
    }
    match (term, kill) {
        (Amount::Share(term), Amount::Share(kill)) if kill > term => Err("KILL is above TERM"),
        (Amount::Kib(term), Amount::Kib(kill)) if kill > term => Err("KILL is above TERM"),
        (Amount::Share(_), Amount::Kib(_)) | (Amount::Kib(_), Amount::Share(_)) => {
            Err("TERM and KILL must both be percentages or both be sizes")
        }
        _ => Ok(Pair { term, kill }),
    }
}

fn parse_amount(text: &[u8]) -> Option<Amount> {
    let (&last, number) = text.split_last()?;
    let unit_kib = match last {
        b'K' | b'k' => 1,
        b'M' | b'm' => 1024,
        b'G' | b'g' => 1024 * 1024,
        b'%' => return parse_share(number),
        _ => return parse_share(text),
    };
    let kib = parse_u64(number)?.checked_mul(unit_kib)?;
    // Past this every sum of sizes could overflow, and no machine is there.
    (kib < 1 << 50).then_some(Amount::Kib(kib))
}

fn parse_share(text: &[u8]) -> Option<Amount> {
    let share_bp = parse_hundredths(text)?;
    (share_bp <= 10_000).then_some(Amount::Share(share_bp as u32))
}

fn parse_psi(text: &'static CStr) -> Result<u32, &'static str> {
    let text = text.to_bytes();
    match parse_share(text.strip_suffix(b"%").unwrap_or(text)) {
        Some(Amount::Share(share_bp)) if share_bp > 0 => Ok(share_bp),
        _ => Err("not a percentage above 0 and up to 100"),
    }
}

/// A minute: a machine that can wait longer needs no guard.
const MAX_GRACE_MS: u64 = 60_000;

fn parse_grace_ms(text: &'static CStr) -> Result<u64, &'static str> {
    parse_u64(text.to_bytes())
        .filter(|&ms| ms <= MAX_GRACE_MS)
        .ok_or("not a number of milliseconds up to 60000")
}

fn parse_sink(text: &'static CStr) -> Result<Sink, &'static str> {
    const SINKS: [(&[u8], Sink); 3] =
        [(b"stderr", Sink::Stderr), (b"kmsg", Sink::Kmsg), (b"syslog", Sink::Syslog)];
    let sink = SINKS.iter().find(|(name, _)| *name == text.to_bytes());
    sink.map(|&(_, sink)| sink).ok_or("not stderr, kmsg or syslog")
}

fn parse_globs(text: &'static CStr) -> Result<Globs<'static>, &'static str> {
    Globs::parse(text.to_bytes()).map_err(|wrong| match wrong {
        GlobError::EmptyList => "the list is empty",
        GlobError::EmptyItem => "an item of the list is empty",
        GlobError::OpenBracket => "a [ is not closed",
    })
}

/// A path that is used before we change to `/`, and so may be relative.
fn parse_any_path(text: &'static CStr) -> Result<&'static CStr, &'static str> {
    if text.is_empty() { Err("the path is empty") } else { Ok(text) }
}

fn parse_absolute_path(text: &'static CStr) -> Result<&'static CStr, &'static str> {
    match parse_any_path(text)?.to_bytes() {
        [b'/', ..] => Ok(text),
        _ => Err("not an absolute path"),
    }
}

/// A file that will be replaced by another, if there is one: no device, nor a
/// link, which is there for a reason.
fn parse_replaced(text: &'static CStr) -> Result<&'static CStr, &'static str> {
    if text.count_bytes() > MAX_PATH {
        return Err("the path is too long");
    }
    let path = parse_absolute_path(text)?;
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => Err("not a file"),
        _ => Ok(path),
    }
}

fn parse_program(text: &'static CStr) -> Result<&'static CStr, &'static str> {
    let path = parse_absolute_path(text)?;
    let is_file = statat(CWD, path, AtFlags::empty())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    if is_file && accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()).is_ok() {
        Ok(path)
    } else {
        Err("not an executable file")
    }
}
