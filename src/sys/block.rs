//! Memory taken once, sized beforehand, and given back whole.
//!
//! What is read from a file of rules is kept in slices of one mapping. A
//! `Block` owns the mapping and what refers to it, and lends the latter for no
//! longer than it is there itself.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::{align_of, size_of};
use core::ptr::NonNull;
use rustix::io::Errno;
use rustix::mm::{mlock, munmap};

/// A type with a lifetime, told apart from the lifetime.
pub trait Lent: 'static {
    /// The type where what it refers to lives for `'b`.
    type For<'b>: Copy;

    /// The value itself: that this compiles proves that a longer life can stand for
    /// a shorter one.
    fn shorten<'s, 'b: 's>(value: &'s Self::For<'b>) -> &'s Self::For<'s>;
}

/// A private mapping, all zero at first.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) base: NonNull<c_void>,
    len: usize,
}

impl Mapping {
    #[inline(never)]
    pub(super) fn new(len: usize) -> Result<Self, Errno> {
        Ok(Self { base: super::map_private(len)?, len })
    }

    /// One for so many times `size` bytes. Where it cannot be had, it is an empty one, and
    /// `lack` says why.
    #[inline(never)]
    pub(super) fn for_many(size: usize, count: usize, lack: &mut Option<Errno>) -> Self {
        let len = size.checked_mul(count).ok_or(Errno::NOMEM);
        len.and_then(|len| Self::new(len.max(1))).unwrap_or_else(|errno| {
            *lack = Some(errno);
            // Aligned for everything there is, as all of them are.
            Self { base: NonNull::<u128>::dangling().cast(), len: 0 }
        })
    }

    /// Is there nothing in it?
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn room<'b>(&self) -> Room<'b> {
        Room { base: self.base.as_ptr() as usize, used: 0, len: self.len, life: PhantomData }
    }

    /// Gives back what lies behind the first `used` bytes.
    #[inline(never)]
    fn trim(&mut self, used: usize) {
        let page = super::program::page_kib() as usize * 1024;
        let kept = used.next_multiple_of(page).clamp(page, self.len.max(page));
        if kept < self.len {
            // SAFETY: the pages behind what was handed out, which nobody has seen.
            let _ = unsafe { munmap(self.base.as_ptr().byte_add(kept), self.len - kept) };
            self.len = kept;
        }
    }
}

impl Drop for Mapping {
    // Out of line: lists of many types are given back.
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: our own mapping; of an empty one the kernel gives nothing back. Whatever
        // refers to it is gone: a room lives for one call, and a block lends for no longer
        // than it is there.
        let _ = unsafe { munmap(self.base.as_ptr(), self.len) };
    }
}

/// Room in a mapping, handed out from its start to its end and never twice.
#[derive(Debug)]
pub struct Room<'b> {
    base: usize,
    used: usize,
    len: usize,
    life: PhantomData<&'b mut u8>,
}

impl<'b> Room<'b> {
    /// The address of `count` times `size` bytes, handed out now.
    // Out of line: slices of many types ask.
    #[inline(never)]
    fn take(&mut self, count: usize, size: usize, align: usize) -> Option<usize> {
        let start = self.used.next_multiple_of(align);
        let end = start.checked_add(count.checked_mul(size)?)?;
        if end > self.len {
            return None;
        }
        self.used = end;
        Some(self.base + start)
    }

    /// A slice of `count` times `value`; `None` where there is no room for it.
    pub fn slice<T: Copy + 'b>(&mut self, count: usize, value: T) -> Option<&'b mut [T]> {
        let first = self.take(count, size_of::<T>(), align_of::<T>())? as *mut T;
        for at in 0..count {
            // SAFETY: aligned, as the mapping begins on a page, and within it.
            unsafe { first.add(at).write(value) };
        }
        // SAFETY: so many values were written just now, to where nothing else has
        // been handed out, in a mapping that is there for 'b.
        Some(unsafe { core::slice::from_raw_parts_mut(first, count) })
    }

    /// One value; `None` where there is no room for it.
    pub fn one<T: 'b>(&mut self, value: T) -> Option<&'b mut T> {
        // Nobody is going to drop it.
        const { assert!(!core::mem::needs_drop::<T>()) };
        let place = self.take(1, size_of::<T>(), align_of::<T>())? as *mut T;
        // SAFETY: aligned, within the mapping, which is there for 'b, and handed out to
        // nobody else.
        unsafe {
            place.write(value);
            Some(&mut *place)
        }
    }

    /// A copy of `bytes`; `None` where there is no room for it.
    #[inline(never)]
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<&'b [u8]> {
        let copy = self.slice(bytes.len(), 0_u8)?;
        copy.copy_from_slice(bytes);
        Some(copy)
    }

    /// How much has been handed out.
    pub fn used(&self) -> usize {
        self.used
    }
}

/// Runs `work` with `len` bytes of room, which are given back afterwards; `None` where
/// there is no memory for it.
pub fn with_room<R>(len: usize, work: impl for<'b> FnOnce(Room<'b>) -> R) -> Option<R> {
    let mapping = Mapping::new(len).ok()?;
    Some(work(mapping.room()))
}

/// A mapping, and in it a value and all that this refers to.
#[derive(Debug)]
pub struct Block<L: Lent> {
    value: NonNull<L::For<'static>>,
    mapping: Mapping,
}

impl<L: Lent> Block<L> {
    /// Has `build` make the value in room of at most `len` bytes. What it leaves
    /// unused is given back. `None` where there is no memory, and where it makes none.
    pub fn build(
        len: usize,
        build: impl for<'b> FnOnce(&mut Room<'b>) -> Option<L::For<'b>>,
    ) -> Option<Self> {
        let own = size_of::<L::For<'static>>() + align_of::<L::For<'static>>();
        let mut mapping = Mapping::new(len + own).ok()?;
        // For any lifetime at all, and so `build` can keep no part of it elsewhere.
        let mut room = mapping.room();
        room.len = len;
        let value = build(&mut room)?;
        room.len = mapping.len;
        // There is room: it was added above.
        let value = NonNull::from(room.one(value)?);
        mapping.trim(room.used());
        Some(Self { value, mapping })
    }

    /// What was built.
    pub fn get(&self) -> &L::For<'_> {
        // SAFETY: the value that was written into the mapping, which is there as long
        // as this is, and which nobody writes to any more.
        L::shorten(unsafe { self.value.as_ref() })
    }

    /// How many bytes it takes, in whole pages.
    pub fn size(&self) -> usize {
        self.mapping.len
    }

    /// Keeps it from being swapped out, as the rest of the guard is. No harm where
    /// that is refused.
    pub fn lock(&self) {
        // SAFETY: locks our own mapping, and changes none of it.
        let _ = unsafe { mlock(self.mapping.base.as_ptr(), self.mapping.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[derive(Debug)]
    struct Words;

    impl Lent for Words {
        type For<'b> = &'b [&'b [u8]];

        fn shorten<'s, 'b: 's>(value: &'s &'b [&'b [u8]]) -> &'s &'s [&'s [u8]] {
            value
        }
    }

    fn words(len: usize, text: &[u8]) -> Option<Block<Words>> {
        Block::build(len, |room| {
            let count = text.split(|&byte| byte == b' ').count();
            let words = room.slice(count, &[][..])?;
            for (word, text) in words.iter_mut().zip(text.split(|&byte| byte == b' ')) {
                *word = room.bytes(text)?;
            }
            Some(&*words)
        })
    }

    #[test]
    fn a_block_keeps_what_was_built() {
        let text = b"one two  three".to_vec();
        let block = words(1 << 16, &text).unwrap();
        drop(text);
        assert_eq!(block.get(), &[&b"one"[..], b"two", b"", b"three"]);
        assert_eq!(block.size(), super::super::program::page_kib() as usize * 1024);
        block.lock();
        assert_eq!(block.get().iter().map(|word| word.len()).sum::<usize>(), 11);
    }

    #[test]
    fn there_is_an_end_to_room() {
        // For the list, and then for the word in it.
        let of_one = size_of::<&[u8]>();
        assert!(words(of_one, b"a b c").is_none() && words(of_one + 8, b"too-long-by-far").is_none());
        let parts: Vec<usize> = with_room(64, |mut room| {
            let a = room.bytes(b"abc").unwrap().as_ptr() as usize;
            let b = room.slice(2, 7_u64).unwrap();
            assert_eq!(b, [7, 7]);
            assert!(room.slice(usize::MAX / 4, 0_u64).is_none() && room.slice(usize::MAX, 0_u8).is_none());
            [b.as_ptr() as usize - a, room.used()].to_vec()
        })
        .unwrap();
        // Some machines have numbers of 64 bits at every fourth address.
        let second = 3_usize.next_multiple_of(align_of::<u64>());
        assert_eq!(parts, [second, second + 16]);
    }
}
