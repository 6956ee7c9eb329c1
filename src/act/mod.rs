//! Action: the one function that signals, and the kill in progress.

/// What the kernel grants us, asked for once at start.
pub mod capability;

/// The one function that signals.
pub mod signal;

/// Who holds a victim back that took SIGKILL.
pub mod tracer;

/// Who dies with the victim.
pub mod companions;

/// When which signal is due.
pub mod kill;

/// The user's programs around a kill, and other children.
pub mod hook;

/// The command that the guard runs.
pub mod command;

/// The kill in progress.
pub mod executor;

/// The end of the machine.
#[cfg(feature = "rules")]
pub mod panic;
