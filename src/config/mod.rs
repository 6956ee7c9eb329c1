//! config
/// pattern
pub mod pattern;
