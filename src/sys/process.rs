use core::ffi::{c_int, c_ulong};
use rustix::process::Pid;

/// `enum kcmp_type` of linux/kcmp.h.
const KCMP_VM: c_int = 1;

/// Do two processes share one address space (CLONE_VM without CLONE_THREAD)? By
/// kcmp(2) (Linux 3.5, CONFIG_KCMP), for those we may trace; false where it
/// cannot be told.
pub fn shares_address_space(one: Pid, other: Pid) -> bool {
    let (no_fd, same): (c_ulong, _) = (0, 0);
    // SAFETY: takes integers and changes nothing.
    let order =
        unsafe { libc::syscall(libc::SYS_kcmp, one.as_raw_pid(), other.as_raw_pid(), KCMP_VM, no_fd, no_fd) };
    order == same
}
