use core::ffi::c_void;
use core::ops::Range;
use rustix::mm::{Advice, MlockFlags, madvise, mlock, mlock_with, munlock};

/// Makes pages of the program resident and keeps them so, those too that
/// nothing has touched yet: a page of the kill path read from a disk that is
/// thrashing would be seconds late. No harm where it is refused.
///
/// # Safety
/// `pages` are addresses of the program's own mappings.
pub unsafe fn lock_program(pages: Range<usize>) {
    // SAFETY: mlock(2) locks what is mapped there and changes none of it.
    let _ = unsafe { mlock(pages.start as *mut c_void, pages.len()) };
}

/// Gives up pages of the program that nothing touches once the guard watches.
/// No harm where it is refused.
///
/// # Safety
/// `pages` are mapped from the program's file, and are never written to, nor is
/// what else is on the first and the last of them: one that is dropped comes
/// back from the file when it is touched.
pub unsafe fn release_startup(pages: Range<usize>) {
    let first = pages.start & !(page_kib() as usize * 1024 - 1);
    let (start, len) = (first as *mut c_void, pages.end - first);
    // SAFETY: the caller's.
    unsafe {
        let _ = munlock(start, len);
        let _ = madvise(start, len, Advice::LinuxDontNeed);
    }
}

/// Gives up the vDSO's pages, which locking makes resident and which hardly
/// anybody uses. No harm where it is refused.
pub fn drop_vdso() {
    const VDSO_LEN: usize = 2 * 4096;
    // SAFETY: asks for an address that the kernel has put on the stack.
    let start = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    if start != 0 {
        // SAFETY: the kernel maps the vDSO there, shared and read-only. A part
        // beyond its end is not dropped: madvise(2) refuses what is not mapped.
        let _ = unsafe { madvise(start as *mut c_void, VDSO_LEN, Advice::LinuxDontNeed) };
    }
}

/// More of the stack than start-up takes, and less than the kernel maps at first.
const STARTUP_STACK: usize = 40 * 1024;

/// More than the frames of [`renew_stack`] and of the system calls it makes take
/// below its first variable.
const OWN_FRAME: usize = 512;

/// Gives up what start-up has used of the stack below its caller, then makes the
/// stack resident as far down as any step of the loop goes: where memory has run
/// out, a page more may be long in coming. `page` is the size of a page in bytes.
/// No harm where it is refused.
// Out of line, so that its own frame is above what is given up.
#[inline(never)]
pub fn renew_stack<const BYTES: usize>(page: usize) {
    let here = core::hint::black_box(&mut 0_u8) as *mut u8 as usize;
    let end = (here - OWN_FRAME) / page * page;
    let (start, len) = ((end - STARTUP_STACK) as *mut c_void, STARTUP_STACK);
    // SAFETY: the stack below everything that is in use, which the kernel has
    // mapped; a page that is dropped is all zero when it is touched again.
    let is_unlocked =
        unsafe { munlock(start, len).and_then(|()| madvise(start, len, Advice::LinuxDontNeed)) };
    if is_unlocked.is_ok() {
        // SAFETY: locks pages as they are touched (Linux 4.4).
        let _ = unsafe { mlock_with(start, len, MlockFlags::ONFAULT) };
    }
    touch_stack::<BYTES>();
}

// Out of line, so that the array is gone when it has been touched.
#[inline(never)]
fn touch_stack<const BYTES: usize>() {
    core::hint::black_box(&mut [0_u8; BYTES]);
}

/// KiB in a page.
pub fn page_kib() -> u64 {
    // SAFETY: asks for a number that the kernel has put on the stack. rustix has
    // sysconf(3) look it up, and with it all else that sysconf knows.
    let bytes = unsafe { libc::getauxval(libc::AT_PAGESZ) };
    (bytes as u64 / 1024).max(4)
}
