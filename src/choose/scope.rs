//! Which memory is guarded: the machine's, or that of a cgroup. Whoever needs totals,
//! what is available, pressure, or who may be chosen, asks here, and nobody else knows
//! which of the two it is.

use crate::config::scope::Asked;
use crate::read::cgroup::Cgroup;
use crate::read::hierarchy::{Found, find_at, find_own, push_real_path};
use crate::read::kfile::{ReadError, Tree};
use crate::read::memory::{self, Meminfo};
use crate::read::process::{Leader, Pid};
use crate::read::psi::{MEMORY_PRESSURE, Trigger, arm_trigger};
use crate::sys::file::open;
use crate::sys::line::{Line, named};
use core::cell::{Cell, RefCell};
use guarded::{QUESTIONS, Questions, tightest};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::getpid;

mod guarded;

/// Why this memory is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was asked for.
    Asked,
    /// It has the tightest limit.
    Limit,
    /// No cgroup of ours has a limit below the machine's memory, nor could be given one.
    NoLimit,
    /// None has one yet.
    NoLimitYet,
    /// The cgroup with the limit holds nobody but us.
    OnlyOurs,
    /// Our cgroup cannot be seen.
    Unseen,
}

impl Why {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Asked => named!("as asked"),
            Self::Limit => named!("it has the tightest limit"),
            Self::NoLimit => named!("our cgroup has no lower limit"),
            Self::NoLimitYet => named!("our cgroup has no lower limit, one that is set is seen"),
            Self::OnlyOurs => named!("the limit of our cgroup is for us alone"),
            Self::Unseen => named!("our cgroup cannot be seen"),
        }
    }
}

/// What is guarded, and what may come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guards {
    /// The machine, whatever comes.
    Machine,
    /// The machine, as long as no cgroup of ours has a limit.
    MachineYet,
    /// A cgroup, as long as it has one.
    CgroupNow,
    /// A cgroup, whatever comes: nobody may be chosen who could not be at first.
    Cgroup,
}

/// Where the guarded memory is.
#[derive(Debug)]
struct Place {
    /// Our own cgroup, or the one that was asked for, if it can be seen.
    base: Option<Found>,
    /// So many levels above `base` is the guarded cgroup.
    up: u32,
    /// And so many the first whose limit counts: those below it are for us alone.
    from: u32,
    /// Where a guard of the machine looks next whether there is a limit by now.
    turn: u32,
    why: Why,
}

impl Place {
    fn new(base: Option<Found>, why: Why) -> Self {
        Self { base, up: 0, from: 0, turn: 0, why }
    }
}

/// The path of a cgroup `up` levels above `path`.
fn path_above(path: &[u8], up: u32) -> &[u8] {
    let mut end = path.len();
    for _ in 0..up {
        end = path[..end].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    }
    &path[..end]
}

/// The memory that is guarded.
#[derive(Debug)]
pub struct Scope<'a> {
    tree: &'a Tree,
    asked: Asked<'a>,
    /// What a cgroup is asked, if one is guarded or may come to be.
    questions: Option<&'static Questions>,
    guards: Cell<Guards>,
    place: RefCell<Place>,
    changes: Cell<u32>,
}

impl<'a> Scope<'a> {
    /// Finds what was asked for, for a guard that `runs` a command: then no cgroup is for
    /// us alone.
    ///
    /// # Errors
    /// The cgroup that was asked for cannot be found.
    // Out of line, so that the guard does not run below its stack.
    #[inline(never)]
    pub fn find(tree: &'a Tree, asked: Asked<'a>, runs: bool) -> Result<Self, ReadError> {
        let (place, guards) = find_place(tree, asked, runs)?;
        let questions = (guards != Guards::Machine).then_some(&QUESTIONS);
        let (guards, place, changes) = (Cell::new(guards), RefCell::new(place), Cell::new(0));
        Ok(Self { tree, asked, questions, guards, place, changes })
    }

    /// The machine that `tree` tells of.
    pub fn of_machine(tree: &'a Tree) -> Self {
        Self {
            tree,
            asked: Asked::Machine,
            questions: None,
            guards: Cell::new(Guards::Machine),
            place: RefCell::new(Place::new(None, Why::Asked)),
            changes: Cell::new(0),
        }
    }

    /// Is the machine guarded, and not a cgroup?
    pub fn is_machine(&self) -> bool {
        matches!(self.guards.get(), Guards::Machine | Guards::MachineYet)
    }

    /// Is it the machine only as long as no cgroup of ours is given a limit?
    pub fn may_turn(&self) -> bool {
        self.guards.get() == Guards::MachineYet
    }

    /// Is a cgroup guarded, or could one come to be?
    pub fn has_cgroup(&self) -> bool {
        self.questions.is_some()
    }

    /// The guarded cgroup: what it is looked at through, how many levels above that it
    /// is, and its path. `None` where the machine is guarded.
    fn guarded<'p>(&self, place: &'p Place) -> Option<(&'p Cgroup, u32, &'p [u8])> {
        let Found { cgroup, path, .. } = place.base.as_ref().filter(|_| !self.is_machine())?;
        Some((cgroup, place.up, path_above(path.as_bytes(), place.up)))
    }

    /// How often something else came to be guarded: what was known of memory is then
    /// about something else.
    pub fn changes(&self) -> u32 {
        self.changes.get()
    }

    // ---------------------------------------------------------- memory

    /// Makes of `mem`, the machine's memory, the guarded memory, told as if it were a
    /// machine's. Returns how many pages of a cgroup were read again; 0 for the machine.
    ///
    /// # Errors
    /// See [`ReadError`]; [`ReadError::Missing`] where the cgroup is gone.
    pub fn read_memory(&self, mem: &mut Meminfo) -> Result<u64, ReadError> {
        self.questions.map_or(Ok(0), |ask| (ask.read_memory)(self, mem))
    }

    /// Is it to be looked whether a cgroup is guarded from now on? Reads one small file of
    /// those that tell, another each time: everything has to be read to know.
    pub fn is_to_be_read(&self) -> bool {
        self.may_turn() && self.questions.is_some_and(|ask| (ask.is_to_be_read)(self))
    }

    /// How much of a cgroup's memory is available; `None` where it is not limited, or
    /// cannot be told.
    pub fn read_available_kib(&self) -> Option<u64> {
        (self.questions?.read_available_kib)(self)
    }

    /// How much of a cgroup's memory is in no use at all, at the level that has least:
    /// for a look that ends with that. `None` for the machine, and where a look cannot
    /// end with that.
    pub fn read_free_kib(&self, total_kib: u64) -> Option<u64> {
        (self.questions?.read_free_kib)(self, total_kib)
    }

    /// How often a cgroup was at its limit; `None` for the machine.
    pub fn read_limit_hits(&self) -> Option<u64> {
        (self.questions?.read_limit_hits)(self)
    }

    /// For how long processors have been busy: with the guarded cgroup if it can be
    /// told, else with everybody.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_busy_us(&self) -> Result<u64, ReadError> {
        let of_cgroup = self.questions.and_then(|ask| (ask.read_busy_us)(self));
        of_cgroup.map_or_else(|| memory::read_busy_us(self.tree.proc.as_fd()), Ok)
    }

    /// Opens the file that tells of pressure, or takes a trigger.
    ///
    /// # Errors
    /// Those of openat(2); version 1 has no such file.
    pub fn open_pressure(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        match self.guarded(&self.place.borrow()) {
            None => open(self.tree.proc.as_fd(), MEMORY_PRESSURE, flags),
            // Version 1 has no such file.
            Some((cgroup, up, _)) => cgroup.open_file(up, "memory.pressure", flags),
        }
    }

    /// Arms what wakes who polls it: again, where something else is guarded now.
    pub fn arm(&self, wakers: &mut Wakers) {
        let trigger = arm_trigger(&|flags| self.open_pressure(flags));
        *wakers = Wakers { trigger, events: self.open_events() };
    }

    /// Opens the file of a cgroup that wakes who polls it each time the limit was
    /// reached.
    pub fn open_events(&self) -> Option<OwnedFd> {
        let place = self.place.borrow();
        let (cgroup, up, _) = self.guarded(&place)?;
        cgroup.open_file(up, "memory.events", OFlags::RDONLY).ok()
    }

    // ------------------------------------------------------- candidates

    /// Is this process in the guarded cgroup, or in one below it?
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn has(&self, pid: Pid, leader: Leader) -> Result<bool, ReadError> {
        self.questions.map_or(Ok(true), |ask| (ask.has)(self, pid, leader))
    }

    /// Hands on the cgroup that everybody who may be chosen is below: the guarded one, or
    /// for the machine the topmost that can be seen. Through which it is looked at, how
    /// many levels above that it is, and its path. `None` where there is none.
    pub(super) fn with_root<T>(&self, told: impl FnOnce(&Cgroup, u32, &[u8]) -> Option<T>) -> Option<T> {
        let place = self.place.borrow();
        let Found { cgroup, path, .. } = place.base.as_ref()?;
        let up = if self.is_machine() { cgroup.levels_above } else { place.up };
        told(cgroup, up, path_above(path.as_bytes(), up))
    }

    // ---------------------------------------------------------- changes

    /// Follows where we were moved to, where the guarded cgroup is ours or above ours.
    /// Asked before each survey.
    pub fn follow(&self) {
        if let Some(ask) = self.questions {
            (ask.follow)(self);
        }
    }

    // ------------------------------------------------------------- told

    /// Why this is guarded.
    pub fn why(&self) -> Why {
        self.place.borrow().why
    }

    /// What is guarded, in a word.
    pub fn name(&self) -> &'static str {
        if self.is_machine() { "machine" } else { "cgroup" }
    }

    /// Appends the path of the guarded cgroup in quotes, as `/proc/PID/cgroup` tells it;
    /// nothing for the machine.
    pub fn push_path(&self, line: &mut Line) {
        if let Some((_, _, path)) = self.guarded(&self.place.borrow()) {
            line.quoted(if path.is_empty() { b"/" } else { path });
        }
    }

    /// Hands on that path as it is.
    pub fn with_path(&self, told: impl FnOnce(&[u8])) {
        if let Some((_, _, path)) = self.guarded(&self.place.borrow()) {
            told(if path.is_empty() { b"/" } else { path });
        }
    }

    /// Appends the file that sets the limit; false where none is below the machine's
    /// memory.
    pub fn push_limit_file(&self, line: &mut Line) -> bool {
        let place = self.place.borrow();
        let Some((cgroup, from, _)) = self.guarded(&place) else { return false };
        let Some(up) = tightest(cgroup, from, machine_kib(self.tree)) else { return false };
        let Ok(dir) = cgroup.open_file(up, ".", OFlags::PATH) else { return false };
        push_real_path(line, dir.as_fd());
        line.text("/").text(cgroup.limit_file());
        true
    }
}

/// What wakes who polls it.
#[derive(Debug)]
pub struct Wakers {
    /// PSI.
    pub trigger: Result<Trigger, Errno>,
    /// A cgroup's events, each time its limit was reached.
    pub events: Option<OwnedFd>,
}

impl Wakers {
    /// Nothing does.
    pub const NONE: Self = Self { trigger: Err(Errno::NODEV), events: None };
}

/// All memory of the machine; where that is not told, more than any limit.
fn machine_kib(tree: &Tree) -> u64 {
    memory::read_meminfo(tree.proc.as_fd()).map_or(u64::MAX, |mem| mem.total_kib())
}

fn find_place(tree: &Tree, asked: Asked<'_>, runs: bool) -> Result<(Place, Guards), ReadError> {
    let as_asked = |found| (Place::new(Some(found), Why::Asked), Guards::Cgroup);
    match asked {
        Asked::Path(path) => find_at(tree, path).map(as_asked),
        Asked::Cgroup => find_own(tree).map(as_asked),
        Asked::Machine => Ok((Place::new(find_own(tree).ok(), Why::Asked), Guards::Machine)),
        Asked::Auto => Ok(match find_own(tree) {
            Ok(found) => judge(tree, found, runs),
            Err(_) => (Place::new(None, Why::Unseen), Guards::Machine),
        }),
    }
}

/// Is the machine to be guarded, or from how many levels above our own on do limits count,
/// which of them has the tightest, and why?
fn judge(tree: &Tree, found: Found, runs: bool) -> (Place, Guards) {
    let (own, machine_kib) = (&found.cgroup, machine_kib(tree));
    // A limit that a service manager has set for the guard itself, or will set, says nothing
    // about what it is to guard: that is above. Process 1 of a container, and whoever runs a
    // command, is alone only until it is not.
    let may_be_alone = tree.live && !runs && !getpid().is_init();
    let mut from = 0;
    while may_be_alone && from <= own.levels_above && own.has_only(from, getpid()) {
        from += 1;
    }
    let up = tightest(own, from, machine_kib);
    let (why, guards) = match up {
        Some(_) => (Why::Limit, Guards::Cgroup),
        None if tightest(own, 0, machine_kib).is_some() => (Why::OnlyOurs, Guards::MachineYet),
        None if own.can_be_limited() => (Why::NoLimitYet, Guards::MachineYet),
        None => (Why::NoLimit, Guards::Machine),
    };
    (Place { from, up: up.unwrap_or(0), ..Place::new(Some(found), why) }, guards)
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
