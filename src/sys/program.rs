use core::ffi::c_void;
use core::ops::Range;
use rustix::io::Errno;
use rustix::mm::{Advice, MlockFlags, madvise, mlock, mlock_with, munlock, munmap};

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

/// Longer than the loader of a packed program and what it works with.
const LOADER_LEN: usize = 8 << 20;

/// Gives up sections of the program that nothing touches once the guard watches, from
/// the page they begin on, but for the pages of those that are `kept`, in their order;
/// and the loader that has unpacked the program, if there was one. That lies behind them
/// and tells of its end where the kernel would tell of the dynamic linker, which a static
/// program does not have. No harm where it is refused.
///
/// # Safety
/// Nothing refers to the sections any more, nor to anything else on their pages, but to
/// what is kept.
pub unsafe fn release_startup(sections: Range<usize>, kept: &[Range<usize>]) {
    let page = page_kib() as usize * 1024;
    let mut first = sections.start / page * page;
    let end = loader_end(sections.end).unwrap_or(sections.end);
    let mut give_up = |until: usize, next: usize| {
        if first < until {
            // SAFETY: the caller's, and the loader has ended.
            let _ = unsafe { munmap(first as *mut c_void, until - first) };
        }
        first = first.max(next);
    };
    for part in kept.iter().filter(|part| !part.is_empty()) {
        give_up(part.start / page * page, part.end.next_multiple_of(page));
    }
    give_up(end, end);
}

/// Where the loader of a packed program ends that itself ends at `end`.
fn loader_end(end: usize) -> Option<usize> {
    // SAFETY: asks for an address that the kernel or the loader has put on the stack.
    let loader_end = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
    (end..end + LOADER_LEN).contains(&loader_end).then_some(loader_end)
}

/// Pages of the program that are needed again, but seldom.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    start: usize,
    len: usize,
}

impl Pages {
    /// None of them.
    pub const NONE: Self = Self { start: 0, len: 0 };

    /// The pages that begin in a range of addresses of the program, which ends at `end`,
    /// but for one that the range ends on. None of a program that was packed: they
    /// could not come back.
    ///
    /// # Safety
    /// They are never written to: one that is given up comes back from the file when it
    /// is touched.
    pub unsafe fn new(range: Range<usize>, end: usize) -> Self {
        if loader_end(end).is_some() {
            return Self::NONE;
        }
        let page = page_kib() as usize * 1024;
        let (start, end) = (range.start / page * page, range.end / page * page);
        Self { start, len: end.saturating_sub(start) }
    }

    /// Gives them up. No harm where that is refused.
    pub fn give_up(&self) {
        if self.len > 0 {
            let start = self.start as *mut c_void;
            // SAFETY: who made it promised that they come back as they were.
            unsafe {
                let _ = munlock(start, self.len);
                let _ = madvise(start, self.len, Advice::LinuxDontNeed);
            }
        }
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
    let end = end_of_stack(0, page);
    if give_up_stack(end, page).is_ok() {
        let (start, len) = stack_below(end, page);
        // SAFETY: locks pages as they are touched (Linux 4.4).
        let _ = unsafe { mlock_with(start, len, MlockFlags::ONFAULT) };
    }
    touch_stack::<BYTES>();
}

/// Gives up what has been used since of the stack that is further below its caller than
/// any step of the loop goes, which is so many bytes. No harm where it is refused.
#[inline(never)]
pub fn trim_stack(bytes: usize, page: usize) {
    let _ = give_up_stack(end_of_stack(bytes, page), page);
}

/// Where the page begins that is `bytes` below the stack in use.
#[inline(never)]
fn end_of_stack(bytes: usize, page: usize) -> usize {
    let here = core::hint::black_box(&mut 0_u8) as *mut u8 as usize;
    (here - OWN_FRAME - bytes) / page * page
}

/// What start-up may have used of the stack below `end`.
fn stack_below(end: usize, page: usize) -> (*mut c_void, usize) {
    // Some machines' pages are larger than that.
    let first = (end - STARTUP_STACK) / page * page;
    (first as *mut c_void, end - first)
}

fn give_up_stack(end: usize, page: usize) -> Result<(), Errno> {
    let (start, len) = stack_below(end, page);
    // SAFETY: the stack below everything that is in use, which the kernel has
    // mapped; a page that is dropped is all zero when it is touched again.
    unsafe { munlock(start, len).and_then(|()| madvise(start, len, Advice::LinuxDontNeed)) }
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
