//! The end of the machine, as a rule may ask for with `--allow-panic`.

use crate::sys::file::open;
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

/// Has the kernel crash at once, without syncing disks.
///
/// # Errors
/// Those of openat(2) and write(2).
pub fn crash() -> Result<(), Errno> {
    let trigger = open(CWD, c"/proc/sysrq-trigger", OFlags::WRONLY)?;
    rustix::io::write(&trigger, b"c").map(drop)
}
