//! A terminal to write to.

use std::fs::File;
use std::os::fd::FromRawFd;

/// A new one: its master, and the side programs write to.
pub fn terminal() -> (File, File) {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: two integers to write to; everything else may be null.
    let answer = unsafe { libc::openpty(&mut master, &mut slave, null, null.cast(), null.cast()) };
    assert_eq!(answer, 0, "openpty");
    // SAFETY: two descriptors just made.
    unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) }
}
