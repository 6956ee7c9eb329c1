//! tell
/// log
pub mod log;
/// stats
pub mod stats;
