//! Where the linker put the program, and what a guard keeps of it.

use crate::pidfile::Pidfile;
use bustd::act::command::Outcome;
use bustd::monitor::Monitor;
use bustd::sys::power;
use bustd::sys::program;
use bustd::sys::sandbox::Filter;

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
pub fn watch(monitor: &mut Monitor<'_>, filter: &mut Filter, pidfile: Option<&Pidfile>, kept: &Kept) -> ! {
    release_startup(kept);
    let Outcome { status, power } = monitor.run(filter);
    if let Some(pidfile) = pidfile {
        pidfile.remove();
    }
    power::end(status.into(), power)
}

/// Makes the program's own pages resident and keeps them so, less those of
/// start-up where they have a section, and of what is not used.
pub fn hold_program(kept: &Kept) {
    lock();
    lock_kept(kept);
}

unsafe extern "C" {
    static __executable_start: u8;
    static edata: u8;
}

/// Locks what the loop and a kill need, from the first byte to the last that
/// the file holds.
fn lock() {
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
        [command..stats, stats..patterns, patterns..hooks, hooks..cgroup, cgroup..parser, parser..all().end]
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

/// What a guard can give up after reading rules, for it comes back from the file.
#[cfg(feature = "rules")]
pub fn parser_pages() -> program::Pages {
    #[cfg(startup_section)]
    // SAFETY: a part of a segment that is not writable, and the end of the program.
    return unsafe { program::Pages::new(sections::parser(), sections::all().end) };
    #[cfg(not(startup_section))]
    program::Pages::NONE
}

/// Locks what is kept.
fn lock_kept(kept: &Kept) {
    let _ = kept;
    #[cfg(startup_section)]
    for part in kept {
        // SAFETY: the ends of what is mapped there of the program.
        unsafe { program::lock_program(part.clone()) };
    }
}

/// Gives up the code and constants of start-up, and of all that is not kept.
fn release_startup(kept: &Kept) {
    let _ = kept;
    #[cfg(startup_section)]
    // SAFETY: the sections are a segment of their own. The linker refuses references
    // to them, but from those that are used along with them.
    unsafe {
        program::release_startup(sections::all(), kept);
    }
}
