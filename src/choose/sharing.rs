//! Memory that several processes share: counted once, and free only once all of
//! them are dead.

use super::surveyor::{Killable, Surveyor};
use crate::decide::attribution::{MAX_SHARERS, Sharing};
use crate::decide::victim::{Candidate, Ranking};
use crate::read::process::{Pid, Statm};
use crate::sys::process::shares_address_space;

/// Shared memories that are told apart in one survey.
pub const SHARINGS: usize = 2;

/// What a survey found of them.
pub type Sharings = [Option<Sharing>; SHARINGS];

/// Takes those that share an address space with a better one out of the ranking
/// (CLONE_VM without CLONE_THREAD): they have no memory of their own.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn fold_address_spaces<const N: usize>(ranking: &mut Ranking<N>, sharings: &mut Sharings) {
    let mut at = 0;
    while let Some(&first) = ranking.all().get(at) {
        at += 1;
        let mut others = [None; MAX_SHARERS];
        let mut places = others.iter_mut();
        let is_twin = |held: &&Candidate| {
            held.id != first.id
                && is_alike(held.freeable_kib, first.freeable_kib)
                && shares_address_space(first.id.pid, held.id.pid)
        };
        while let Some(&twin) = ranking.all()[at..].iter().find(is_twin) {
            ranking.remove(twin.id);
            if let Some(place) = places.next() {
                *place = Some(twin.id);
            }
        }
        if others[0].is_some() {
            add(sharings, Sharing { first: first.id, others });
        }
    }
}

/// Can both be one memory, read one after the other while it changes? Whose user
/// it is tells nothing: a program may change that and keep its memory.
fn is_alike(one_kib: u64, other_kib: u64) -> bool {
    one_kib.abs_diff(other_kib) <= one_kib.max(other_kib) / 8
}

/// Remembers a sharing, if there is room.
pub fn add(sharings: &mut Sharings, sharing: Sharing) {
    if let Some(place) = sharings.iter_mut().find(|place| place.is_none()) {
        *place = Some(sharing);
    }
}

/// Processes looked at for shared memory: those that map most.
const MAPPERS: usize = 8;

/// Who maps most file and shared memory.
#[derive(Default)]
pub struct LargestMappers {
    /// The largest first.
    found: [Option<(Pid, Statm)>; MAPPERS],
}

/// A mapper of much shared memory, and what it has besides.
struct Mapper {
    killable: Killable,
    /// Shared memory, in KiB.
    shmem_kib: u64,
    /// Anonymous memory and swap, in KiB.
    private_kib: u64,
}

impl Mapper {
    fn read(surveyor: &Surveyor<'_>, pid: Pid) -> Option<Self> {
        let (killable, status) = surveyor.read_killable(pid)?;
        Some(Self { killable, shmem_kib: status.shmem_kib?, private_kib: status.private_kib(0) })
    }
}

impl LargestMappers {
    /// Notes one process.
    pub fn note(&mut self, pid: Pid, statm: &Statm) {
        let is_smaller = |place: &Option<(Pid, Statm)>| {
            place.is_none_or(|(_, held)| held.shared_pages < statm.shared_pages)
        };
        if let Some(at) = self.found.iter().position(is_smaller) {
            self.found[at..].rotate_right(1);
            self.found[at] = Some((pid, *statm));
        }
    }

    /// The only one that can be holding a shared memory: nobody else maps half as
    /// much of anything.
    pub fn sole(&self) -> Option<(Pid, Statm)> {
        let [first, second, ..] = self.found;
        let second_pages = second.map_or(0, |(_, statm)| statm.shared_pages);
        first.filter(|(_, statm)| second_pages < statm.shared_pages / 2)
    }

    /// Ranks those as one that hold one shared memory among them: related processes
    /// of one user that map about as much, when nobody else does.
    // Out of line, so that listing the processes does not run below this table.
    #[inline(never)]
    pub(super) fn enter_related<const N: usize>(
        &self,
        surveyor: &Surveyor<'_>,
        ranking: &mut Ranking<N>,
        sharings: &mut Sharings,
    ) {
        let mut mappers = [const { None }; MAPPERS];
        for (place, found) in mappers.iter_mut().zip(&self.found) {
            *place = found.as_ref().and_then(|(pid, _)| Mapper::read(surveyor, *pid));
        }
        // Of equal ones the one that mapped most.
        let mut all = mappers.iter().flatten();
        let Some(mut first) = all.next() else { return };
        for other in all {
            if other.shmem_kib > first.shmem_kib {
                first = other;
            }
        }
        if first.shmem_kib < surveyor.context.min_freeable_kib() {
            return;
        }
        let half_kib = first.shmem_kib / 2;
        let others = || {
            let others = mappers.iter().flatten().filter(|other| other.killable.id != first.killable.id);
            others.filter(|other| other.shmem_kib >= half_kib)
        };
        // One that is spared may hold all of it.
        let is_alone = self.found.iter().flatten().all(|(pid, statm)| {
            let is_pid = |mapper: &Mapper| mapper.killable.id.pid == *pid;
            statm.shared_pages.saturating_mul(surveyor.context.page_kib) < half_kib
                || is_pid(first)
                || others().any(is_pid)
                || surveyor.maps_little_shmem(*pid, half_kib)
        });
        if !is_alone || !others().all(|other| are_related(&first.killable, &other.killable)) {
            return;
        }
        let mut sharers = [None; MAX_SHARERS];
        let mut private_kib = first.private_kib;
        for (place, other) in sharers.iter_mut().zip(others()) {
            private_kib = private_kib.saturating_add(other.private_kib);
            *place = Some(other.killable.id);
        }
        if sharers[0].is_none() {
            return;
        }
        let freeable_kib = private_kib.saturating_add(first.shmem_kib);
        let grown = surveyor.grown_candidate(&first.killable, private_kib, first.shmem_kib, freeable_kib);
        if let Some(candidate) = grown {
            sharers.iter().flatten().for_each(|&id| ranking.remove(id));
            ranking.enter(candidate);
            add(sharings, Sharing { first: first.killable.id, others: sharers });
        }
    }
}

/// Of one user, and of one job, one process group, or parent and child?
fn are_related(one: &Killable, other: &Killable) -> bool {
    let (mine, theirs) = (&one.job, &other.job);
    let is_child = theirs.ppid == one.id.pid.as_raw_pid() || mine.ppid == other.id.pid.as_raw_pid();
    mine.uid == theirs.uid && (is_child || mine.pgrp > 1 && mine.pgrp == theirs.pgrp || mine.same_job(theirs))
}
