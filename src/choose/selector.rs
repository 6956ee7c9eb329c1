//! Who is to die, or why nobody is.

use super::holders::{Found, Holders, Sought};
use super::sharing::Sharings;
use super::spawn_burst::survey_spawn_burst;
use super::successor::find_successor;
use super::survey::{Surveyed, survey};
use super::surveyor::{Remembered, SurveyContext};
use super::vigil::Vigil;
use super::writers::Writers;
use crate::config::policy::Policy;
use crate::decide::attribution::{Attribution, Culprit, Sharing, attribute, dies_with, members_of};
use crate::decide::levels::Levels;
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::{Rule, Urgency};
use crate::decide::victim::{Candidate, Ranking, TABLE, min_freeable_kib};
use crate::read::kfile::{ReadError, Tree};
use crate::read::process::{Identity, Pid};
use crate::sys::time::{MS, SECOND, boottime_ticks, now_us as read_clock};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

/// Victims that would not die, remembered so that another is chosen.
const SET_ASIDE: usize = 16;

/// Below so many times the TERM limit growth is noted as often as memory gets
/// less.
const NOTE_TERMS: u64 = 3;
/// Wait 50 times as long as the last survey took before noting growth again
/// (about 2 % of one CPU), and no less than this.
const NOTE_REST: u64 = 50;
const NOTE_MIN_US: u64 = 100 * MS;
/// Above that it is noted this often, so that there is something to compare with.
const NOTE_IDLE_US: u64 = 30 * SECOND;

/// Two surveys no further apart tell who grows just now.
const LOOKS_APART_US: u64 = 500 * MS;

/// A survey this young will do where there is no time for another.
const FRESH_US: u64 = 2 * SECOND;

/// Processes younger than this belong to a spawn burst or a growing group that
/// is at work now.
const YOUNG_TICKS: u64 = 60 * 100;

/// After this many surveys in a row in which somebody could not be read, what can
/// be read has to do.
const MAX_FAILURES: u32 = 3;

/// Is this error about the machine or about us, and not about one process?
fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

/// Why nobody dies although a rule says that somebody should.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVictim {
    /// Nobody is worth it.
    NoCandidate {
        /// How many processes there are.
        processes: u32,
    },
    /// Memory has not become less since the last kill.
    Steady,
    /// Memory went to tmpfs, and nobody is writing there.
    NoWriter {
        /// How much.
        shmem_growth_kib: u64,
    },
    /// It is not known yet who writes, or who grows now.
    TooSoon,
    /// Open files are being looked through, which goes on after memory was looked at.
    StillLooking,
    /// The processes could not be read, and nobody is known from before.
    Unreadable(ReadError),
}

/// The last survey that succeeded.
#[derive(Clone, Copy, Debug)]
struct LastSurvey {
    at_us: u64,
    taken_kib: u64,
    processes: u32,
}

/// What is the same in every survey.
#[derive(Debug)]
struct Terms<'a> {
    proc: BorrowedFd<'a>,
    policy: Policy<'a>,
    /// Ourselves; `None` over a captured tree.
    own: Option<Pid>,
    page_kib: u64,
    vigil: Vigil,
    set_aside: [Option<Identity>; SET_ASIDE],
}

impl Terms<'_> {
    fn context<'s>(
        &'s self,
        snapshot: &Snapshot,
        before: Option<&'s Remembered>,
        now_us: u64,
    ) -> SurveyContext<'s> {
        SurveyContext {
            policy: self.policy,
            total_kib: snapshot.mem.total_kib(),
            swap_used_kib: snapshot.mem.swap_used_kib(),
            page_kib: self.page_kib,
            own: self.own,
            set_aside: &self.set_aside,
            before,
            shmem_growth_kib: snapshot.loss.shmem_kib,
            vigil: &self.vigil,
            now_us,
        }
    }
}

/// Knows who is how large and who grew.
#[derive(Debug)]
pub struct Selector<'a> {
    terms: Terms<'a>,
    /// The largest processes, as of the last survey.
    table: Ranking<TABLE>,
    /// What the last survey that succeeded tells the next.
    remembered: Remembered,
    last: Option<LastSurvey>,
    /// Who shares memory with one in the table.
    sharings: Sharings,
    /// How long before the last survey the one before it was; `None` where there was
    /// none to compare with.
    span_us: Option<u64>,
    /// Whether the last survey ended before it had seen everybody.
    is_partial: bool,
    /// Surveys in a row that failed.
    failures: u32,
    /// When growth may be noted again.
    note_due_us: u64,
    writers: Writers,
    holders: Holders,
    /// Somebody was killed, and memory has been low ever since.
    has_killed: bool,
    /// What that one had put into tmpfs has stayed there.
    has_pinned: bool,
}

impl<'a> Selector<'a> {
    /// A selector that knows nobody yet.
    pub fn new(tree: &'a Tree, policy: Policy<'a>, own: Pid, page_kib: u64) -> Self {
        let own = tree.live.then_some(own);
        Self {
            terms: Terms {
                proc: tree.proc.as_fd(),
                policy,
                own,
                page_kib,
                vigil: Vigil::new(tree.proc.as_fd()),
                set_aside: [None; SET_ASIDE],
            },
            table: Ranking::default(),
            remembered: Remembered::default(),
            last: None,
            sharings: Sharings::default(),
            span_us: None,
            is_partial: false,
            failures: 0,
            note_due_us: 0,
            writers: Writers::default(),
            holders: Holders::new(tree.proc.as_fd()),
            has_killed: false,
            has_pinned: false,
        }
    }

    /// Was there a survey before the last one, to tell who grew?
    pub fn has_history(&self) -> bool {
        self.span_us.is_some()
    }

    /// Has everybody been looked at twice within the shortest horizon over which
    /// growth tells something?
    fn has_looked_twice(&self) -> bool {
        self.span_us.is_some_and(|span_us| span_us <= LOOKS_APART_US)
    }

    /// The largest processes as of the last survey, best victim first.
    pub fn candidates(&self) -> &[Candidate] {
        self.table.all()
    }

    /// Who would be next after `culprit` and all that dies with it.
    pub fn next_after(&self, culprit: &Culprit) -> Option<&Candidate> {
        self.table.all().iter().find(|held| !dies_with(culprit, held))
    }

    /// Has it been so long since the last survey that growth must be noted, even
    /// with plenty of memory?
    pub fn is_note_due(&self, now_us: u64) -> bool {
        self.last.is_none_or(|last| now_us >= last.at_us + NOTE_IDLE_US) && now_us >= self.note_due_us
    }

    /// Notes who is how large, so that it can be told who grew: now and then
    /// while there is plenty, and as memory gets less.
    pub fn note_growth(&mut self, snapshot: &Snapshot, levels: &Levels, now_us: u64) {
        let mem = &snapshot.mem;
        let is_near = mem.mem_available_kib <= levels.mem_term_kib.saturating_mul(NOTE_TERMS);
        let has_got_less = self.last.is_some_and(|last| {
            mem.taken_kib() > last.taken_kib.saturating_add(min_freeable_kib(mem.total_kib()))
        });
        let is_due = is_near && has_got_less && now_us >= self.note_due_us || self.is_note_due(now_us);
        if is_due {
            self.terms.vigil.begin(Some(levels.mem_kill_kib));
            // One that fails leaves what is known, and is tried again.
            let _ = self.survey(snapshot, now_us);
        }
    }

    /// Brings the table up to date.
    ///
    /// # Errors
    /// `/proc` cannot be listed, or not every process could be read. Then nobody is
    /// known until the next survey, but who had how much before that still is.
    pub fn survey(&mut self, snapshot: &Snapshot, now_us: u64) -> Result<(), ReadError> {
        let before = self.last.map(|_| &self.remembered);
        let context = self.terms.context(snapshot, before, now_us);
        self.table.clear();
        let surveyed = survey(self.terms.proc, &context, &mut self.table, &mut self.sharings);
        let result = self.take_over(surveyed, snapshot, now_us);
        self.table.weigh_growth(snapshot.mem.total_kib());
        if snapshot.loss.shmem_kib > snapshot.loss.total_kib / 2 {
            self.look_for_writers(snapshot, now_us);
        }
        let end_us = read_clock();
        let rest_us = end_us.saturating_sub(now_us).saturating_mul(NOTE_REST).max(NOTE_MIN_US);
        self.note_due_us = end_us + rest_us;
        result
    }

    /// Remembers what a survey found, unless it failed: then whoever was not seen
    /// may be worth more than anybody who was, and nobody is to be chosen by it.
    fn take_over(
        &mut self,
        surveyed: Result<Surveyed, ReadError>,
        snapshot: &Snapshot,
        now_us: u64,
    ) -> Result<(), ReadError> {
        self.is_partial = surveyed == Ok(Surveyed::Interrupted);
        let processes = match surveyed {
            Ok(Surveyed::All { processes }) => processes,
            // There is no time for more, and better some than nobody. What was not
            // seen is not forgotten.
            Ok(Surveyed::Interrupted) => return Ok(()),
            // One process whose files can never be read must not blind us for ever.
            Ok(Surveyed::Incomplete { errno }) if self.failures >= MAX_FAILURES && !is_shortage(errno) => {
                return Ok(());
            }
            Ok(Surveyed::Incomplete { errno }) => return Err(self.fail(ReadError::Io(errno))),
            Err(error) => return Err(self.fail(error)),
        };
        self.failures = 0;
        self.span_us = self.last.map(|last| now_us.saturating_sub(last.at_us));
        self.remembered.renew(&self.table, now_us);
        self.last = Some(LastSurvey { at_us: now_us, taken_kib: snapshot.mem.taken_kib(), processes });
        Ok(())
    }

    fn fail(&mut self, error: ReadError) -> ReadError {
        self.failures += 1;
        self.table.clear();
        error
    }

    fn look_for_writers(&mut self, snapshot: &Snapshot, now_us: u64) {
        let context = self.terms.context(snapshot, None, now_us);
        // Whoever filled it has written as much.
        let least_kib = snapshot.loss.shmem_kib / 4;
        let mounts = &mut self.holders.mounts;
        self.writers.look(self.terms.proc, &context, snapshot.mem.shmem_kib, least_kib, mounts);
    }

    /// Looks at everybody once more before a victim is chosen. Not for the floor rule where it is
    /// known who grew: then everything stalls, a survey too.
    ///
    /// # Errors
    /// See [`survey`].
    pub fn survey_for(&mut self, rule: Rule, snapshot: &Snapshot, now_us: u64) -> Result<(), ReadError> {
        let is_fresh = self.last.is_some_and(|last| now_us < last.at_us + FRESH_US);
        let is_known = is_fresh && self.table.all().iter().any(|held| held.growth.kib > 0);
        if rule == Rule::Floor && is_known && !self.is_partial {
            return Ok(());
        }
        // To the end, for whoever is in the last places would not be seen. There is
        // nothing to be done that could be done sooner.
        self.terms.vigil.begin(None);
        self.survey(snapshot, now_us)
    }

    /// Who is to die, or why nobody is. Where there is time for it, everybody is
    /// looked at twice before: who has just been started is not who grows now.
    ///
    /// # Errors
    /// See [`NoVictim`].
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn select_victim(
        &mut self,
        rule: Rule,
        urgency: Urgency,
        snapshot: &Snapshot,
        now_us: u64,
        has_time: bool,
    ) -> Result<Culprit, NoVictim> {
        let least_kib = min_freeable_kib(snapshot.mem.total_kib());
        // Exhaustion alone is a state; it takes a reason to kill once more.
        let may_wait = rule == Rule::Exhaustion && urgency == Urgency::Term;
        let is_anybody_known = !self.table.all().is_empty();
        // Nor is there one where the memory is in files that outlive whoever dies.
        let needs_reason = self.has_killed && (may_wait || self.has_pinned);
        if is_anybody_known && needs_reason && snapshot.loss.total_kib < least_kib {
            return Err(NoVictim::Steady);
        }
        if may_wait && has_time && !self.has_looked_twice() {
            return Err(NoVictim::TooSoon);
        }
        let found = match attribute(self.table.all(), &snapshot.loss, least_kib) {
            Attribution::Known(culprit) => return Ok(self.with_sharers(culprit)),
            Attribution::Nobody => None,
            Attribution::SpawnBurst { unexplained_kib } => {
                let context = self.terms.context(snapshot, None, now_us);
                // Where it cannot be looked for, the ranking has to do.
                let burst = survey_spawn_burst(self.terms.proc, &context, young_since(), unexplained_kib);
                match burst.unwrap_or(None) {
                    Some(burst) => Some(burst),
                    None => self.search_holder(Sought::Kernel, unexplained_kib, snapshot, now_us)?,
                }
            }
            Attribution::Writer => self.select_writer(may_wait, snapshot, now_us)?,
        };
        let first = || self.table.all().first().map(|first| self.with_sharers(Culprit::one(*first)));
        let processes = self.last.map_or(0, |last| last.processes);
        found.or_else(first).ok_or(NoVictim::NoCandidate { processes })
    }

    /// The culprit with all that share its memory.
    fn with_sharers(&self, culprit: Culprit) -> Culprit {
        let is_its = |sharing: &&Sharing| sharing.first == culprit.victim.id;
        match self.sharings.iter().flatten().find(is_its) {
            Some(sharing) if culprit.members == 1 => {
                let members = 1 + sharing.others.iter().flatten().count() as u32;
                Culprit { members, sharers: sharing.others, ..culprit }
            }
            _ => culprit,
        }
    }

    fn select_writer(
        &mut self,
        may_wait: bool,
        snapshot: &Snapshot,
        now_us: u64,
    ) -> Result<Option<Culprit>, NoVictim> {
        let context = self.terms.context(snapshot, None, now_us);
        let writer = self.writers.select(self.terms.proc, &context);
        if writer.is_none() && self.writers.need_another_look(now_us) {
            // Whoever writes now may not have been there, or not have written
            // enough, at the last look.
            self.look_for_writers(snapshot, now_us);
            return Err(NoVictim::TooSoon);
        }
        if writer.is_some() {
            return Ok(writer);
        }
        // Without writing: fallocate(2), splice(2), a mapping.
        let shmem_kib = snapshot.loss.shmem_kib;
        let holder = self.search_holder(Sought::Shmem, shmem_kib, snapshot, now_us)?;
        if holder.is_none() && may_wait {
            return Err(NoVictim::NoWriter { shmem_growth_kib: shmem_kib });
        }
        Ok(holder)
    }

    fn search_holder(
        &mut self,
        sought: Sought,
        missing_kib: u64,
        snapshot: &Snapshot,
        now_us: u64,
    ) -> Result<Option<Culprit>, NoVictim> {
        let context = self.terms.context(snapshot, None, now_us);
        match self.holders.search(self.terms.proc, &context, sought, missing_kib) {
            Found::GoesOn => Err(NoVictim::StillLooking),
            Found::All(holder) => Ok(holder),
        }
    }

    /// Who dies with the culprit, if it is a growing group.
    pub fn members_of(&self, culprit: &Culprit) -> [Option<Identity>; TABLE] {
        members_of(culprit, self.table.all())
    }

    /// Who took the place of `gone`.
    pub fn find_successor(&self, gone: &Candidate, snapshot: &Snapshot, now_us: u64) -> Option<Culprit> {
        let context = self.terms.context(snapshot, None, now_us);
        find_successor(self.terms.proc, &context, gone)
    }

    /// Chooses this one no more.
    pub fn set_aside(&mut self, id: Identity) {
        self.terms.set_aside.rotate_right(1);
        self.terms.set_aside[0] = Some(id);
    }

    /// Somebody was killed: exhaustion alone is no reason for another kill. Nor is
    /// it, even below the KILL limit, where what that one had has stayed in tmpfs.
    pub fn settle(&mut self, has_pinned: bool) {
        self.writers.forget_suspect();
        self.has_killed = true;
        self.has_pinned = has_pinned;
    }

    /// Memory is no longer low.
    pub fn leave_low(&mut self) {
        self.has_killed = false;
        self.has_pinned = false;
    }
}

/// What started since then is young, in clock ticks since boot.
pub fn young_since() -> u64 {
    boottime_ticks().saturating_sub(YOUNG_TICKS)
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
