//! A table of fixed size in memory of its own, which is taken once. Pages of it that
//! nothing was ever put on take no memory.

use core::ffi::c_void;
use core::mem::{align_of, size_of};
use core::ops::{Deref, DerefMut};
use rustix::io::Errno;
use rustix::mm::munmap;

/// A value of which all bytes may be 0, which is then its default, and which needs
/// nothing done when it goes.
///
/// # Safety
/// That this is so.
pub unsafe trait Zero: Copy {}

// SAFETY: numbers.
unsafe impl Zero for u8 {}
// SAFETY: numbers.
unsafe impl Zero for u32 {}
// SAFETY: numbers.
unsafe impl Zero for u64 {}

/// So many values, all zero at first.
#[derive(Debug)]
pub struct Pool<T: Zero> {
    first: *mut T,
    count: usize,
}

impl<T: Zero> Pool<T> {
    /// Room for `count` values.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn new(count: usize) -> Result<Self, Errno> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        let len = count.max(1).checked_mul(size_of::<T>()).ok_or(Errno::NOMEM)?;
        Ok(Self { first: super::map_private(len)?.as_ptr().cast(), count })
    }
}

impl<T: Zero> Deref for Pool<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: our own mapping, of so many values, for which all zero is valid.
        unsafe { core::slice::from_raw_parts(self.first, self.count) }
    }
}

impl<T: Zero> DerefMut for Pool<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed once.
        unsafe { core::slice::from_raw_parts_mut(self.first, self.count) }
    }
}

impl<T: Zero> Drop for Pool<T> {
    fn drop(&mut self) {
        let base: *mut c_void = self.first.cast();
        // SAFETY: our own mapping, which nobody refers to any more.
        let _ = unsafe { munmap(base, self.count.max(1) * size_of::<T>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_zero_and_keeps_what_is_put_there() {
        let mut pool = Pool::<u64>::new(3000).unwrap();
        assert!(pool.len() == 3000 && pool.iter().all(|&value| value == 0));
        pool[2999] = 7;
        assert_eq!(pool.iter().sum::<u64>(), 7);
        assert!(Pool::<u64>::new(usize::MAX).is_err());
        assert!(Pool::<u64>::new(0).unwrap().is_empty());
    }
}
