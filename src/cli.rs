//! Arguments to options. Every error is one line that names the option and the
//! value, and ends the program.

use crate::{EXIT_USAGE, complaint, fail_with};
use bustd::kfile::{parse_hundredths, parse_u64};
use bustd::log::Sink;
use bustd::monitor::Settings;
use bustd::pattern::{GlobError, Globs};
use bustd::sys::{self, Arguments};
use bustd::verdict::{Amount, DEFAULT_PSI_BP, DEFAULT_SWAP, Limits, Pair};
use bustd::victim::Policy;
use core::ffi::CStr;

/// `--help`, on one screen.
pub const HELP: &str = "\
Usage: bustd [OPTIONS]     An out-of-memory guard. Sizes: 10%, 512M, 2G.
When to act
  -m, --mem TERM[,KILL]    limits of available memory [10%,5%, at most 2G,1G]
  -s, --swap TERM[,KILL]   limits of free swap, reached as well [10%,5%]
  -p, --psi PERCENT        stall within 10 s that is too much [25]
      --grace MS           from SIGTERM to SIGKILL [1000]
Whom to kill (GLOBS: whole names, as 'sshd|tmux*|[Xx]org')
      --prefer GLOBS       names whose memory counts four times
      --avoid GLOBS        names whose memory counts a quarter
  -u, --unkillables GLOBS  names never killed
  -g, --kill-pgroup        the victim's whole process group
      --before-kill PROG   run PROG before the first signal
      --on-kill PROG       run PROG once the victim is gone
Trying it out
      --dry-run            decide and log, kill nobody
      --once               decide once, then exit
      --root DIR           read DIR/proc and DIR/sys, kill nobody
Running
  -n, --no-daemon          stay in the foreground
      --pidfile PATH       lock PATH [/run/bustd.pid for root's daemon]
      --log SINK           stderr, kmsg or syslog
  -V, --verbose            log changes of state
      --version, --help    and exit
";

/// What the command line asks for.
pub enum Command {
    /// To guard.
    Guard,
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// How to run.
pub struct Options {
    /// What the loop needs.
    pub settings: Settings<'static>,
    /// Stay in the foreground.
    pub no_daemon: bool,
    /// Where lines go, if it was said.
    pub sink: Option<Sink>,
    /// Lock this.
    pub pidfile: Option<&'static CStr>,
    /// Read below this directory.
    pub root: Option<&'static CStr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings {
                limits: Limits { mem: None, swap: DEFAULT_SWAP, psi_bp: DEFAULT_PSI_BP },
                policy: Policy { prefer: None, avoid: None, unkillables: None, only_uid: None },
                grace_us: 1_000_000,
                kill_pgroup: false,
                dry_run: false,
                once: false,
                verbose: false,
                before_kill: None,
                on_kill: None,
            },
            no_daemon: false,
            sink: None,
            pidfile: None,
            root: None,
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
    Verbose,
    Version,
    Help,
}

impl Opt {
    fn takes_value(self) -> bool {
        use Opt::{DryRun, Help, KillPgroup, NoDaemon, Once, Verbose, Version};
        !matches!(self, KillPgroup | DryRun | Once | NoDaemon | Verbose | Version | Help)
    }
}

/// Letter, if any, and name of each option.
const NAMES: [(Opt, u8, &str); 19] = [
    (Opt::Mem, b'm', "mem"),
    (Opt::Swap, b's', "swap"),
    (Opt::Psi, b'p', "psi"),
    (Opt::Grace, NO_LETTER, "grace"),
    (Opt::Prefer, NO_LETTER, "prefer"),
    (Opt::Avoid, NO_LETTER, "avoid"),
    (Opt::Unkillables, b'u', "unkillables"),
    (Opt::KillPgroup, b'g', "kill-pgroup"),
    (Opt::BeforeKill, NO_LETTER, "before-kill"),
    (Opt::OnKill, NO_LETTER, "on-kill"),
    (Opt::DryRun, NO_LETTER, "dry-run"),
    (Opt::Once, NO_LETTER, "once"),
    (Opt::Root, NO_LETTER, "root"),
    (Opt::NoDaemon, b'n', "no-daemon"),
    (Opt::Pidfile, NO_LETTER, "pidfile"),
    (Opt::Log, NO_LETTER, "log"),
    (Opt::Verbose, b'V', "verbose"),
    (Opt::Version, NO_LETTER, "version"),
    (Opt::Help, b'h', "help"),
];

/// No argument holds a NUL.
const NO_LETTER: u8 = 0;

fn shown(text: &[u8]) -> &[u8] {
    &text[..text.len().min(SHOWN_LEN)]
}

fn refuse(option: &str, value: Option<&CStr>, what: &str) -> ! {
    let mut line = complaint();
    line.text("--").text(option);
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
                self.letters = sys::c_suffix(self.letters, 1);
                return Some(Arg::Letter(letter));
            }
            let arg = self.args.next()?;
            match arg.to_bytes() {
                [b'-', ..] if self.only_values => return Some(Arg::Value(arg)),
                b"--" => self.only_values = true,
                [b'-', b'-', name @ ..] => {
                    let len = name.iter().position(|&byte| byte == b'=');
                    self.attached = len.map(|len| sys::c_suffix(arg, b"--=".len() + len));
                    return Some(Arg::Name(&name[..len.unwrap_or(name.len())]));
                }
                [b'-', _, ..] => self.letters = sys::c_suffix(arg, 1),
                _ => return Some(Arg::Value(arg)),
            }
        }
    }

    /// What stands behind the option's equals sign.
    fn after_equals(&self) -> Option<&'static CStr> {
        match self.letters.to_bytes() {
            [b'=', ..] => Some(sys::c_suffix(self.letters, 1)),
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
    fn next_option(&mut self) -> Option<(Opt, &'static str)> {
        let arg = self.next()?;
        let known = NAMES.iter().find(|known| match arg {
            Arg::Letter(letter) => known.1 == letter,
            Arg::Name(name) => known.2.as_bytes() == name,
            Arg::Value(_) => false,
        });
        if let Some(&(option, _, name)) = known {
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
pub fn parse(args: Arguments, options: &mut Options) -> Command {
    let mut reader = Reader { args, letters: c"", attached: None, only_values: false };
    let Options { settings, no_daemon, sink, pidfile, root } = options;
    let mut given = 0_u32;
    while let Some((option, name)) = reader.next_option() {
        let bit = 1 << option as u32;
        if given & bit != 0 {
            refuse(name, None, "given twice");
        }
        given |= bit;
        match option {
            Opt::KillPgroup => settings.kill_pgroup = true,
            Opt::DryRun => settings.dry_run = true,
            Opt::Once => settings.once = true,
            Opt::NoDaemon => *no_daemon = true,
            Opt::Verbose => settings.verbose = true,
            // The rest of the line is not read.
            Opt::Version => return Command::Version,
            Opt::Help => return Command::Help,
            _ => {
                let Some(text) = reader.value() else { refuse(name, None, "needs a value") };
                let value = text.to_bytes();
                let taken = match option {
                    Opt::Mem => parse_pair(value, Zero::Refused).map(|pair| settings.limits.mem = Some(pair)),
                    Opt::Swap => parse_pair(value, Zero::Allowed).map(|pair| settings.limits.swap = pair),
                    Opt::Psi => parse_psi(value).map(|psi_bp| settings.limits.psi_bp = psi_bp),
                    Opt::Grace => parse_grace_ms(value).map(|ms| settings.grace_us = ms * 1000),
                    Opt::Log => parse_sink(value).map(|chosen| *sink = Some(chosen)),
                    Opt::Prefer => parse_globs(value, &mut settings.policy.prefer),
                    Opt::Avoid => parse_globs(value, &mut settings.policy.avoid),
                    Opt::Unkillables => parse_globs(value, &mut settings.policy.unkillables),
                    Opt::BeforeKill => parse_program(text, &mut settings.before_kill),
                    Opt::OnKill => parse_program(text, &mut settings.on_kill),
                    Opt::Pidfile => parse_path(text, Relative::Refused, pidfile),
                    _ => parse_path(text, Relative::Allowed, root),
                };
                if let Err(what) = taken {
                    refuse(name, Some(text), what);
                }
            }
        }
    }
    if *sink == Some(Sink::Stderr) && !*no_daemon && !settings.once && root.is_none() && !crate::is_init() {
        refuse("log", Some(c"stderr"), "a daemon has none, add --no-daemon");
    }
    Command::Guard
}

/// May both limits be zero?
#[derive(Clone, Copy, PartialEq)]
enum Zero {
    Allowed,
    Refused,
}

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

fn parse_program(text: &'static CStr, slot: &mut Option<&'static CStr>) -> Result<(), &'static str> {
    use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, statat};
    parse_path(text, Relative::Refused, slot)?;
    let is_file = statat(CWD, text, AtFlags::empty())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    if is_file && accessat(CWD, text, Access::EXEC_OK, AtFlags::empty()).is_ok() {
        Ok(())
    } else {
        Err("not an executable file")
    }
}
