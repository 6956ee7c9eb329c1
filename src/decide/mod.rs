//! Judgement, pure: when to act, who took what is missing, who dies, how long to
//! sleep.

/// All that a decision may see.
pub mod snapshot;

/// The limits in KiB, for the memory there is now.
pub mod levels;

/// When to act.
pub mod verdict;

/// Growth above the level of the last minutes.
pub mod baseline;

/// Who grows now.
pub mod growth;

/// Candidates and their ranking.
pub mod victim;

/// Many that grow and have nothing else in common.
pub mod many;

/// Whether a choice is to be put off.
pub mod doubt;

/// Who took what is missing.
pub mod attribution;

/// How long to sleep.
pub mod pacing;

/// What rules decide.
#[cfg(feature = "rules")]
pub mod rules;
