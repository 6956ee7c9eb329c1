//! read
/// kfile
pub mod kfile;
/// memory
pub mod memory;
/// process
pub mod process;
/// psi
pub mod psi;
/// window
pub mod window;
