//! Arguments to options. Every error is one line that names the option and the
//! value, and ends the program.

use crate::{EXIT_USAGE, complaint, fail_with};
use bustd::config::Config;
use bustd::config::limits::{Amount, Pair};
use bustd::config::pattern::{GlobError, Globs};
use bustd::read::kfile::{fields, parse_hundredths, parse_u64};
use bustd::read::listing::parse_pid;
use bustd::read::process::Pid;
use bustd::sys::arguments::{Arguments, c_suffix};
use bustd::tell::log::Sink;
use bustd::tell::stats::MAX_PATH;
use core::ffi::CStr;
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, statat};
use rustix::process::getpid;

/// `--help`, on one screen; tabs, for they are shorter than blanks.
pub const HELP: &str = "\
Usage: bustd [OPTIONS]\tAn out-of-memory guard. Sizes: 10%, 512M, 2G.
When to act
-m, --mem TERM[,KILL]\tlimits of available memory [10%,5%, at most 2G,1G]
-s, --swap TERM[,KILL]\tlimits of free swap, reached as well [10%,5%]
-p, --psi PERCENT\tstall within 10 s that is too much [25]
    --grace MS\t\tfrom SIGTERM to SIGKILL [1000]
Whom to kill (GLOBS: whole names, as 'sshd|tmux*|[Xx]org')
    --prefer GLOBS\tnames whose memory counts four times
    --avoid GLOBS\tnames whose memory counts a quarter
-u, --unkillables GLOBS\tnames never killed
-g, --kill-pgroup\tthe victim's whole process group
    --before-kill PROG\trun PROG before the first signal
    --on-kill PROG\trun PROG once the victim is gone
Looking and trying
    --status [--json]\tshow what it sees, and whom it would choose
    --check\t\tshow whom the GLOBS match
    --oom PID...\tshow the OOM state of processes
    --dry-run, --once\tkill nobody; decide once, then exit
    --root DIR\t\tread DIR/proc and DIR/sys, kill nobody
Running
-n, --no-daemon\t\tstay in the foreground
    --pidfile PATH\tlock PATH [/run/bustd.pid for root's daemon]
    --log SINK\t\tstderr, kmsg or syslog
    --stats FILE\ttell Prometheus of kills in FILE
-V, --verbose\t\tlog changes of state
-h, --help, --version\tand exit
";

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
    /// `--oom`, and what stands behind it, all of it sound: the pids are as
    /// many as they like, and there is no heap.
    Oom(Arguments),
}

/// How to run.
pub struct Options {
    /// What the loop needs.
    pub config: Config<'static>,
    /// Stay in the foreground.
    pub no_daemon: bool,
    /// Where lines go, if it was said.
    pub sink: Option<Sink>,
    /// Lock this.
    pub pidfile: Option<&'static CStr>,
    /// Read below this directory.
    pub root: Option<&'static CStr>,
    /// `--status` for programs.
    pub json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: Config::default(),
            no_daemon: false,
            sink: None,
            pidfile: None,
            root: None,
            json: false,
        }
    }
}

/// Longer values than this are cut in messages: each byte may be shown as four,
/// and the reason comes behind them.
const SHOWN_LEN: usize = 64;

/// An option; its number is its place in [`NAMES`] and its bit in the set of
/// those given.
#[derive(Clone, Copy, PartialEq)]
enum Opt {
    Mem,
    Swap,
    Psi,
    Grace,
    Prefer,
    Avoid,
    Unkillables,
    KillPgroup,
    BeforeKill,
    OnKill,
    DryRun,
    Once,
    Root,
    NoDaemon,
    Pidfile,
    Log,
    Stats,
    Verbose,
    Version,
    Help,
    Status,
    Check,
    Oom,
    Json,
}

impl Opt {
    const ALL: [Self; 24] = [
        Self::Mem,
        Self::Swap,
        Self::Psi,
        Self::Grace,
        Self::Prefer,
        Self::Avoid,
        Self::Unkillables,
        Self::KillPgroup,
        Self::BeforeKill,
        Self::OnKill,
        Self::DryRun,
        Self::Once,
        Self::Root,
        Self::NoDaemon,
        Self::Pidfile,
        Self::Log,
        Self::Stats,
        Self::Verbose,
        Self::Version,
        Self::Help,
        Self::Status,
        Self::Check,
        Self::Oom,
        Self::Json,
    ];

    fn takes_value(self) -> bool {
        // Most of those without stand at the end.
        !matches!(self, Self::KillPgroup | Self::DryRun | Self::Once | Self::NoDaemon)
            && (self as u32) < Self::Verbose as u32
    }
}

/// Letter, or `\0`, which no argument holds, and name of each option, in their
/// order. One text, for it is a third of a table's size.
const NAMES: &str = "mmem sswap ppsi \0grace \0prefer \0avoid uunkillables gkill-pgroup \
    \0before-kill \0on-kill \0dry-run \0once \0root nno-daemon \0pidfile \0log \0stats Vverbose \
    \0version hhelp \0status \0check \0oom \0json";

fn shown(text: &[u8]) -> &[u8] {
    &text[..text.len().min(SHOWN_LEN)]
}

#[cold]
fn refuse(option: &[u8], value: Option<&CStr>, what: &str) -> ! {
    let mut line = complaint();
    line.text("--").bytes(option);
    if let Some(value) = value {
        line.text(" ").quoted(shown(value.to_bytes()));
    }
    fail_with(EXIT_USAGE, line.text(": ").text(what))
}

/// One element of the command line.
enum Arg {
    /// The `x` of `-x`.
    Letter(u8),
    /// The `name` of `--name`.
    Name(&'static [u8]),
    /// Anything else.
    Value(&'static CStr),
}

/// Reads a command line as getopt_long(3) does, less abbreviated names.
struct Reader {
    args: Arguments,
    /// Behind the letter just read: its value or further letters.
    letters: &'static CStr,
    /// Behind the name just read, as in `--name=value`.
    attached: Option<&'static CStr>,
    /// Past `--`.
    only_values: bool,
}

impl Reader {
    fn next(&mut self) -> Option<Arg> {
        loop {
            if let Some(&letter) = self.letters.to_bytes().first() {
                self.letters = c_suffix(self.letters, 1);
                return Some(Arg::Letter(letter));
            }
            let arg = self.args.next()?;
            match arg.to_bytes() {
                [b'-', ..] if self.only_values => return Some(Arg::Value(arg)),
                b"--" => self.only_values = true,
                [b'-', b'-', name @ ..] => {
                    let len = name.iter().position(|&byte| byte == b'=');
                    self.attached = len.map(|len| c_suffix(arg, b"--=".len() + len));
                    return Some(Arg::Name(&name[..len.unwrap_or(name.len())]));
                }
                [b'-', _, ..] => self.letters = c_suffix(arg, 1),
                _ => return Some(Arg::Value(arg)),
            }
        }
    }

    /// What stands behind the option's equals sign.
    #[cold]
    fn after_equals(&self) -> Option<&'static CStr> {
        match self.letters.to_bytes() {
            [b'=', ..] => Some(c_suffix(self.letters, 1)),
            _ => self.attached,
        }
    }

    /// The value of the option just read: attached, or else the next argument.
    fn value(&mut self) -> Option<&'static CStr> {
        let attached = self.after_equals().or((!self.letters.is_empty()).then_some(self.letters));
        self.letters = c"";
        self.attached = None;
        attached.or_else(|| self.args.next())
    }

    /// The next option and its name; `None` after the last.
    #[cold]
    fn next_option(&mut self) -> Option<(Opt, &'static [u8])> {
        let arg = self.next()?;
        let is_asked_for = |known: &[u8]| match arg {
            Arg::Letter(letter) => known[0] == letter,
            Arg::Name(name) => known[1..] == *name,
            Arg::Value(_) => false,
        };
        let known = fields(NAMES.as_bytes()).enumerate().find(|(_, known)| is_asked_for(known));
        if let Some((at, known)) = known {
            let (option, name) = (Opt::ALL[at], &known[1..]);
            if !option.takes_value()
                && let Some(value) = self.after_equals()
            {
                refuse(name, Some(value), "takes no value");
            }
            return Some((option, name));
        }
        let mut line = complaint();
        let what = match arg {
            Arg::Letter(letter) => line.text("-").escaped(&[letter]).text(UNKNOWN),
            Arg::Name(name) => line.text("--").escaped(shown(name)).text(UNKNOWN),
            Arg::Value(value) => line.quoted(shown(value.to_bytes())).text(": unexpected argument"),
        };
        fail_with(EXIT_USAGE, what.text(", see --help"))
    }
}

const UNKNOWN: &str = ": unknown option";

/// Parses the command line, less the program's name, into `options`.
#[cold]
pub fn parse(args: Arguments, options: &mut Options) -> Command {
    let mut reader = Reader { args, letters: c"", attached: None, only_values: false };
    let Options { config, no_daemon, sink, pidfile, root, json } = options;
    let mut given = 0_u32;
    let mut command = Command::Guard;
    while let Some((option, name)) = reader.next_option() {
        let bit = 1 << option as u32;
        if given & bit != 0 {
            refuse(name, None, "given twice");
        }
        given |= bit;
        match option {
            Opt::KillPgroup => config.kill_pgroup = true,
            Opt::DryRun => config.dry_run = true,
            Opt::Once => config.once = true,
            Opt::NoDaemon => *no_daemon = true,
            Opt::Verbose => config.verbose = true,
            // The rest of the line is not read.
            Opt::Version => return Command::Version,
            Opt::Help => return Command::Help,
            Opt::Json => *json = true,
            Opt::Status | Opt::Check | Opt::Oom if !matches!(command, Command::Guard) => {
                refuse(name, None, "one question at a time")
            }
            Opt::Status => command = Command::Status,
            Opt::Check => command = Command::Check,
            Opt::Oom => {
                command = Command::Oom(reader.args.clone());
                let mut any = false;
                for pid in reader.args.by_ref() {
                    if parse_pid_or_self(pid.to_bytes()).is_none() {
                        refuse(name, Some(pid), NO_PID);
                    }
                    any = true;
                }
                if !any {
                    refuse(name, None, NO_PID);
                }
            }
            _ => {
                let Some(text) = reader.value() else { refuse(name, None, "needs a value") };
                let value = text.to_bytes();
                let taken = match option {
                    Opt::Mem => parse_pair(value, Zero::Refused).map(|pair| config.limits.mem = Some(pair)),
                    Opt::Swap => parse_pair(value, Zero::Allowed).map(|pair| config.limits.swap = pair),
                    Opt::Psi => parse_psi(value).map(|psi_bp| config.limits.psi_bp = psi_bp),
                    Opt::Grace => parse_grace_ms(value).map(|ms| config.grace_us = ms * 1000),
                    Opt::Log => parse_sink(value).map(|chosen| *sink = Some(chosen)),
                    Opt::Prefer => parse_globs(value, &mut config.policy.prefer),
                    Opt::Avoid => parse_globs(value, &mut config.policy.avoid),
                    Opt::Unkillables => parse_globs(value, &mut config.policy.unkillables),
                    Opt::BeforeKill => parse_program(text, &mut config.before_kill),
                    Opt::OnKill => parse_program(text, &mut config.on_kill),
                    Opt::Pidfile => parse_path(text, Relative::Refused, pidfile),
                    Opt::Stats if value.len() > MAX_PATH => Err("the path is too long"),
                    Opt::Stats => parse_replaced(text, &mut config.stats),
                    _ => parse_path(text, Relative::Allowed, root),
                };
                if let Err(what) = taken {
                    refuse(name, Some(text), what);
                }
            }
        }
    }
    if *sink == Some(Sink::Stderr) && !*no_daemon && !config.once && root.is_none() && !crate::is_init() {
        refuse(b"log", Some(c"stderr"), "a daemon has none, add --no-daemon");
    }
    if *json && !matches!(command, Command::Status) {
        refuse(b"json", None, "only with --status");
    }
    command
}

const NO_PID: &str = "needs PIDs";

/// A pid as the command line names it, `self` for our own.
#[cold]
pub fn parse_pid_or_self(text: &[u8]) -> Option<Pid> {
    if text == b"self" { Some(getpid()) } else { parse_pid(text) }
}

/// May both limits be zero?
#[derive(Clone, Copy, PartialEq)]
enum Zero {
    Allowed,
    Refused,
}

#[cold]
fn parse_pair(value: &[u8], zero: Zero) -> Result<Pair, &'static str> {
    const SHAPE: &str = "not TERM[,KILL], each a percentage up to 100 or a size with K, M or G";
    let mut parts = value.split(|&byte| byte == b',');
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

#[cold]
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

#[cold]
fn parse_share(text: &[u8]) -> Option<Amount> {
    let share_bp = parse_hundredths(text)?;
    (share_bp <= 10_000).then_some(Amount::Share(share_bp as u32))
}

fn parse_psi(text: &[u8]) -> Result<u32, &'static str> {
    match parse_share(text.strip_suffix(b"%").unwrap_or(text)) {
        Some(Amount::Share(share_bp)) if share_bp > 0 => Ok(share_bp),
        _ => Err("not a percentage above 0 and up to 100"),
    }
}

/// A minute: a machine that can wait longer needs no guard.
const MAX_GRACE_MS: u64 = 60_000;

fn parse_grace_ms(text: &[u8]) -> Result<u64, &'static str> {
    parse_u64(text).filter(|&ms| ms <= MAX_GRACE_MS).ok_or("not a number of milliseconds up to 60000")
}

fn parse_sink(text: &[u8]) -> Result<Sink, &'static str> {
    match text {
        b"stderr" => Ok(Sink::Stderr),
        b"kmsg" => Ok(Sink::Kmsg),
        b"syslog" => Ok(Sink::Syslog),
        _ => Err("not stderr, kmsg or syslog"),
    }
}

#[cold]
fn parse_globs(text: &'static [u8], slot: &mut Option<Globs<'static>>) -> Result<(), &'static str> {
    *slot = Some(Globs::parse(text).map_err(|wrong| match wrong {
        GlobError::EmptyList => "the list is empty",
        GlobError::EmptyItem => "an item of the list is empty",
        GlobError::OpenBracket => "a [ is not closed",
    })?);
    Ok(())
}

/// May a path be relative? Not one that is used after we changed to `/`.
#[derive(Clone, Copy, PartialEq)]
enum Relative {
    Allowed,
    Refused,
}

#[cold]
fn parse_path(
    text: &'static CStr,
    relative: Relative,
    slot: &mut Option<&'static CStr>,
) -> Result<(), &'static str> {
    match text.to_bytes().first() {
        None => return Err("the path is empty"),
        Some(b'/') => {}
        Some(_) if relative == Relative::Allowed => {}
        Some(_) => return Err("not an absolute path"),
    }
    *slot = Some(text);
    Ok(())
}

/// A file that will be replaced by another, if there is one: no device, nor a
/// link, which is there for a reason.
#[cold]
fn parse_replaced(text: &'static CStr, slot: &mut Option<&'static CStr>) -> Result<(), &'static str> {
    parse_path(text, Relative::Refused, slot)?;
    match statat(CWD, text, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => Err("not a file"),
        _ => Ok(()),
    }
}

#[cold]
fn parse_program(text: &'static CStr, slot: &mut Option<&'static CStr>) -> Result<(), &'static str> {
    parse_path(text, Relative::Refused, slot)?;
    let is_file = statat(CWD, text, AtFlags::empty())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    if is_file && accessat(CWD, text, Access::EXEC_OK, AtFlags::empty()).is_ok() {
        Ok(())
    } else {
        Err("not an executable file")
    }
}
