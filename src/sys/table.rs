//! Lists that grow within memory that was taken once. What has never been used of it
//! takes up none.

use super::block::Mapping;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, size_of};
use core::ops::{Deref, DerefMut};
use rustix::io::Errno;

/// A list with room for so many.
#[derive(Debug)]
pub struct Table<T> {
    len: usize,
    room: usize,
    /// Given back with the list.
    mapping: Mapping,
    of: PhantomData<T>,
}

impl<T> Table<T> {
    /// An empty one.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn with_room(room: usize) -> Result<Self, Errno> {
        let mut lack = None;
        let table = Self::with_room_or(room, &mut lack);
        lack.map_or(Ok(table), Err)
    }

    /// The same, for who asks for several and looks once whether any could not be had:
    /// without memory it has no room, and `lack` says why.
    #[inline(never)]
    pub fn with_room_or(room: usize, lack: &mut Option<Errno>) -> Self {
        let mapping = Mapping::for_many(size_of::<T>(), room, lack);
        let room = if mapping.is_empty() { 0 } else { room };
        Self { len: 0, room, mapping, of: PhantomData }
    }

    fn first(&self) -> *mut T {
        self.mapping.base.as_ptr().cast()
    }

    /// Adds one, unless there is no room.
    #[must_use]
    pub fn push(&mut self, value: T) -> bool {
        if self.len == self.room {
            return false;
        }
        // SAFETY: a mapping begins on a page, which is aligned for everything, and has
        // room for one more behind those that are there.
        unsafe { self.first().add(self.len).write(value) };
        self.len += 1;
        true
    }

    /// Takes the last one away.
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: it was written by `push`, and is not part of the list any more.
        Some(unsafe { self.first().add(self.len).read() })
    }

    /// Leaves the first `len`.
    pub fn truncate(&mut self, len: usize) {
        while self.len > len {
            drop(self.pop());
        }
    }

    /// Leaves none.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Keeps what is in it where it is for ever.
    pub fn leak<'t>(self) -> &'t mut [T]
    where
        T: 't,
    {
        let table = ManuallyDrop::new(self);
        // SAFETY: so many were written by `push`, and neither they nor their mapping are
        // given back any more.
        unsafe { core::slice::from_raw_parts_mut(table.first(), table.len) }
    }

    /// For how many there is room.
    pub fn room(&self) -> usize {
        self.room
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<T> Deref for Table<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many were written by `push`, next to each other.
        unsafe { core::slice::from_raw_parts(self.first(), self.len) }
    }
}

impl<T> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the same; nobody else has them, for we are borrowed alone.
        unsafe { core::slice::from_raw_parts_mut(self.first(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn a_table_holds_what_it_has_room_for() {
        let mut table = Table::with_room(3).unwrap();
        assert!(table.is_empty() && table.push(5_u64) && table.push(6) && table.push(7));
        assert!(!table.push(8));
        table.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!((&*table, table.room()), (&[7, 6, 5][..], 3));
        assert_eq!(table.pop(), Some(5));
        table.truncate(1);
        assert_eq!(&*table, [7]);
        table.clear();
        assert_eq!((table.pop(), table.len()), (None, 0));
    }

    #[test]
    fn what_is_taken_away_is_dropped() {
        let one = Rc::new(());
        let mut table = Table::with_room(4).unwrap();
        for _ in 0..4 {
            assert!(table.push(one.clone()));
        }
        table.truncate(2);
        assert_eq!(Rc::strong_count(&one), 3);
        drop(table);
        assert_eq!(Rc::strong_count(&one), 1);
        let none = Table::<Rc<()>>::with_room(0).unwrap();
        assert!(none.is_empty());
        assert!(Table::<u64>::with_room(usize::MAX / 4).is_err());
        let mut lack = None;
        let mut none = Table::with_room_or(usize::MAX / 4, &mut lack);
        assert!(lack.is_some() && !none.push(7_u64) && none.is_empty());
        assert!(none.leak().is_empty());
        let mut kept = Table::with_room(2).unwrap();
        assert!(kept.push(5) && kept.push(6));
        assert_eq!(kept.leak(), [5, 6]);
    }
}
