//! decide
/// attribution
pub mod attribution;
/// verdict
pub mod verdict;
/// victim
pub mod victim;
