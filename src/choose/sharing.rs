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
pub(super) struct Mapper {
    killable: Killable,
    /// Shared memory, in KiB.
    shmem_kib: u64,
    /// Anonymous memory and swap, in KiB.
    private_kib: u64,
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

    /// Those that hold one shared memory among them: related processes of one
    /// user that map about as much, when nobody else does.
    // Out of line, so that listing the processes does not run below these tables.
    #[inline(never)]
    pub(super) fn read_related(&self, surveyor: &Surveyor<'_>) -> Option<[Option<Mapper>; MAPPERS]> {
        let mut mappers = self.found.map(|place| {
            let (pid, _) = place?;
            let (killable, status) = surveyor.read_killable(pid)?;
            Some(Mapper { killable, shmem_kib: status.shmem_kib?, private_kib: status.private_kib(0) })
        });
        let shmem_kib = |place: &Option<Mapper>| place.as_ref().map_or(0, |mapper| mapper.shmem_kib);
        let most = (0..MAPPERS).max_by_key(|&at| (shmem_kib(&mappers[at]), core::cmp::Reverse(at)))?;
        mappers.swap(0, most);
        let most_kib = mappers[0].as_ref()?.shmem_kib;
        if most_kib < surveyor.context.min_freeable_kib() {
            return None;
        }
        for place in &mut mappers {
            if place.as_ref().is_some_and(|mapper| mapper.shmem_kib < most_kib / 2) {
                *place = None;
            }
        }
        let first = mappers[0].as_ref()?;
        let others = || mappers[1..].iter().flatten();
        // One that is spared may hold all of it.
        let is_alone = self.found.iter().flatten().all(|(pid, statm)| {
            let pages_kib = statm.shared_pages.saturating_mul(surveyor.context.page_kib);
            pages_kib < most_kib / 2
                || mappers.iter().flatten().any(|mapper| mapper.killable.id.pid == *pid)
                || surveyor.maps_little_shmem(*pid, most_kib / 2)
        });
        let has_others = others().next().is_some();
        (is_alone && has_others && others().all(|other| are_related(&first.killable, &other.killable)))
            .then_some(mappers)
    }
}

/// Of one user, and of one job, one process group, or parent and child?
fn are_related(one: &Killable, other: &Killable) -> bool {
    let (mine, theirs) = (&one.job, &other.job);
    let is_child = theirs.ppid == one.id.pid.as_raw_pid() || mine.ppid == other.id.pid.as_raw_pid();
    mine.uid == theirs.uid && (is_child || mine.pgrp > 1 && mine.pgrp == theirs.pgrp || mine.same_job(theirs))
}

/// Ranks those that hold a shared memory among them as one.
pub(super) fn enter_related<const N: usize>(
    surveyor: &Surveyor<'_>,
    related: &[Option<Mapper>],
    ranking: &mut Ranking<N>,
    sharings: &mut Sharings,
) {
    let Some(first) = related.first().and_then(Option::as_ref) else { return };
    let private_kib = related.iter().flatten().map(|mapper| mapper.private_kib).fold(0, u64::saturating_add);
    let freeable_kib = private_kib.saturating_add(first.shmem_kib);
    let found = surveyor.grown_candidate(&first.killable, private_kib, first.shmem_kib, freeable_kib);
    let Some(candidate) = found else { return };
    let mut others = [None; MAX_SHARERS];
    for (place, other) in others.iter_mut().zip(related[1..].iter().flatten()) {
        ranking.remove(other.killable.id);
        *place = Some(other.killable.id);
    }
    ranking.enter(candidate);
    add(sharings, Sharing { first: candidate.id, others });
}
