//! Readings: plain structs out of one kernel file each. A reading judges nothing
//! and changes nothing but its own window.

/// Small kernel files: open, read into the caller's buffer, walk the fields.
pub mod kfile;

/// How much counters grew over a sliding span of time.
pub mod window;

/// sysinfo(2), meminfo, vmstat.
pub mod memory;

/// What swap is really worth.
pub mod swap;

/// Pressure stall information.
pub mod psi;

/// The entries of /proc.
pub mod listing;

/// What the kernel says of one process.
pub mod process;

/// What one process holds.
pub mod status;

/// How much a process writes.
pub mod writing;

/// Ourselves and our parents.
pub mod ancestry;

/// What a process holds by its open files.
pub mod holdings;
