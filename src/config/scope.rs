//! Which memory is to be guarded.

use core::ffi::CStr;

/// What `--scope` asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The cgroup of ours, or above ours, that has the tightest limit; without one the
    /// machine.
    #[default]
    Auto,
    /// The machine, whatever limits our cgroup has.
    Machine,
    /// Our own cgroup.
    Cgroup,
    /// The cgroup with this directory.
    Path(&'a CStr),
}
