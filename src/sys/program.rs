use core::ffi::c_void;
use core::ops::Range;
use rustix::mm::{Advice, madvise, mlock, munlock};
use rustix::runtime_448b8ad740e2a26f as runtime;

#[cfg(target_pointer_width = "32")]
type ProgramHeader = libc::Elf32_Phdr;
#[cfg(target_pointer_width = "64")]
type ProgramHeader = libc::Elf64_Phdr;

/// Where the code is that only start-up and questions take; empty in a build
/// whose linker did not set it apart.
#[derive(Clone, Debug, Default)]
pub struct StartupCode(Range<usize>);

impl StartupCode {
    /// # Safety
    /// `pages` are whole pages of the program's own read-only code, mapped from
    /// its file.
    pub unsafe fn new(pages: Range<usize>) -> Self {
        Self(pages)
    }

    /// Gives the pages up. No harm where it is refused, or when they are needed
    /// once more: they come back from the file.
    pub fn release(&self) {
        let (start, len) = (self.0.start as *mut c_void, self.0.len());
        // SAFETY: by the promise made to `new` a page that is dropped comes back
        // as it was.
        unsafe {
            let _ = munlock(start, len);
            let _ = madvise(start, len, Advice::LinuxDontNeed);
        }
    }
}

/// Makes the program's own pages resident and keeps them so, those too that
/// nothing has touched yet: a page of the kill path read from a disk that is
/// thrashing would be seconds late. Leaves out `startup`. No harm where it is
/// refused.
pub fn lock_program(startup: &StartupCode) {
    for segment in loaded_segments().into_iter().flatten() {
        let before = segment.start..segment.end.min(startup.0.start.max(segment.start));
        let after = segment.start.max(startup.0.end.min(segment.end))..segment.end;
        let parts = if startup.0.is_empty() { [segment, 0..0] } else { [before, after] };
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            // SAFETY: mlock(2) touches nothing; these are the program's own pages.
            let _ = unsafe { mlock(part.start as *mut c_void, part.len()) };
        }
    }
}

/// More segments than any linker makes.
const MAX_SEGMENTS: usize = 8;

/// The parts of the program's file that are mapped, by the program headers that
/// the kernel tells of (AT_PHDR).
fn loaded_segments() -> [Option<Range<usize>>; MAX_SEGMENTS] {
    let mut segments = [const { None }; MAX_SEGMENTS];
    let (first, size, count) = runtime::exe_phdrs();
    if first.is_null() || size != size_of::<ProgramHeader>() {
        return segments;
    }
    // SAFETY: the kernel put `count` headers there, which stay as long as the
    // program does.
    let headers = unsafe { core::slice::from_raw_parts(first.cast::<ProgramHeader>(), count) };
    // A program that may lie anywhere says where its headers should have been.
    let own = headers.iter().find(|header| header.p_type == libc::PT_PHDR);
    let base = own.map_or(0, |own| (first as usize).wrapping_sub(own.p_vaddr as usize));
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    for (place, header) in segments.iter_mut().zip(loaded) {
        let start = base.wrapping_add(header.p_vaddr as usize);
        *place = Some(start..start.wrapping_add(header.p_memsz as usize));
    }
    segments
}

/// Gives up the vDSO's pages, which locking makes resident and which come back
/// one by one as the clock is asked. No harm where it is refused.
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

/// Makes the stack resident as far down as any step of the loop goes: where
/// memory has run out, a page more may be long in coming.
#[inline(never)]
pub fn touch_stack<const BYTES: usize>() {
    core::hint::black_box(&mut [0_u8; BYTES]);
}

/// KiB in a page.
pub fn page_kib() -> u64 {
    (rustix::param::page_size() as u64 / 1024).max(4)
}
