//! Memory for start-up, and none after it.
//!
//! Reading a command line takes a little heap. It comes from one mapping of a
//! fixed size, which `Arena::seal` gives back before the guard watches; who
//! asks for memory after that ends the program, and does not get it.

use super::line::named;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::mm::munmap;
use rustix::process::{Signal, getpid, kill_process};

/// Pages that nobody touches cost nothing, and a command line of 2 MiB, which
/// is what a stack of the usual size admits, is a mistake.
const LEN: usize = 2 << 20;

/// What [`Arena::base`] holds before the mapping is made and after it is given
/// back: no mapping begins there.
const UNMAPPED: usize = 0;
const SEALED: usize = usize::MAX;

/// A global allocator that hands out one mapping from its start to its end.
/// Blocks are given back all at once; only the last one can grow in place.
#[derive(Debug)]
pub struct Arena {
    /// Where the mapping begins.
    base: AtomicUsize,
    /// How much of it has been handed out.
    used: AtomicUsize,
}

impl Arena {
    /// An arena without its mapping, which the first allocation makes.
    #[allow(clippy::new_without_default, reason = "a static needs a constant")]
    pub const fn new() -> Self {
        Self { base: AtomicUsize::new(UNMAPPED), used: AtomicUsize::new(0) }
    }

    /// Gives the mapping back. From now on an allocation aborts the program.
    ///
    /// # Safety
    /// Nobody holds a block, and no other thread allocates meanwhile.
    pub unsafe fn seal(&self) {
        let base = self.base.swap(SEALED, Ordering::Relaxed);
        if base != UNMAPPED && base != SEALED {
            // SAFETY: the mapping that `mapped` made, of which by the caller's
            // promise nothing is in use.
            let _ = unsafe { munmap(base as _, LEN) };
        }
    }

    /// Where the mapping begins, which is made if it is not there yet.
    fn mapped(&self) -> usize {
        match self.base.load(Ordering::Relaxed) {
            UNMAPPED => {}
            SEALED => {
                say(b"bustd: allocation after start-up\n");
                abort()
            }
            base => return base,
        }
        let Ok(new) = super::map_private(LEN).map(NonNull::as_ptr) else {
            say(b"bustd: no memory to start with\n");
            super::child::exit_now(1)
        };
        match self.base.compare_exchange(UNMAPPED, new as usize, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => new as usize,
            Err(other) => {
                // SAFETY: the mapping just made, which nobody has seen.
                let _ = unsafe { munmap(new, LEN) };
                other
            }
        }
    }

    /// Moves the end of what is used from `from` to `to`, if it is still there.
    fn move_end(&self, from: usize, to: usize) -> bool {
        to <= LEN && self.used.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The offset of the end of a block of `len` bytes.
    fn end_of(&self, block: *mut u8, len: usize) -> usize {
        (block as usize).wrapping_sub(self.base.load(Ordering::Relaxed)).wrapping_add(len)
    }
}

// SAFETY: blocks are parts of one private mapping that lie behind each other
// and do not overlap, for the end moves by compare-and-exchange only, and back
// only over the end of the block that shrinks. A block is aligned as it was
// asked to be: the mapping begins on a page.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.mapped();
        loop {
            let used = self.used.load(Ordering::Relaxed);
            let start = (base + used).next_multiple_of(layout.align()) - base;
            let end = start.saturating_add(layout.size());
            if end > LEN {
                say(named!("bustd: the command line is too long\n").as_bytes());
                super::child::exit_now(2);
            }
            if self.move_end(used, end) {
                return (base + start) as *mut u8;
            }
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_len: usize) -> *mut u8 {
        let end = self.end_of(block, layout.size());
        if self.move_end(end, self.end_of(block, new_len)) || new_len <= layout.size() {
            return block;
        }
        // SAFETY: the caller's: `new_len` is not 0 and does not overflow when
        // it is rounded up; both blocks are as long as what is copied.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(new_len, layout.align()));
            core::ptr::copy_nonoverlapping(block, new, layout.size());
            new
        }
    }
}

fn say(line: &[u8]) {
    let _ = rustix::io::write(super::file::stderr(), line);
}

/// Ends this process with SIGABRT, and no other. The C library's abort signals
/// the thread id that it keeps, and a child of [`super::child::fork`] has inherited
/// its parent's: the guard would die of what went wrong in its child.
pub fn abort() -> ! {
    let _ = kill_process(getpid(), Signal::ABORT);
    // Blocked or ignored: the status that a shell would tell of it.
    super::child::exit_now(128 + libc::SIGABRT)
}
