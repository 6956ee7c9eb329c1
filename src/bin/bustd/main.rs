//! bustd, the program: reads the command line, and guards or answers.
//!
//! The entry point is C's, so that the standard library's own start-up code,
//! which needs threads, is not linked. Reading the command line may allocate,
//! from an arena; the guard seals it before it does anything else.
#![no_main]
#![deny(unsafe_code)]

mod again;
mod amount;
#[cfg_attr(not(feature = "rules"), path = "without_rules.rs")]
mod asked;
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
#[allow(unsafe_code)]
mod program;
mod reader;
mod rows;
#[cfg(feature = "rules")]
mod rules;
mod sole;
#[cfg(feature = "rules")]
mod standing;
mod start;
mod status;
mod values;

use bustd::sys::arena::{self, Arena};
use bustd::sys::child::{Arguments, Environment};
use bustd::sys::file::fill_standard_streams;
use bustd::sys::signals::Held;
use cli::{Command, Options};
use console::{leave, print};
use core::ffi::{CStr, c_char, c_int};
use daemon::is_init;
use reader::Argv;
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
