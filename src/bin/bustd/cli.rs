//! Reads the command line. Every error is one line that names the option and
//! the value, and ends the program.

use crate::amount::{NO_UNIT, Zero, parse_pair, parse_psi};
use crate::conf;
use crate::console::{EXIT_FAILURE, EXIT_USAGE, complaint, fail, fail_with, print};
use crate::foreign::push_ours;
use crate::options::Opt;
use crate::place::{Place, push_value, shown};
use crate::rows::{ROWS, Row};
use crate::rules;
use crate::values::*;
use bustd::config::Config;
use bustd::config::command::{ExitMap, Forward};
use bustd::config::limits::Pair;
use bustd::config::pattern::{GlobError, Globs, names_of_regular_expression};
use bustd::read::kfile::parse_u64;
use bustd::read::process::{Comm, Pid};
use bustd::sys::kept::keep;
use bustd::sys::line::named;
use bustd::sys::time::SECOND;
use bustd::tell::log::Sink;
use core::ffi::{CStr, c_int};
use lexopt::{Arg, Parser, RawArgs};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

// `--help`, which the build script renders from the table of options.
include!(concat!(env!("OUT_DIR"), "/help.rs"));

/// Prints `--help`; the exit status.
pub fn print_help() -> c_int {
    print(&HELP)
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
    /// `--rules`, and what goes with it.
    #[cfg(feature = "rules")]
    pub rules: rules::Asked,
    /// Read options from this file.
    pub config_file: Option<&'static CStr>,
    /// `--status` or `--oom` for programs.
    pub json: bool,
    /// Show `--status` again every so many seconds.
    pub watch_s: Option<u32>,
    /// Where to say that we watch, for s6.
    pub ready_fd: Option<u32>,
    /// Which argument is the first of what to run.
    pub command: Option<usize>,
    /// The signal we are sent when our parent dies, and the command when we do; or 0.
    pub parent_death: u8,
    /// Where it is told why the command was killed.
    pub termination_log: Option<&'static CStr>,
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

const WITHOUT_INIT: &str = "this bustd was built without the init that runs a COMMAND";

/// Ends the program for a COMMAND where there is none.
fn refuse_command(name: &CStr) -> ! {
    let mut line = complaint();
    push_value(&mut line, name.to_bytes());
    fail_with(EXIT_USAGE, line.text(named!(": unexpected argument, see --help")))
}

/// One number or two.
type Small = [u8; 2];

/// The options of a command line, or of a line of a file, that are being read.
pub struct Reader<'a> {
    /// None for a file.
    argv: Option<&'a Argv>,
    parser: Parser,
    place: Place,
    /// The option now being read.
    name: &'static [u8],
    /// Those that were there, a bit each.
    given: u64,
    /// One that is only about COMMAND.
    needs_command: Option<&'static [u8]>,
    /// Where COMMAND is.
    command_at: Option<usize>,
}

impl<'a> Reader<'a> {
    fn new(argv: Option<&'a Argv>, parser: Parser, place: Place) -> Self {
        Self { argv, parser, place, name: b"", given: 0, needs_command: None, command_at: None }
    }

    /// The next option; `None` after the last, and where COMMAND begins. The one
    /// before may have been given a value that it does not take.
    fn next(&mut self) -> Option<&'static Row> {
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

    fn refuse(&self, value: Option<&CStr>, what: &str) -> ! {
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
    fn limits(&mut self, zero: Zero) -> Pair {
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
    fn globs(&mut self) -> Globs<'static> {
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
    fn small(&mut self, parse: fn(&'static CStr) -> Result<Small, &'static str>) -> Small {
        self.value(parse)
    }

    /// For an option that ends the reading: a value it was given is refused all
    /// the same.
    fn refuse_value(&mut self) {
        if let Err(error) = self.parser.next() {
            self.place.refuse_error(self.name, &error);
        }
    }

    /// What is left of the line.
    fn rest(&mut self) -> RawArgs<'_> {
        self.parser.raw_args().unwrap_or_else(|error| self.place.refuse_error(self.name, &error))
    }

    /// What is left of the line, read as pids; `--json` may stand between them.
    fn pids(&mut self, json: &mut bool) -> Vec<Pid> {
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

    /// Reads what there is into `options`, up to the first of COMMAND.
    fn read(&mut self, options: &mut Options, rules: &mut rules::Given) -> Command {
        let mut command = Command::Guard;
        while let Some(row) = self.next() {
            self.name = row.name.as_bytes();
            if self.place.file.is_some() && !is_for_files(row.id) {
                self.refuse(None, named!("only on the command line"));
            }
            if is_about_command(row.id) {
                if !cfg!(feature = "init") {
                    self.refuse(None, WITHOUT_INIT);
                }
                self.needs_command = Some(self.name);
            }
            let bit = 1 << row.id as u64;
            if self.given & bit != 0 {
                self.refuse(None, named!("given twice"));
            }
            self.given |= bit;
            let config = &mut options.config;
            match row.id {
                Opt::Scope => config.scope = self.value(parse_scope),
                Opt::Mem => config.limits.mem = Some(self.limits(Zero::Refused)),
                Opt::Swap => config.limits.swap = self.limits(Zero::Allowed),
                Opt::Psi => config.limits.psi_bp = self.value(parse_psi),
                Opt::Grace => config.grace_us = self.value(parse_grace_ms) * 1000,
                Opt::Prefer => config.policy.prefer = Some(self.globs()),
                Opt::Avoid => config.policy.avoid = Some(self.globs()),
                Opt::Unkillables => config.policy.unkillables = Some(self.globs()),
                Opt::KillPgroup => config.kill_pgroup = true,
                Opt::KillCgroup => config.kill_cgroup = true,
                Opt::BeforeKill => config.before_kill = Some(self.value(parse_program)),
                Opt::OnKill => config.on_kill = Some(self.value(parse_program)),
                Opt::DryRun => config.dry_run = true,
                Opt::Once => config.once = true,
                Opt::Root => options.root = Some(self.value(parse_any_path)),
                Opt::Config => options.config_file = Some(self.value(parse_any_path)),
                Opt::NoDaemon => options.no_daemon = true,
                Opt::NoSandbox => options.no_sandbox = true,
                Opt::Pidfile => options.pidfile = Some(self.value(parse_replaced)),
                Opt::Log => options.sink = Some(self.value(parse_sink)),
                Opt::Report => config.report_us = Some(self.value(parse_seconds) * SECOND),
                Opt::Stats => config.stats = Some(self.value(parse_replaced)),
                Opt::ReadyFd => options.ready_fd = Some(self.value(parse_descriptor)),
                Opt::Verbose => config.verbose = true,
                Opt::Json => options.json = true,
                Opt::Watch => options.watch_s = Some(self.watch_s()),
                Opt::Forward => config.forward = Forward::of(self.small(parse_forward)),
                Opt::MapExit => config.exits = ExitMap(self.small(parse_exit_map)),
                Opt::Pdeathsig => [options.parent_death, _] = self.small(parse_death_signal),
                Opt::TerminationLog => options.termination_log = Some(self.value(parse_absolute_path)),
                // The rest of the line is not read.
                Opt::Help | Opt::Version => {
                    self.refuse_value();
                    return if row.id == Opt::Help { Command::Help } else { Command::Version };
                }
                Opt::Status | Opt::Check | Opt::Oom if !matches!(command, Command::Guard) => {
                    self.refuse(None, named!("one question at a time"))
                }
                Opt::Status => command = Command::Status,
                Opt::Check => command = Command::Check,
                Opt::Oom => command = Command::Oom(self.pids(&mut options.json)),
                // Those of rules.
                _ => rules.take(row.id, self),
            }
        }
        command
    }

    /// What the options mean together.
    fn finish(&self, command: &Command, options: &mut Options) {
        let Options { config, no_daemon, sink, root, json, watch_s, .. } = options;
        let is_guard = matches!(command, Command::Guard);
        if let (Some(at), Some(argv)) = (self.command_at, self.argv) {
            if !cfg!(feature = "init") {
                fail(EXIT_USAGE, WITHOUT_INIT);
            }
            if !is_guard || config.once || root.is_some() || *json {
                refuse_command(argv.0[at]);
            }
            options.command = Some(at);
            *no_daemon = true;
            *sink = sink.or(Some(Sink::Stderr));
        } else if let Some(name) = self.needs_command {
            self.place.refuse(name, None, named!("only with COMMAND"));
        }
        if *sink == Some(Sink::Stderr) && !*no_daemon && !config.once && root.is_none() && !crate::is_init() {
            self.place.refuse(
                b"log",
                Some(OsStr::new("stderr")),
                named!("a daemon has none, add --no-daemon"),
            );
        }
        // Most programs tell their version for that, and nobody who asks wants a guard.
        if let Some(argv) = self.argv
            && let [_, letter] = argv.0[..]
            && letter == c"-V"
        {
            let why = named!("-V: alone it starts no guard; write --version for the version, or --verbose");
            fail(EXIT_USAGE, why);
        }
        let is_status = matches!(command, Command::Status);
        if *json && !is_status && !matches!(command, Command::Oom(_)) {
            self.place.refuse(b"json", None, named!("only with --status or --oom"));
        }
        if watch_s.is_some() && !is_status {
            self.place.refuse(b"watch", None, named!("only with --status"));
        }
    }

    /// The seconds of `--watch`, which may be left out.
    fn watch_s(&mut self) -> u32 {
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

/// Reads the command line, the program's name first, into `options`, and from a file
/// what it does not say.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn parse(argv: &Argv, options: &mut Options) -> Command {
    let whole_line = || Reader::new(Some(argv), argv.parser(), Place::default());
    let mut reader = whole_line();
    let mut rules = rules::Given::default();
    let mut command = reader.read(options, &mut rules);
    // A captured machine is not to be judged by a file of this one.
    let has_file = options.config_file.is_some() || options.root.is_none();
    if has_file && matches!(command, Command::Guard | Command::Status | Command::Check) {
        let mut given = 0;
        let is_there = conf::for_each_line(options.config_file, &mut |place, arg| {
            let mut reader = Reader { given, ..Reader::new(None, Parser::from_args([arg]), place) };
            let _ = reader.read(options, &mut rules);
            given = reader.given;
        });
        if is_there {
            // Once more, over what the file says.
            reader = whole_line();
            command = reader.read(options, &mut rules);
            reader.given |= given;
        }
    }
    if !matches!(command, Command::Help | Command::Version) {
        let has_limits = [Opt::Mem, Opt::Swap, Opt::Psi].iter().any(|id| reader.given >> *id as u32 & 1 == 1);
        reader.finish(&command, options);
        rules.finish(options, matches!(command, Command::Guard), has_limits);
    }
    command
}

/// May this stand in a file? What asks instead of guarding may not.
fn is_for_files(id: Opt) -> bool {
    !is_about_command(id)
        && !matches!(
            id,
            Opt::Status
                | Opt::Json
                | Opt::Watch
                | Opt::Check
                | Opt::Oom
                | Opt::Once
                | Opt::Root
                | Opt::Config
                | Opt::ReadyFd
                | Opt::Help
                | Opt::Version
        )
}

fn is_about_command(id: Opt) -> bool {
    (Opt::Forward as u32..=Opt::TerminationLog as u32).contains(&(id as u32))
}
