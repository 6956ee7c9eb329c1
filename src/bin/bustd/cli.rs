//! What the options of the command line and of a file say, each and together.

use crate::amount::{Zero, parse_psi};
use crate::asked;
use crate::conf;
use crate::console::{EXIT_USAGE, complaint, fail, fail_with, print};
use crate::daemon::is_init;
use crate::options::Opt;
use crate::place::{Place, push_value};
use crate::reader::{Argv, Reader};
use crate::values::*;
use bustd::config::Config;
use bustd::config::command::{ExitMap, Forward};
use bustd::read::process::Pid;
use bustd::sys::line::named;
use bustd::sys::time::SECOND;
use bustd::tell::log::Sink;
use core::ffi::{CStr, c_int};
use lexopt::Parser;
use std::ffi::OsStr;

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
    pub rules: asked::Asked,
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

const WITHOUT_INIT: &str = "this bustd was built without the init that runs a COMMAND";

/// Ends the program for a COMMAND where there is none.
fn refuse_command(name: &CStr) -> ! {
    let mut line = complaint();
    push_value(&mut line, name.to_bytes());
    fail_with(EXIT_USAGE, line.text(named!(": unexpected argument, see --help")))
}

impl Reader<'_> {
    /// Reads what there is into `options`, up to the first of COMMAND.
    fn read(&mut self, options: &mut Options, rules: &mut asked::Given) -> Command {
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
        if *sink == Some(Sink::Stderr) && !*no_daemon && !config.once && root.is_none() && !is_init() {
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
            let why = named!("-V: alone it starts no guard; write --version or --verbose");
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
}

/// Reads the command line, the program's name first, into `options`, and from a file
/// what it does not say.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn parse(argv: &Argv, options: &mut Options) -> Command {
    let whole_line = || Reader::new(Some(argv), argv.parser(), Place::default());
    let mut reader = whole_line();
    let mut rules = asked::Given::default();
    let mut command = reader.read(options, &mut rules);
    // A captured machine is not to be judged by a file of this one.
    let has_file = options.config_file.is_some() || options.root.is_none();
    if has_file && matches!(command, Command::Guard | Command::Status | Command::Check) {
        let mut given = 0;
        let is_there = conf::for_each_line(options.config_file, &mut |place, arg| {
            let mut reader = Reader::new(None, Parser::from_args([arg]), place);
            reader.given = given;
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
        options.rules = rules.finish(matches!(command, Command::Guard), options.config.once, has_limits);
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
