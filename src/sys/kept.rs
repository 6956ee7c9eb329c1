//! What stays: values that were read from a file while there was a heap, and what the
//! guard has but once.

use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::io::Errno;

/// What is left of a page that the program has anyway, so that what is kept costs no
/// memory at all.
const ROOM: usize = 3072;

/// Where values are kept: every place begins at a multiple of this.
const ALIGN: usize = 8;

#[repr(align(8))]
struct Room {
    bytes: UnsafeCell<[u8; ROOM]>,
    /// How much of it has been given out.
    used: AtomicUsize,
}

// SAFETY: each byte is given out once, by an atomic addition, and written only by
// whom it was given to, before anybody else knows of it.
unsafe impl Sync for Room {}

static KEPT: Room = Room { bytes: UnsafeCell::new([0; ROOM]), used: AtomicUsize::new(0) };

/// So many bytes, all zero, that nobody else has: in a room of their own, and beyond that
/// in a mapping.
fn place(len: usize) -> Result<NonNull<u8>, Errno> {
    let len = len.next_multiple_of(ALIGN);
    let at = KEPT.used.fetch_add(len, Ordering::Relaxed);
    if at.saturating_add(len) > ROOM {
        return super::map_private(len).map(NonNull::cast);
    }
    // SAFETY: `at` is inside of the room.
    NonNull::new(unsafe { KEPT.bytes.get().cast::<u8>().add(at) }).ok_or(Errno::NOMEM)
}

/// Keeps a value for as long as the process, and off the stack.
///
/// # Errors
/// Those of mmap(2).
pub fn keep_value<'v, T: 'v>(value: T) -> Result<&'v mut T, Errno> {
    const { assert!(align_of::<T>() <= ALIGN) };
    let place = place(size_of::<T>())?.cast::<T>();
    // SAFETY: so many bytes there are ours alone, for good, and aligned.
    unsafe {
        place.write(value);
        Ok(&mut *place.as_ptr())
    }
}

/// A copy of `text`, up to the first NUL, for as long as the process.
///
/// # Errors
/// Those of mmap(2).
pub fn keep(text: &[u8]) -> Result<&'static CStr, Errno> {
    let copy = place(text.len() + 1)?.as_ptr();
    // SAFETY: so many bytes there are ours alone, and zero; the last of them stays so.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
        Ok(CStr::from_ptr(copy.cast()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn what_is_kept_stays_however_much_it_is() {
        let texts: Vec<_> =
            (0..40_u8).map(|number| vec![b'a' + number % 26; usize::from(number) * 3]).collect();
        let kept: Vec<_> = texts.iter().map(|text| keep(text).unwrap()).collect();
        for (text, kept) in texts.iter().zip(kept) {
            assert_eq!(text, kept.to_bytes());
        }
        assert_eq!(keep(b"a\0b").unwrap(), c"a");
        let values: Vec<_> = (0..40_u64).map(|number| keep_value([number; 40]).unwrap()).collect();
        for (number, value) in (0..).zip(values) {
            assert_eq!(*value, [number; 40]);
        }
    }
}
