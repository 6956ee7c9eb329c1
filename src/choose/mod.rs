//! choose
/// survey
pub mod survey;
