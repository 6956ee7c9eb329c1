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

/// What the kernel's own killer knows of one process, without a descriptor.
pub mod oom;

/// How much a process writes.
pub mod writing;

/// Ourselves and our parents.
pub mod ancestry;

/// What a process holds by its open files.
pub mod holdings;

/// Memory cgroups: where ours is, and what its files say.
pub mod cgroup;

/// In which cgroup a process is.
pub mod membership;

/// What the files of one cgroup say, for rules.
#[cfg(feature = "rules")]
pub mod cgroup_values;

/// Shares of numbers that are wide.
#[cfg(feature = "rules")]
pub mod proportion;

/// The directory of a cgroup.
pub mod hierarchy;
