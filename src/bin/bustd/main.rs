//! bustd, the program: reads the command line, and guards or answers.
//!
//! The entry point is C's, so that the standard library's own start-up code,
//! which needs threads, is not linked. Reading the command line may allocate,
//! from an arena; the guard seals it before it does anything else.
#![no_main]
#![deny(unsafe_code)]

mod again;
mod amount;
mod check;
mod cli;
#[cfg(feature = "rules")]
mod concern;
mod conf;
mod console;
mod daemon;
mod foreign;
mod glance;
mod oom;
#[allow(dead_code, reason = "the build script reads the rest")]
mod options;
mod pidfile;
mod place;
mod rows;
#[cfg_attr(not(feature = "rules"), path = "without_rules.rs")]
mod rules;
mod sole;
#[cfg(feature = "rules")]
mod standing;
mod start;
mod status;
mod values;

use bustd::act::command::Outcome;
use bustd::monitor::Monitor;
use bustd::sys::arena::{self, Arena};
use bustd::sys::child::{Arguments, Environment};
use bustd::sys::file::fill_standard_streams;
use bustd::sys::power;
use bustd::sys::sandbox::Filter;
use bustd::sys::signals::Held;
use cli::{Argv, Command, Options};
use console::{leave, print};
use core::ffi::{CStr, c_char, c_int};
use pidfile::Pidfile;
use rustix::process::getpid;
use start::{find_scope, keep, open_tree};

#[global_allocator]
static ARENA: Arena = Arena::new();

/// Name, version, commit and target.
const VERSION: &str = concat!("bustd ", env!("CARGO_PKG_VERSION"), " (", env!("BUSTD_BUILD"), ")\n");

/// Where the C library enters.
///
/// # Safety
/// `argv` holds `argc` NUL-terminated strings, and `environ` such strings up to a
/// null pointer; they are never written to or freed, as main(3) is given them.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(
    argc: c_int,
    argv: *const *const c_char,
    environ: *const *const c_char,
) -> c_int {
    let held = if is_init() { Held::hold() } else { Held::default() };
    let closed = fill_standard_streams();
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: by the caller's promise there are so many, and they are C strings
    // that stay as they are.
    let args = Argv::new((0..count).map(|at| unsafe { CStr::from_ptr(*argv.add(at)) }));
    // SAFETY: by the same promise.
    let environment = unsafe { Environment::new(environ) };
    let options = keep(Options::default());
    let command = cli::parse(&args, options);
    drop(args);
    if let Command::Guard = command {
        // SAFETY: there is one thread, and nobody holds a block: the parser
        // and the arguments are dropped, and options point to the stack.
        unsafe { ARENA.seal() };
        // SAFETY: one of them, and there is a null pointer behind the last.
        let program = options.command.map(|at| unsafe { Arguments::new(argv.add(at)) });
        start::guard(options, program, held, closed, environment)
    }
    leave(answer(command, options, environment))
}

/// Answers a question.
// Out of line, so that the guard does not run below what that takes.
#[inline(never)]
fn answer(command: Command, options: &Options, environment: Environment) -> c_int {
    let tree = || open_tree(options);
    match command {
        Command::Guard | Command::Help => cli::print_help(),
        Command::Version => print(VERSION.as_bytes()),
        Command::Status => {
            let tree = tree();
            status::show(options, &tree, &find_scope(options, &tree), environment)
        }
        Command::Check => {
            let tree = tree();
            check::show(options, &tree, &find_scope(options, &tree))
        }
        Command::Oom(pids) => oom::show(&pids, options, &tree(), environment),
    }
}

/// Takes the place of the C library's; [`arena::abort`] says why. The standard
/// library ends with it what it cannot go on with; a panic of the small build
/// is a trap, which is our own as well.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn abort() -> ! {
    arena::abort()
}

/// Are we process 1?
pub fn is_init() -> bool {
    getpid().is_init()
}

/// What a guard does beyond watching the machine's memory. Code that only one of these
/// needs has a section of its own, and is given up by a guard without it.
#[derive(Clone, Copy)]
#[cfg_attr(not(startup_section), allow(dead_code, reason = "there are no sections"))]
pub struct Uses {
    /// It runs a command.
    pub command: bool,
    /// It tells of kills in a file or on its pidfile.
    pub stats: bool,
    /// It has patterns to hold against processes.
    pub patterns: bool,
    /// It runs programs at a kill.
    pub hooks: bool,
    /// It guards a cgroup, or may come to.
    pub cgroup: bool,
    /// It has rules, which may use all the rest too.
    pub rules: bool,
}

/// Gives up the code that led here but for what is `kept`, runs the loop, and ends the
/// program: there is nothing left to return to. Not inlined into that code, for it must
/// be outside of it.
#[inline(never)]
pub fn watch(
    monitor: &mut Monitor<'_>,
    filter: &mut Filter,
    pidfile: Option<&Pidfile>,
    kept: &program::Kept,
) -> ! {
    program::release_startup(kept);
    let Outcome { status, power } = monitor.run(filter);
    if let Some(pidfile) = pidfile {
        pidfile.remove();
    }
    power::end(status.into(), power)
}

/// Makes the program's own pages resident and keeps them so, less those of
/// start-up where they have a section, and of what is not used.
pub fn hold_program(kept: &program::Kept) {
    program::lock();
    program::lock_kept(kept);
}

/// What a guard can give up after reading rules, for it comes back from the file.
#[cfg(feature = "rules")]
pub fn parser_pages() -> bustd::sys::program::Pages {
    #[cfg(startup_section)]
    return program::parser_pages();
    #[cfg(not(startup_section))]
    bustd::sys::program::Pages::NONE
}

/// Where the linker put the program.
#[allow(unsafe_code)]
mod program {
    use super::Uses;
    use bustd::sys::program;

    unsafe extern "C" {
        static __executable_start: u8;
        static edata: u8;
    }

    /// Locks what the loop and a kill need, from the first byte to the last that
    /// the file holds.
    pub fn lock() {
        // SAFETY: linkers define both, as the ends of what is mapped of the file,
        // but for the section below, which lies behind that.
        unsafe { program::lock_program((&raw const __executable_start).addr()..(&raw const edata).addr()) };
    }

    /// What is kept of the sections that not every guard uses, in their order.
    #[cfg(startup_section)]
    pub type Kept = [core::ops::Range<usize>; sections::COUNT];
    #[cfg(not(startup_section))]
    pub struct Kept;

    /// The sections of start-up and of what not every guard uses. Only the small build,
    /// where the linker refuses references to them, has them apart.
    #[cfg(startup_section)]
    mod sections {
        use core::ops::Range;

        unsafe extern "C" {
            static __startup_begin: u8;
            static __command_begin: u8;
            static __stats_begin: u8;
            static __patterns_begin: u8;
            static __hooks_begin: u8;
            static __cgroup_begin: u8;
            static __parser_begin: u8;
            static __rules_begin: u8;
            static __sections_end: u8;
        }

        pub const COUNT: usize = 6;

        /// All of them.
        pub fn all() -> Range<usize> {
            (&raw const __startup_begin).addr()..(&raw const __sections_end).addr()
        }

        /// What reads rules.
        #[cfg(feature = "rules")]
        pub fn parser() -> Range<usize> {
            (&raw const __parser_begin).addr()..(&raw const __rules_begin).addr()
        }

        /// Those but start-up.
        pub fn seldom_used() -> [Range<usize>; COUNT] {
            let command = (&raw const __command_begin).addr();
            let stats = (&raw const __stats_begin).addr();
            let patterns = (&raw const __patterns_begin).addr();
            let hooks = (&raw const __hooks_begin).addr();
            let cgroup = (&raw const __cgroup_begin).addr();
            let parser = (&raw const __parser_begin).addr();
            [
                command..stats,
                stats..patterns,
                patterns..hooks,
                hooks..cgroup,
                cgroup..parser,
                parser..all().end,
            ]
        }
    }

    /// What a guard keeps.
    #[cfg(startup_section)]
    pub fn kept_for(uses: &Uses) -> Kept {
        let Uses { command, stats, patterns, hooks, cgroup, rules } = *uses;
        let used = [command, stats, patterns || rules, hooks || rules, cgroup || rules, rules];
        let mut kept = sections::seldom_used();
        for (part, is_used) in kept.iter_mut().zip(used) {
            if !is_used {
                *part = 0..0;
            }
        }
        kept
    }

    /// The same where there are no sections.
    #[cfg(not(startup_section))]
    pub fn kept_for(_: &Uses) -> Kept {
        Kept
    }

    /// The pages of what reads rules.
    #[cfg(all(startup_section, feature = "rules"))]
    pub fn parser_pages() -> program::Pages {
        // SAFETY: a part of a segment that is not writable, and the end of the program.
        unsafe { program::Pages::new(sections::parser(), sections::all().end) }
    }

    /// Locks what is kept.
    pub fn lock_kept(kept: &Kept) {
        let _ = kept;
        #[cfg(startup_section)]
        for part in kept {
            // SAFETY: the ends of what is mapped there of the program.
            unsafe { program::lock_program(part.clone()) };
        }
    }

    /// Gives up the code and constants of start-up, and of all that is not kept.
    pub fn release_startup(kept: &Kept) {
        let _ = kept;
        #[cfg(startup_section)]
        // SAFETY: the sections are a segment of their own. The linker refuses references
        // to them, but from those that are used along with them.
        unsafe {
            program::release_startup(sections::all(), kept);
        }
    }
}
