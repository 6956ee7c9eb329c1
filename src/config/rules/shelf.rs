//! All files of rules that a guard has: the one it was given, and what was dropped in
//! beside it. They are read again while it guards.

use super::drop_ins::{DropIns, MAX_DROP_INS, is_drop_in, tell_misfit};
use super::load::{Reloaded, reload};
use super::merge::{Active, check_drop_in, merge};
use super::model::{Book, Rules};
use super::reader::Permits;
use super::settings::Settings;
use super::teller::Say;
use crate::read::kfile::{ReadError, open_dir};
use crate::sys::block::Block;
use crate::sys::line::Line;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, CWD, Stat, accessat, fstat, inotify, statat};

/// The files.
#[derive(Debug)]
pub struct Shelf<'a> {
    /// The options they came with.
    pub settings: Settings<'a>,
    base: Block<Book>,
    drop_ins: DropIns,
    /// What tells of changes in the directory of drop-ins.
    events: Option<OwnedFd>,
    watch: Option<Watch>,
}

/// The directory that is watched.
#[derive(Debug)]
struct Watch {
    dir: OwnedFd,
    /// Which events are about it: those of its predecessors may still come.
    number: i32,
}

impl Watch {
    /// Is it still what the path names? As long as we have it open, nothing tells of its
    /// end.
    #[inline(never)]
    fn is_at(&self, path: &CStr) -> bool {
        let id = |stat: Stat| (stat.st_dev, stat.st_ino);
        let (named, own) = (statat(CWD, path, AtFlags::empty()), fstat(&self.dir));
        named.is_ok() && named.map(id) == own.map(id)
    }
}

/// Room for one read of events: eight or more.
const EVENTS_LEN: usize = 512;

impl<'a> Shelf<'a> {
    /// The file that was read, and nothing beside it yet.
    pub fn new(settings: Settings<'a>, base: Block<Book>) -> Self {
        Self { settings, base, drop_ins: DropIns::default(), events: None, watch: None }
    }

    fn permits(&self) -> Permits {
        self.settings.permits()
    }

    /// What the file says.
    pub fn base(&self) -> &Rules<'_> {
        self.base.get()
    }

    /// Keeps the file that was read at start from being swapped out.
    pub fn lock(&self) {
        self.base.lock();
    }

    /// Every rule set that is in force, in the order in which they run.
    pub fn for_each<'s>(&'s self, each: &mut dyn FnMut(Active<'s>)) {
        let base = self.base.get();
        merge(base, self.drop_ins.list(&mut [base; MAX_DROP_INS]), each);
    }

    /// Takes what is in the directory of drop-ins, if there is to be one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_dir(&mut self, say: &mut Say<'_>) -> Result<(), ReadError> {
        match self.settings.dir {
            Some(path) => self.take_all(open_dir(CWD, path)?.as_fd(), say),
            None => Ok(()),
        }
    }

    /// The same, and begins to watch it.
    ///
    /// # Errors
    /// It cannot be read or watched.
    pub fn watch_dir(&mut self, say: &mut Say<'_>) -> Result<(), ReadError> {
        let Some(path) = self.settings.dir else { return Ok(()) };
        let dir = open_dir(CWD, path)?;
        let events = match self.events.take() {
            Some(events) => events,
            None => inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?,
        };
        let number = inotify::add_watch(self.events.insert(events), path, WATCHED)?;
        let taken = self.take_all(dir.as_fd(), say);
        self.watch = Some(Watch { dir, number });
        taken
    }

    fn take_all(&mut self, dir: BorrowedFd<'_>, say: &mut Say<'_>) -> Result<(), ReadError> {
        self.drop_ins.add_all(dir, self.permits(), self.base.get(), say)
    }

    /// Reads the file again; see [`reload`]. Nothing is to refer to the old rules any
    /// more. Drop-ins that do not go with the new ones are told of and left out.
    // Out of line, so that it belongs to rules and not to the loop.
    #[inline(never)]
    pub fn reload(&mut self, say: &mut Say<'_>) -> Reloaded<()> {
        match reload(CWD, self.settings.file, self.permits(), &self.base, say) {
            Reloaded::New(new) => {
                new.lock();
                self.base = new;
                for file in self.drop_ins.iter() {
                    if let Err(misfit) = check_drop_in(self.base.get(), file) {
                        tell_misfit(file.file, &misfit, say);
                    }
                }
                Reloaded::New(())
            }
            Reloaded::Same => Reloaded::Same,
            Reloaded::Kept => Reloaded::Kept,
        }
    }

    /// Takes note of what has happened in the directory of drop-ins, once a tick; has
    /// anything changed? Some files at a time, the rest the next time.
    // Out of line for the same reason.
    #[inline(never)]
    pub fn take_events(&mut self, say: &mut Say<'_>) -> bool {
        let Some(path) = self.settings.dir else { return false };
        if self.watch.as_ref().is_some_and(|watch| !watch.is_at(path)) {
            self.watch = None;
            if self.drop_ins.retain(&|_| false) {
                return true;
            }
        }
        let Some(watch) = &self.watch else {
            // It may be there again. Why it is not would be told each time.
            return self.watch_dir(say).is_ok() && self.drop_ins.iter().next().is_some();
        };
        let Some(events) = &self.events else { return false };
        let permits = self.settings.permits();
        let mut changed = false;
        let mut has_lost = false;
        let mut buf = [MaybeUninit::uninit(); EVENTS_LEN];
        let mut events = inotify::Reader::new(events, &mut buf);
        while let Ok(event) = events.next() {
            let what = event.events();
            has_lost |= what.contains(inotify::ReadFlags::QUEUE_OVERFLOW);
            if let Some(name) = event.file_name().filter(|name| is_drop_in(name.to_bytes()))
                && event.wd() == watch.number
            {
                changed |= match what.intersects(TAKEN) {
                    true => {
                        let base = self.base.get();
                        let added = self.drop_ins.add(watch.dir.as_fd(), name, permits, base, say);
                        matches!(added, Reloaded::New(()))
                    }
                    false => self.drop_ins.remove(name.to_bytes()),
                };
            }
            if events.is_buffer_empty() {
                break;
            }
        }
        if has_lost {
            let is_there = |name: &[u8]| {
                let mut path = Line::default();
                path.bytes(name);
                accessat(&watch.dir, path.as_cstr(), Access::EXISTS, AtFlags::empty()).is_ok()
            };
            let _ = self.drop_ins.retain(&is_there);
            let _ = self.drop_ins.add_all(watch.dir.as_fd(), permits, self.base.get(), say);
            changed = true;
        }
        changed
    }
}

const WATCHED: inotify::WatchFlags = inotify::WatchFlags::CLOSE_WRITE
    .union(inotify::WatchFlags::MOVED_TO)
    .union(inotify::WatchFlags::MOVED_FROM)
    .union(inotify::WatchFlags::DELETE)
    .union(inotify::WatchFlags::ONLYDIR);
const TAKEN: inotify::ReadFlags = inotify::ReadFlags::CLOSE_WRITE.union(inotify::ReadFlags::MOVED_TO);
