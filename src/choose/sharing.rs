//! Memory that several processes share: counted once, and free only once all of
//! them are dead.

use super::surveyor::{Killable, Surveyor};
use crate::config::policy::FIRST_ORDINARY_UID;
use crate::decide::attribution::{MAX_SHARERS, Sharing};
use crate::decide::victim::{Candidate, Ranking};
use crate::read::process::{Identity, Pid, Statm};
use crate::sys::process::shares_address_space;

/// Shared memories that are told apart in one survey.
pub const SHARINGS: usize = 2;

/// What a survey found of them.
pub type Sharings = [Option<Sharing>; SHARINGS];

/// Takes those that share an address space with another out of the ranking (CLONE_VM
/// without CLONE_THREAD): they have no memory of their own. The one that stands for all
/// is the one that grew least, for it has been known for longest, or the oldest: a child
/// that is about to execute something (vfork(2)) is new, and its memory is not.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn fold_address_spaces<const N: usize>(ranking: &mut Ranking<N>, sharings: &mut Sharings) {
    let mut at = 0;
    while let Some(first) = ranking.all().get(at) {
        let is_twin = |held: &&Candidate| {
            is_alike(held.freeable_kib, first.freeable_kib) && shares_address_space(first.id.pid, held.id.pid)
        };
        match ranking.all()[at + 1..].iter().find(is_twin) {
            Some(twin) => {
                let (one, other) = (first.id, twin.id);
                let key = |held: &Candidate| (held.growth.kib, held.id.starttime);
                let (known, gone) = if key(twin) < key(first) { (other, one) } else { (one, other) };
                ranking.remove(gone);
                add_twin(sharings, known, gone);
            }
            None => at += 1,
        }
    }
}

/// Has `known` stand for `gone`, and for whomever that stood for.
fn add_twin(sharings: &mut Sharings, known: Identity, gone: Identity) {
    for sharing in sharings.iter_mut().flatten() {
        if sharing.first == gone {
            sharing.first = known;
        }
        if sharing.first == known {
            if let Some(place) = sharing.others.iter_mut().find(|place| place.is_none()) {
                *place = Some(gone);
            }
            return;
        }
    }
    let mut others = [None; MAX_SHARERS];
    others[0] = Some(gone);
    add(sharings, Sharing { first: known, others, guest: None });
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
    /// Notes one process, if it is one of the guarded ones.
    pub(super) fn note(&mut self, surveyor: &Surveyor<'_>, pid: Pid, statm: &Statm) {
        let is_smaller = |place: &Option<(Pid, Statm)>| {
            place.is_none_or(|(_, held)| held.shared_pages < statm.shared_pages)
        };
        // Less is not worth asking where it is.
        let shared_kib = statm.shared_pages.saturating_mul(surveyor.context.page_kib);
        if shared_kib >= surveyor.context.min_freeable_kib() / 4
            && let Some(at) = self.found.iter().position(is_smaller)
            && surveyor.is_in_scope(pid)
        {
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
        let all = || mappers.iter().flatten().filter(|mapper| mapper.shmem_kib >= half_kib);
        // One that is spared may hold all of it.
        let is_alone = self.found.iter().flatten().all(|(pid, statm)| {
            let is_pid = |mapper: &Mapper| mapper.killable.id.pid == *pid;
            statm.shared_pages.saturating_mul(surveyor.context.page_kib) < half_kib
                || all().any(is_pid)
                || surveyor.maps_little_shmem(*pid, half_kib)
        });
        // Who maps least, or is youngest of those that map as much, is a guest of the others;
        // but nobody is to have a server of the system's map memory and die for it.
        // The one that has been known for longest stands for all.
        let (mut guest, mut host) = (first, first);
        let is_systems = |mapper: &Mapper| mapper.killable.job.uid < FIRST_ORDINARY_UID;
        for other in all() {
            if other.killable.id.starttime < host.killable.id.starttime {
                host = other;
            }
            if is_systems(guest) != is_systems(other) {
                guest = if is_systems(guest) { other } else { guest };
                continue;
            }
            let is_less = other.shmem_kib < guest.shmem_kib - guest.shmem_kib / 8;
            let is_as_much = other.shmem_kib <= guest.shmem_kib + guest.shmem_kib / 8;
            if is_less || is_as_much && other.killable.id.starttime > guest.killable.id.starttime {
                guest = other;
            }
        }
        let is_related = |other: &Mapper| {
            other.killable.id == first.killable.id || are_related(&first.killable, &other.killable)
        };
        if !is_alone || !all().all(is_related) {
            // Those that have nothing to do with each other are not killed for what they
            // share, unless it is what grows.
            if surveyor.context.shmem_growth_kib >= half_kib {
                enter(guest, guest.private_kib, surveyor, ranking);
            }
            return;
        }
        let mut sharers = [None; MAX_SHARERS];
        let others = all().filter(|other| other.killable.id != host.killable.id);
        for (place, other) in sharers.iter_mut().zip(others) {
            *place = Some(other.killable.id);
        }
        if sharers[0].is_none() {
            return;
        }
        enter(host, host.private_kib, surveyor, ranking);
        // What each has of its own is judged by itself. Where the host's is what grew, no
        // other is to blame.
        let has_grown = |held: &Candidate| {
            held.id == host.killable.id && held.growth.kib / 2 > surveyor.context.shmem_growth_kib
        };
        if ranking.all().iter().any(has_grown) {
            return;
        }
        let guest = Some((guest.killable.id, guest.killable.job));
        add(sharings, Sharing { first: host.killable.id, others: sharers, guest });
    }
}

/// Ranks a mapper with its shared memory and `private_kib`, if that is worth a kill.
// Out of line: inlined it is larger.
#[inline(never)]
fn enter<const N: usize>(
    mapper: &Mapper,
    private_kib: u64,
    surveyor: &Surveyor<'_>,
    ranking: &mut Ranking<N>,
) {
    let Mapper { killable, shmem_kib, .. } = mapper;
    let freeable_kib = private_kib.saturating_add(*shmem_kib);
    if let Some(candidate) = surveyor.grown_candidate(killable, private_kib, *shmem_kib, freeable_kib) {
        ranking.enter(candidate);
    }
}

/// Of one user, and of one job, one process group, or parent and child?
fn are_related(one: &Killable, other: &Killable) -> bool {
    let (mine, theirs) = (&one.job, &other.job);
    let is_child = theirs.ppid == one.id.pid.as_raw_pid() || mine.ppid == other.id.pid.as_raw_pid();
    mine.uid == theirs.uid && (is_child || mine.pgrp > 1 && mine.pgrp == theirs.pgrp || mine.same_job(theirs))
}
