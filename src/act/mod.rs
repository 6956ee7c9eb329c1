//! act
/// capability
pub mod capability;
/// hook
pub mod hook;
/// signal
pub mod signal;
