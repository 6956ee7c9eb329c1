//! What people and programs hear: log lines and statistics.

/// Lines to people, wherever they read them.
pub mod log;

/// What is said at start.
pub mod announce;

/// Every other sentence.
pub mod report;

/// Kills as numbers.
pub mod stats;

/// What is told of rules while a guard runs them.
#[cfg(feature = "rules")]
pub mod rules;

/// Rules in plain words.
#[cfg(feature = "rules")]
pub mod plain;
