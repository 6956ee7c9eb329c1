use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{CStr, c_char, c_int};

/// There is none: whoever asks for memory, a library say, gets nothing.
pub struct NoHeap;

// SAFETY: no memory is ever handed out.
unsafe impl GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        debug_assert!(false, "an allocation");
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {}
}

// ------------------------------------------------------- the command line

/// What is left of the command line, in order.
#[derive(Clone)]
pub struct Arguments {
    argv: *const *const c_char,
    left: usize,
}

impl Arguments {
    /// All of them, the program's name first.
    ///
    /// # Safety
    /// `argv` holds `argc` NUL-terminated strings that are never written to or
    /// freed, as main(3) is given them.
    pub unsafe fn new(argc: c_int, argv: *const *const c_char) -> Self {
        Self { argv, left: usize::try_from(argc).unwrap_or(0) }
    }
}

impl Iterator for Arguments {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<&'static CStr> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: there is one more, by the promise made to `new`; one past the
        // last may be pointed to.
        unsafe {
            let arg = *self.argv;
            self.argv = self.argv.add(1);
            Some(CStr::from_ptr(arg))
        }
    }
}

/// What follows the first `len` bytes of `text`, of which there must be as many.
pub fn c_suffix(text: &CStr, len: usize) -> &CStr {
    assert!(len <= text.count_bytes());
    // SAFETY: the end of a C string is one, the empty end included.
    unsafe { CStr::from_ptr(text.as_ptr().add(len)) }
}
