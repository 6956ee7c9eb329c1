//! What people and programs hear: log lines and statistics.

/// Lines to people, wherever they read them.
pub mod log;

/// Every sentence.
pub mod report;

/// Kills as numbers.
pub mod stats;
