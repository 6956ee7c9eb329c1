//! bustd, the program: reads the command line, and guards or answers.
//!
//! The entry point is C's, so that the standard library's own start-up code,
//! which needs threads, is not linked. Reading the command line may allocate,
//! from an arena; the guard seals it before it does anything else.
#![no_main]
#![deny(unsafe_code)]

mod check;
mod cli;
mod console;
mod daemon;
mod oom;
#[allow(dead_code, reason = "the build script reads the rest")]
mod options;
mod start;
mod status;

use bustd::monitor::Monitor;
use bustd::sys::arena::{self, Arena};
use bustd::sys::child::Environment;
use bustd::sys::file::fill_standard_streams;
use bustd::sys::sandbox::Filter;
use cli::{Argv, Command, Options};
use console::print;
use core::ffi::{CStr, c_char, c_int};
use rustix::process::getpid;
use start::open_tree;

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
    let closed = fill_standard_streams();
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: by the caller's promise there are so many, and they are C strings
    // that stay as they are.
    let argv = Argv::new((0..count).map(|at| unsafe { CStr::from_ptr(*argv.add(at)) }));
    // SAFETY: by the same promise.
    let environment = unsafe { Environment::new(environ) };
    let mut options = Options::default();
    let command = cli::parse(&argv, &mut options);
    drop(argv);
    match command {
        Command::Guard => {
            // SAFETY: there is one thread, and nobody holds a block: the parser
            // and the arguments are dropped, and options point to the stack.
            unsafe { ARENA.seal() };
            start::guard(&options, closed, environment)
        }
        Command::Help => cli::print_help(),
        Command::Version => print(VERSION.as_bytes()),
        Command::Status => status::show(&options, &open_tree(&options), environment),
        Command::Check => check::show(&options, &open_tree(&options)),
        Command::Oom(pids) => oom::show(&pids, &open_tree(&options), environment),
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

/// Runs the loop, once the code that led here is given up. Not inlined into
/// that code, for it must be outside of it.
#[inline(never)]
pub fn watch(monitor: &mut Monitor<'_>, filter: &mut Filter) {
    #[cfg(startup_section)]
    program::release_startup();
    monitor.run(filter);
}

/// Makes the program's own pages resident and keeps them so, less those of
/// start-up where they have a section.
pub fn hold_program() {
    program::lock();
}

/// Where the linker put the program.
#[allow(unsafe_code)]
mod program {
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

    /// Gives up the code and constants of start-up. They have a section of their
    /// own where the build script's linker script was used.
    #[cfg(startup_section)]
    pub fn release_startup() {
        unsafe extern "C" {
            static __startup_begin: u8;
            static __startup_end: u8;
        }
        let section = (&raw const __startup_begin).addr()..(&raw const __startup_end).addr();
        // SAFETY: the section is a segment of its own, which is not writable.
        unsafe { program::release_startup(section) };
    }
}
