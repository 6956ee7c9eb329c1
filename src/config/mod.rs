//! What the user asked for.

/// What a command's signals and its end mean.
pub mod command;

/// Amounts and limits.
pub mod limits;

/// Globs matched against process names.
pub mod pattern;

/// Who counts for more, for less, or not at all.
pub mod policy;

/// Rules in oomd's language.
#[cfg(feature = "rules")]
pub mod rules;

/// Which memory is to be guarded.
pub mod scope;

use crate::sys::time::SECOND;
use command::{ExitMap, Forward};
use core::ffi::CStr;
use limits::Limits;
use policy::Policy;
use scope::Asked;

/// What the user asked for; it does not change while the guard runs.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// Which memory.
    pub scope: Asked<'a>,
    /// When to act.
    pub limits: Limits,
    /// Whom to choose.
    pub policy: Policy<'a>,
    /// From SIGTERM to SIGKILL.
    pub grace_us: u64,
    /// Kill the victim's process group with it.
    pub kill_pgroup: bool,
    /// Kill the victim's whole cgroup with it.
    pub kill_cgroup: bool,
    /// Decide and log, but never signal.
    pub dry_run: bool,
    /// End after one decision and what comes of it.
    pub once: bool,
    /// Log every change of state.
    pub verbose: bool,
    /// Run before the first signal.
    pub before_kill: Option<&'a CStr>,
    /// Run after the victim is gone.
    pub on_kill: Option<&'a CStr>,
    /// Tell of kills in this file; see [`Stats`](crate::tell::stats::Stats).
    pub stats: Option<&'a CStr>,
    /// Tell in the log how things stand every so often.
    pub report_us: Option<u64>,
    /// Who gets the signals that a command is sent through us.
    pub forward: Forward,
    /// What to end with instead of what a command ended with.
    pub exits: ExitMap,
}

impl Config<'_> {
    /// Is a program run before or after a kill?
    pub fn has_hooks(&self) -> bool {
        self.before_kill.is_some() || self.on_kill.is_some()
    }
}

impl Default for Config<'_> {
    fn default() -> Self {
        Self {
            scope: Asked::default(),
            limits: Limits::default(),
            policy: Policy::default(),
            grace_us: SECOND,
            kill_pgroup: false,
            kill_cgroup: false,
            dry_run: false,
            once: false,
            verbose: false,
            before_kill: None,
            on_kill: None,
            stats: None,
            report_us: None,
            forward: Forward::default(),
            exits: ExitMap::default(),
        }
    }
}
