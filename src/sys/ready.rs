//! Telling whoever started us that we are watching.

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// Is this descriptor open?
pub fn is_open(number: u32) -> bool {
    // SAFETY: asks for flags only; a closed descriptor is answered with EBADF.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number as i32) }).is_ok()
}

/// Writes a newline to this descriptor and closes it, as s6 expects; standard streams
/// stay open.
///
/// # Errors
/// Those of write(2).
///
/// # Safety
/// The descriptor was handed to this process when it started, and nothing in it owns
/// that.
pub unsafe fn write_newline(number: u32) -> Result<(), Errno> {
    // SAFETY: the caller's.
    let fd = unsafe { OwnedFd::from_raw_fd(number as i32) };
    let written = rustix::io::write(&fd, b"\n");
    if number <= 2 {
        core::mem::forget(fd);
    }
    written.map(|_| ())
}

/// Sends the datagram of sd_notify(3) to the socket that `NOTIFY_SOCKET` names. Nobody
/// may be there any more, and then nobody waits.
pub fn notify(socket: &[u8]) {
    let address = match socket {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
        _ => SocketAddrUnix::new(socket),
    };
    let flags = SocketFlags::CLOEXEC;
    let made = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
    if let (Ok(address), Ok(made)) = (address, made) {
        let _ = rustix::net::sendto(&made, b"READY=1", SendFlags::NOSIGNAL, &address);
    }
}

/// The socket that has our name.
static NAMED: AtomicI32 = AtomicI32::new(-1);

/// Closes our child's copy of that socket.
pub(super) fn let_go_of_name() {
    // SAFETY: what is left of this process does not use it; where there is none, nothing
    // is closed.
    let _ = unsafe { libc::close(NAMED.load(Relaxed)) };
}

/// Takes a name that one process of a network namespace can have at a time: it is that
/// of a socket without a file, to which nobody can connect. Given up with the
/// descriptor.
///
/// # Errors
/// Those of socket(2) and bind(2): [`Errno::ADDRINUSE`] where somebody has it.
pub fn take_name(name: &CStr) -> Result<OwnedFd, Errno> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.to_bytes())?)?;
    NAMED.store(socket.as_raw_fd(), Relaxed);
    Ok(socket)
}
