//! Cgroups that are looked at. Each is held by its open directory for as long as it is
//! looked at, so that one of the same name that is made later is another.

use super::known::Known;
use crate::decide::rules::rank::Contender;
use crate::read::cgroup_values::{list_dirs, read_current};
use crate::read::kfile::{ReadError, Tree, open_dir};
use crate::read::membership::MAX_PATH;
use crate::sys::file::open;
use crate::sys::line::Line;
use crate::sys::table::Table;
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, FileType, OFlags, accessat, statat};
use rustix::io::Errno;

/// The number of a cgroup, good for as long as it is looked at.
pub type Id = u16;

/// The root of the hierarchy.
pub const ROOT: Id = 0;

/// Nobody.
pub(super) const NONE: Id = Id::MAX;

/// So many are looked at at most, if there are as many descriptors.
pub const MAX_CGROUPS: usize = 4096;

/// Of more siblings than this only those with the most memory are looked at.
pub(super) const MAX_SIBLINGS: usize = 1024;

/// Numbers of cgroups that one tick may list.
const MAX_LISTED: usize = 32 * 1024;

/// Lists that one tick may remember.
const MAX_LISTS: usize = 512;

/// How many chains there are to find a cgroup by.
const CHAINS: usize = 1024;

/// Called again and again by what takes long: memory is looked at meanwhile.
pub type Breath<'b> = dyn FnMut() + 'b;

/// One of them.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) dir: OwnedFd,
    /// Its number in the file system.
    inode: u64,
    pub(super) parent: Id,
    /// The next in its chain.
    next: Id,
    /// How many there are above it.
    pub(super) depth: u16,
    /// When it was last looked at.
    pub(super) tick: u32,
    /// The search that found it last.
    pub(super) search: u32,
    /// The listing that it was met in first.
    born: u32,
    /// What is below it.
    pub(super) children: Option<Span>,
    /// What was read of it.
    pub(super) known: Known,
}

/// Some of the cgroups that were listed in this tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A list that was made in this tick, by what was looked for.
#[derive(Debug)]
pub(super) struct Made {
    key: u64,
    span: Span,
}

/// All of them.
#[derive(Debug)]
pub struct Forest<'a> {
    pub(super) tree: &'a Tree,
    /// By their numbers; the first is the root.
    pub(super) nodes: Table<Option<Node>>,
    chains: Table<Id>,
    /// Numbers that nobody has.
    vacant: Table<Id>,
    listed: Table<Id>,
    made: Table<Made>,
    /// For one search: what was found, on this level and on the next.
    pub(super) found: Table<Id>,
    pub(super) level: Table<Id>,
    pub(super) next_level: Table<Id>,
    /// A level with what each on it has.
    pub(super) weighed: Table<Contender>,
    pub(super) searches: u32,
    /// Listings of directories so far.
    listings: u32,
    /// Ticks so far, from 1.
    pub tick: u32,
    /// How many were not looked at in this tick, for there were too many.
    pub passed_over: u64,
}

/// Why there is nothing to run rules on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barren {
    /// Cgroups of version 2 are not mounted.
    NoHierarchy,
    /// There is no memory.
    NoMemory(Errno),
}

/// Opens the root of the cgroups of version 2, which are mounted alone or beside those of
/// version 1.
///
/// # Errors
/// Those of openat(2) for the usual place.
pub fn open_hierarchy(tree: &Tree) -> Result<OwnedFd, ReadError> {
    let sys = tree.sys.as_ref().ok_or(ReadError::Missing)?.as_fd();
    for path in [c"fs/cgroup", c"fs/cgroup/unified"] {
        if let Ok(dir) = open_dir(sys, path)
            && accessat(&dir, c"cgroup.controllers", Access::EXISTS, AtFlags::empty()).is_ok()
        {
            return Ok(dir);
        }
    }
    Err(ReadError::Missing)
}

impl<'a> Forest<'a> {
    /// One with nothing but the root, whose directory is `dir`. `descriptors` is how many it
    /// may hold open. Without memory it has no room, and `lack` says why.
    pub fn new(tree: &'a Tree, dir: OwnedFd, descriptors: usize, lack: &mut Option<Errno>) -> Self {
        let most = descriptors.clamp(1, MAX_CGROUPS);
        let mut forest = Self {
            tree,
            nodes: Table::with_room_or(most, lack),
            chains: Table::with_room_or(CHAINS, lack),
            vacant: Table::with_room_or(most, lack),
            listed: Table::with_room_or(MAX_LISTED, lack),
            made: Table::with_room_or(MAX_LISTS, lack),
            found: Table::with_room_or(MAX_CGROUPS, lack),
            level: Table::with_room_or(MAX_CGROUPS, lack),
            next_level: Table::with_room_or(MAX_CGROUPS, lack),
            weighed: Table::with_room_or(MAX_CGROUPS, lack),
            searches: 0,
            listings: 0,
            tick: 1,
            passed_over: 0,
        };
        while forest.chains.push(NONE) {}
        match statat(&dir, c".", AtFlags::empty()) {
            Ok(stat) if lack.is_none() => _ = forest.insert(dir, stat.st_ino, NONE, 0),
            Ok(_) => {}
            Err(errno) => *lack = Some(errno),
        }
        forest
    }

    /// Where the machine's own files are.
    pub fn tree(&self) -> &'a Tree {
        self.tree
    }

    /// Forgets what was read, and whoever was not looked at in the last tick.
    pub fn begin_tick(&mut self) {
        for id in 1..self.nodes.len() {
            if self.nodes[id].as_ref().is_some_and(|node| node.tick != self.tick) {
                self.remove(id as Id);
            }
        }
        self.tick += 1;
        self.listed.clear();
        self.made.clear();
        self.passed_over = 0;
        self.touch(ROOT);
    }

    fn chain_of(inode: u64) -> usize {
        // Numbers are given out one after the other.
        inode as usize % CHAINS
    }

    #[inline(never)]
    fn find(&self, inode: u64) -> Option<Id> {
        let mut id = self.chains[Self::chain_of(inode)];
        while let Some(node) = self.node(id) {
            if node.inode == inode {
                return Some(id);
            }
            id = node.next;
        }
        None
    }

    // Out of line: everybody asks.
    #[inline(never)]
    pub(super) fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(usize::from(id))?.as_ref()
    }

    /// The same to be changed, as of this tick.
    pub(super) fn touch(&mut self, id: Id) -> Option<&mut Node> {
        let tick = self.tick;
        let node = self.nodes.get_mut(usize::from(id))?.as_mut()?;
        if node.tick != tick {
            node.known.begin_tick(node.tick + 1 == tick);
            node.tick = tick;
            node.children = None;
        }
        Some(node)
    }

    fn insert(&mut self, dir: OwnedFd, inode: u64, parent: Id, depth: u16) -> Option<Id> {
        let chain = Self::chain_of(inode);
        let node = Node {
            dir,
            inode,
            parent,
            next: self.chains[chain],
            depth,
            tick: self.tick,
            search: 0,
            born: self.listings,
            children: None,
            known: Known::default(),
        };
        let id = self.vacant.pop().unwrap_or(self.nodes.len() as Id);
        if usize::from(id) == self.nodes.len() && !self.nodes.push(None) {
            return None;
        }
        self.nodes[usize::from(id)] = Some(node);
        self.chains[chain] = id;
        Some(id)
    }

    fn remove(&mut self, id: Id) {
        let Some(node) = self.nodes[usize::from(id)].take() else { return };
        let chain = Self::chain_of(node.inode);
        if self.chains[chain] == id {
            self.chains[chain] = node.next;
        } else {
            let mut at = self.chains[chain];
            while let Some(before) = self.nodes.get_mut(usize::from(at)).and_then(Option::as_mut) {
                if before.next == id {
                    before.next = node.next;
                    break;
                }
                at = before.next;
            }
        }
        let _ = self.vacant.push(id);
    }

    /// Is there room for another one?
    pub(super) fn has_room(&self) -> bool {
        !self.vacant.is_empty() || self.nodes.len() < self.nodes.room()
    }

    /// The cgroup `name` below `parent`, which has this number in the file system.
    pub(super) fn child(&mut self, parent: Id, inode: u64, name: &CStr) -> Option<Id> {
        if let Some(id) = self.find(inode) {
            self.touch(id);
            return Some(id);
        }
        if !self.has_room() {
            self.passed_over += 1;
            return None;
        }
        let above = self.node(parent)?;
        let depth = above.depth + 1;
        let dir = open_child(above.dir.as_fd(), name).ok()?;
        self.insert(dir, inode, parent, depth)
    }

    /// The one that is called `name` below `parent`, if there is one.
    pub(super) fn child_by_name(&mut self, parent: Id, name: &CStr) -> Option<Id> {
        let stat = statat(&self.node(parent)?.dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_dir { self.child(parent, stat.st_ino, name) } else { None }
    }

    /// What is directly below a cgroup, but for what is hidden; of too many those with
    /// the most memory.
    pub fn children(&mut self, id: Id, breath: &mut Breath<'_>) -> Span {
        let Some(node) = self.touch(id) else { return Span::default() };
        if let Some(children) = node.children {
            return children;
        }
        self.next_level.clear();
        self.list_below(id, &mut |name| name.first() != Some(&b'.'), breath);
        let span = self.keep_next_level();
        if let Some(node) = self.touch(id) {
            node.children = Some(span);
        }
        span
    }

    /// Adds to the next level what is directly below a cgroup and is wanted by its name.
    pub(super) fn list_below(
        &mut self,
        parent: Id,
        is_wanted: &mut dyn FnMut(&[u8]) -> bool,
        breath: &mut Breath<'_>,
    ) {
        let Some(node) = self.node(parent) else { return };
        let Ok(dir) = open_dir(node.dir.as_fd(), c".") else { return };
        self.listings += 1;
        let start = self.next_level.len();
        let mut least = None;
        let _ = list_dirs(dir, &mut |inode, name| {
            if !is_wanted(name.to_bytes()) {
                return ControlFlow::Continue(());
            }
            breath();
            let count = self.next_level.len() - start;
            if count < MAX_SIBLINGS && (self.has_room() || self.find(inode).is_some()) {
                if let Some(id) = self.child(parent, inode, name)
                    && !self.next_level.push(id)
                {
                    self.passed_over += 1;
                }
            } else {
                self.contend(parent, inode, name, start, &mut least);
            }
            ControlFlow::Continue(())
        });
    }

    /// One too many: it takes the place of the one with the least memory, if it has more.
    // Out of line: where there are few it is not come to.
    #[inline(never)]
    fn contend(
        &mut self,
        parent: Id,
        inode: u64,
        name: &CStr,
        start: usize,
        least: &mut Option<(usize, u64)>,
    ) {
        self.passed_over += 1;
        let Some(above) = self.node(parent) else { return };
        let dir = open_child(above.dir.as_fd(), name);
        let depth = above.depth + 1;
        let Ok(dir) = dir else { return };
        let has = read_current(dir.as_fd());
        let (at, smallest) = match *least {
            Some(found) => found,
            None => {
                let Some(found) = self.smallest_from(start) else { return };
                *least = Some(found);
                found
            }
        };
        if has <= smallest {
            return;
        }
        // Whoever was known before stays so, for others may have listed it.
        let loser = self.next_level[at];
        if self.node(loser).is_some_and(|node| node.born == self.listings) {
            self.remove(loser);
        }
        let found = self.find(inode);
        let id = if found.is_some() { found } else { self.insert(dir, inode, parent, depth) };
        // Where there is no room, nobody was removed either.
        if let Some(id) = id {
            self.touch(id);
            self.next_level[at] = id;
        }
        *least = None;
    }

    fn smallest_from(&mut self, start: usize) -> Option<(usize, u64)> {
        let mut smallest = None;
        for at in start..self.next_level.len() {
            let has = self.current(self.next_level[at]).unwrap_or(0);
            if smallest.is_none_or(|(_, least)| has < least) {
                smallest = Some((at, has));
            }
        }
        smallest
    }

    /// Makes a list of the next level, for this tick.
    pub(super) fn keep_next_level(&mut self) -> Span {
        let start = self.listed.len() as u32;
        for at in 0..self.next_level.len() {
            if !self.listed.push(self.next_level[at]) {
                self.passed_over += (self.next_level.len() - at) as u64;
                break;
            }
        }
        Span { start, len: self.listed.len() as u32 - start }
    }

    /// Makes a list of what was found, and remembers it by `key` for this tick.
    pub(super) fn keep_found(&mut self, key: u64) -> Span {
        core::mem::swap(&mut self.found, &mut self.next_level);
        let span = self.keep_next_level();
        core::mem::swap(&mut self.found, &mut self.next_level);
        // Without room it is made again.
        let _ = self.made.push(Made { key, span });
        span
    }

    /// The list that was made for `key` in this tick.
    pub(super) fn made_for(&self, key: u64) -> Option<Span> {
        self.made.iter().find(|made| made.key == key).map(|made| made.span)
    }

    /// One of a list.
    #[inline(never)]
    pub fn at(&self, span: Span, at: usize) -> Id {
        self.listed.get(span.start as usize + at).copied().unwrap_or(NONE)
    }

    /// What tells it from all others, now and later.
    pub fn inode(&self, id: Id) -> u64 {
        self.node(id).map_or(0, |node| node.inode)
    }

    /// The one above it that dies in its place, where its path is longer than can be told:
    /// whoever makes names below one may as well be in it. None above those of `span`, which
    /// a rule has named, but for what is the same user's, and not root's.
    #[inline(never)]
    pub fn parent_in_charge(&self, id: Id, span: Span) -> Option<Id> {
        let parent = self.node(id)?.parent;
        let is_named = (0..span.len()).any(|at| self.at(span, at) == id);
        let owner = self.owner(id)?;
        let is_theirs = owner != 0 && self.owner(parent) == Some(owner);
        (!is_named || is_theirs).then_some(parent)
    }

    /// Whose directory it is.
    pub fn owner(&self, id: Id) -> Option<u32> {
        Some(statat(self.dir(id)?, c".", AtFlags::empty()).ok()?.st_uid)
    }

    /// Its directory.
    pub fn dir(&self, id: Id) -> Option<BorrowedFd<'_>> {
        Some(self.node(id)?.dir.as_fd())
    }

    /// Appends its path below the root, which is nothing for that itself. False where it
    /// cannot be told.
    // Out of line, so that its buffers are not on the stack of who asks.
    #[inline(never)]
    pub fn push_path(&self, id: Id, line: &mut Line) -> bool {
        let (Some(root), Some(dir)) = (self.dir(ROOT), self.dir(id)) else { return false };
        let (mut above, mut path) = (Line::default(), Line::default());
        crate::read::hierarchy::push_real_path(&mut above, root);
        crate::read::hierarchy::push_real_path(&mut path, dir);
        let below = path.as_bytes().strip_prefix(above.as_bytes());
        // A longer one was cut.
        let is_whole = !above.as_bytes().is_empty() && path.as_bytes().len() < MAX_PATH;
        let Some(below) = below.filter(|_| is_whole) else { return false };
        line.bytes(below.strip_prefix(b"/").unwrap_or(below));
        true
    }
}

fn open_child(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, ReadError> {
    Ok(open(dir, name, OFlags::DIRECTORY | OFlags::NOFOLLOW)?)
}
