//! Processes that do what the test says: forks of it.

use rustix::process::Pid;
use std::ffi::{CStr, CString, c_void};
use std::io::{Read, Write, pipe};
use std::ptr::{null, null_mut};

/// A child called `comm` that does `part` and then nothing more; returns when
/// that is done.
pub fn actor(comm: &str, part: impl FnOnce()) -> Pid {
    let (mut ready, mut done) = pipe().expect("pipe");
    let comm = CString::new(comm).expect("no NUL");
    // SAFETY: what the child does needs no thread but its own.
    match unsafe { libc::fork() } {
        0 => {
            drop(ready);
            set_comm(&comm);
            part();
            done.write_all(b"1").expect("the test lives");
            drop(done);
            rest()
        }
        raw => {
            drop(done);
            ready.read_exact(&mut [0]).expect("an actor gets there");
            Pid::from_raw(raw).expect("fork")
        }
    }
}

pub fn set_comm(comm: &CStr) {
    // SAFETY: a C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, comm.as_ptr()) };
}

/// Waits for a signal that is its end.
pub fn rest() -> ! {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// Maps so much with these flags, and touches all of it.
pub fn map(mib: usize, flags: i32) -> *mut c_void {
    let (len, access) = (mib << 20, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping, written to within its length.
    unsafe {
        let memory = libc::mmap(null_mut(), len, access, flags | libc::MAP_ANONYMOUS, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED, "mmap");
        libc::memset(memory, 1, len)
    }
}

/// Mounts so many tmpfs in a mount namespace of our own.
pub fn mount_many(mounts: usize) {
    // SAFETY: C strings, and no data.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "unshare");
        let (none, target) = (c"none".as_ptr(), c"/mnt".as_ptr());
        let private = libc::MS_REC | libc::MS_PRIVATE;
        assert_eq!(libc::mount(none, c"/".as_ptr(), null(), private, null()), 0);
        assert_eq!(libc::mount(none, target, c"tmpfs".as_ptr(), 0, null()), 0, "mount");
        for number in 1..mounts {
            let path = CString::new(format!("/mnt/{number}")).expect("no NUL");
            assert_eq!(libc::mkdir(path.as_ptr(), 0o755), 0, "mkdir");
            assert_eq!(libc::mount(none, path.as_ptr(), c"tmpfs".as_ptr(), 0, null()), 0, "mount");
        }
    }
}
