//! Files that are dropped in, as they come and go.

use super::load::{Reloaded, load};
use super::merge::{Misfit, check_drop_in};
use super::model::{Book, Rules};
use super::reader::Permits;
use super::teller::{Say, Severity, push_path, push_text, refuse_file};
use crate::read::kfile::ReadError;
use crate::read::listing::list_names;
use crate::sys::block::Block;
use crate::sys::line::{Line, lit};
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fd::BorrowedFd;

/// So many files can be there at a time.
pub const MAX_DROP_INS: usize = 32;

/// The files that are there, the newest first.
#[derive(Debug)]
pub struct DropIns {
    files: [Option<Block<Book>>; MAX_DROP_INS],
}

impl Default for DropIns {
    // Out of line: inlined it is as long as there are files.
    #[inline(never)]
    fn default() -> Self {
        Self { files: [const { None }; MAX_DROP_INS] }
    }
}

impl DropIns {
    /// What they say, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Rules<'_>> {
        self.files.iter().flatten().map(Block::get)
    }

    /// The same for [`merge`](super::merge::merge), which gets as many as there are
    /// from the start of `slots`.
    #[inline(never)]
    pub fn list<'s, 'r>(&'r self, slots: &'s mut [&'r Rules<'r>; MAX_DROP_INS]) -> &'s [&'r Rules<'r>] {
        let mut count = 0;
        for (slot, file) in slots.iter_mut().zip(self.iter()) {
            *slot = file;
            count += 1;
        }
        slots.get(..count).unwrap_or_default()
    }

    fn place_of(&self, name: &[u8]) -> Option<usize> {
        self.files.iter().position(|file| file.as_ref().is_some_and(|file| file.get().file == name))
    }

    /// Takes the file `name` of the directory `dir`, which is new or was changed: it
    /// becomes the newest. One that cannot be used changes nothing.
    #[inline(never)]
    pub fn add(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        permits: Permits,
        base: &Rules<'_>,
        say: &mut Say<'_>,
    ) -> Reloaded<()> {
        let permits = Permits { is_drop_in: true, ..permits };
        let Some(new) = load(dir, name, permits, say) else { return Reloaded::Kept };
        if let Err(misfit) = check_drop_in(base, new.get()) {
            tell_misfit(name.to_bytes(), &misfit, say);
            return Reloaded::Kept;
        }
        let old = self.place_of(name.to_bytes());
        if let Some(Some(old)) = old.map(|at| &self.files[at])
            && old.get().fingerprint == new.get().fingerprint
        {
            return Reloaded::Same;
        }
        let Some(at) = old.or_else(|| self.files.iter().position(Option::is_none)) else {
            refuse_file(say, name.to_bytes(), lit!("there are 32 files already"));
            return Reloaded::Kept;
        };
        self.files[at] = Some(new);
        for at in (1..=at).rev() {
            self.files.swap(at - 1, at);
        }
        Reloaded::New(())
    }

    /// Forgets the file `name`, which is gone; was it there?
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.retain(&|file| file != name)
    }

    /// Forgets every file of which `is_there` does not hold; was there any?
    #[inline(never)]
    pub fn retain(&mut self, is_there: &dyn Fn(&[u8]) -> bool) -> bool {
        let mut forgets = false;
        let mut kept = 0;
        for at in 0..MAX_DROP_INS {
            if self.files[at].as_ref().is_some_and(|file| is_there(file.get().file)) {
                self.files.swap(kept, at);
                kept += 1;
            } else {
                forgets |= self.files[at].take().is_some();
            }
        }
        forgets
    }

    /// Takes every file of the directory, in the order of their names.
    ///
    /// # Errors
    /// Those of openat(2) and getdents64(2).
    #[inline(never)]
    pub fn add_all(
        &mut self,
        dir: BorrowedFd<'_>,
        permits: Permits,
        base: &Rules<'_>,
        say: &mut Say<'_>,
    ) -> Result<(), ReadError> {
        let mut last = Line::default();
        // The least name above the last, again and again: there are few, and nothing
        // is kept.
        for _ in 0..=MAX_DROP_INS {
            let mut least = Line::default();
            let _ = list_names(dir, &mut |name| {
                let name = name.to_bytes();
                let is_next =
                    name > last.as_bytes() && (least.as_bytes().is_empty() || name < least.as_bytes());
                if is_next && is_drop_in(name) {
                    least.clear();
                    least.bytes(name);
                }
                ControlFlow::Continue(())
            })?;
            if least.as_bytes().is_empty() {
                break;
            }
            let _ = self.add(dir, least.as_cstr(), permits, base, say);
            last = least;
        }
        Ok(())
    }
}

/// Is a file of this name meant to be dropped in?
pub fn is_drop_in(name: &[u8]) -> bool {
    name.first().is_some_and(|&byte| byte != b'.')
}

/// Tells why a file does not go with the rules.
pub fn tell_misfit(path: &[u8], misfit: &Misfit<'_>, say: &mut Say<'_>) {
    let (name, why) = match *misfit {
        Misfit::NoSuchSet(name) => (name, lit!(" is not in the file of rules")),
        Misfit::Detectors(name) => (name, lit!(" does not let its detectors be replaced (\"drop-in\")")),
        Misfit::Actions(name) => (name, lit!(" does not let its actions be replaced (\"drop-in\")")),
    };
    let mut line = Line::default();
    push_path(&mut line, path);
    line.bytes(lit!(": rule set "));
    push_text(&mut line, name);
    say(Severity::Error, line.bytes(why));
}
