//! Who is to die, or why nobody is.

use super::holders::{Found, Holders, Sought};
use super::sharing::Sharings;
use super::spawn_burst::{survey_spawn_burst, young_since};
use super::successor::find_successor;
use super::survey::{Surveyed, survey};
use super::surveyor::{Remembered, SurveyContext};
use super::vigil::Vigil;
use super::writers::Writers;
use crate::config::policy::Policy;
use crate::decide::attribution::{Attribution, Culprit, Sharing, attribute, dies_with};
use crate::decide::levels::Levels;
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::{Rule, Urgency};
use crate::decide::victim::{Candidate, Ranking, TABLE, VACANT, min_freeable_kib};
use crate::read::ancestry::is_descendant;
use crate::read::holdings::{FilePath, read_largest_tmpfs_file};
use crate::read::kfile::{ReadError, Tree};
use crate::read::process::{Identity, Pid};
use crate::sys::time::{MS, SECOND, now_us as read_clock};
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

/// So long a file is looked for whose path is to be told.
const FILE_US: u64 = 5 * MS;

/// A choice is put off no more often than this in a row.
const MAX_TOO_SOON: u32 = 3;

/// Two surveys no further apart tell who grows just now.
const LOOKS_APART_US: u64 = 500 * MS;

/// A survey this young will do where there is no time for another.
const FRESH_US: u64 = 2 * SECOND;

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
    /// The command that we run.
    command: Option<Pid>,
}

impl Terms<'_> {
    fn context<'s>(
        &'s self,
        snapshot: &Snapshot,
        before: Option<&'s Remembered>,
        now_us: u64,
    ) -> SurveyContext<'s> {
        SurveyContext {
            policy: &self.policy,
            total_kib: snapshot.mem.total_kib(),
            swap_used_kib: snapshot.mem.swap_used_kib(),
            page_kib: self.page_kib,
            own: self.own,
            set_aside: &self.set_aside,
            command: self.command,
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
    /// What that one had put into tmpfs has stayed there, and until then nobody else is
    /// killed for it.
    pinned_until_us: Option<u64>,
    /// How often in a row it was too soon to choose.
    too_soon: u32,
    /// Who was chosen last.
    culprit: Culprit,
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
                command: None,
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
            pinned_until_us: None,
            too_soon: 0,
            culprit: Culprit::one(VACANT),
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

    /// Who was chosen last.
    pub fn culprit(&self) -> &Culprit {
        &self.culprit
    }

    /// Who would be next after the culprit and all that dies with it.
    pub fn next(&self) -> Option<&Candidate> {
        self.table.all().iter().find(|held| !dies_with(&self.culprit, held))
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

    /// Who runs below us as `command`, and is the victim only if no other process
    /// below us would help; `None` once it has ended.
    pub fn spare(&mut self, command: Option<Pid>) {
        self.terms.command = command;
    }

    /// Where the culprit is the command, the first other that is below us dies in its
    /// place.
    // Out of line, since it is hardly ever called.
    #[inline(never)]
    pub fn replace_command(&mut self) {
        let Terms { proc, own: Some(own), command, .. } = self.terms else { return };
        if command != Some(self.culprit.victim.id.pid) {
            return;
        }
        let is_other =
            |held: &&Candidate| command != Some(held.id.pid) && is_descendant(proc, held.id.pid, own);
        if let Some(other) = self.table.all().iter().find(is_other) {
            self.culprit.become_one(other);
            self.add_sharers();
        }
    }

    /// Chooses who is to die, or tells why nobody is. Where there is time for it, everybody is
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
    ) -> Result<(), NoVictim> {
        let least_kib = min_freeable_kib(snapshot.mem.total_kib());
        let processes = self.last.map_or(0, |last| last.processes);
        // Exhaustion alone is a state; it takes a reason to kill once more.
        let may_wait = rule == Rule::Exhaustion && urgency == Urgency::Term;
        let is_anybody_known = !self.table.all().is_empty();
        // Nor is there one where the memory is in files that outlive whoever dies.
        let has_pinned = self.pinned_until_us.is_some_and(|until_us| now_us < until_us);
        let needs_reason = self.has_killed && (may_wait || has_pinned);
        if is_anybody_known && needs_reason && snapshot.loss.total_kib < least_kib {
            return Err(NoVictim::Steady);
        }
        if may_wait && has_time && !self.has_looked_twice() && self.may_look_again() {
            return Err(NoVictim::TooSoon);
        }
        let is_found = match attribute(self.table.all(), &snapshot.loss, least_kib) {
            Attribution::Known(takers) => {
                self.culprit.become_all_of(&takers);
                self.add_sharers();
                true
            }
            Attribution::Nobody => return Err(NoVictim::NoCandidate { processes }),
            Attribution::SpawnBurst { unexplained_kib } => {
                let context = self.terms.context(snapshot, None, now_us);
                // Where it cannot be looked for, the ranking has to do.
                let (proc, culprit) = (self.terms.proc, &mut self.culprit);
                let burst = survey_spawn_burst(proc, &context, young_since(), unexplained_kib, culprit);
                burst.unwrap_or(false)
                    || self.search_holder(Sought::Kernel, unexplained_kib, snapshot, now_us)?
            }
            Attribution::Writer => self.select_writer(may_wait, snapshot, now_us)?,
        };
        if !is_found {
            let first = self.table.all().first().ok_or(NoVictim::NoCandidate { processes })?;
            self.culprit.become_one(first);
            self.add_sharers();
        }
        Ok(())
    }

    /// Takes all that share its memory along with the culprit.
    fn add_sharers(&mut self) {
        let culprit = &mut self.culprit;
        let is_its = |sharing: &&Sharing| sharing.first == culprit.victim.id;
        if let Some(sharing) = self.sharings.iter().flatten().find(is_its)
            && culprit.members == 1
        {
            culprit.members += sharing.others.iter().flatten().count() as u32;
            culprit.sharers = sharing.others;
        }
    }

    fn select_writer(&mut self, may_wait: bool, snapshot: &Snapshot, now_us: u64) -> Result<bool, NoVictim> {
        let context = self.terms.context(snapshot, None, now_us);
        if self.writers.select(self.terms.proc, &context, &mut self.culprit) {
            return Ok(true);
        }
        if self.writers.need_another_look(now_us) {
            // Whoever writes now may not have been there, or not have written
            // enough, at the last look.
            self.look_for_writers(snapshot, now_us);
            if self.may_look_again() {
                return Err(NoVictim::TooSoon);
            }
        }
        // Without writing: fallocate(2), splice(2), a mapping.
        let shmem_kib = snapshot.loss.shmem_kib;
        let is_found = self.search_holder(Sought::Shmem, shmem_kib, snapshot, now_us)?;
        if !is_found && may_wait {
            return Err(NoVictim::NoWriter { shmem_growth_kib: shmem_kib });
        }
        Ok(is_found)
    }

    /// May a choice be put off once more? Where looking takes long it would be too soon
    /// for ever.
    fn may_look_again(&mut self) -> bool {
        self.too_soon += 1;
        self.too_soon <= MAX_TOO_SOON
    }

    fn search_holder(
        &mut self,
        sought: Sought,
        missing_kib: u64,
        snapshot: &Snapshot,
        now_us: u64,
    ) -> Result<bool, NoVictim> {
        let context = self.terms.context(snapshot, None, now_us);
        match self.holders.search(self.terms.proc, &context, sought, missing_kib, &mut self.culprit) {
            Found::GoesOn => Err(NoVictim::StillLooking),
            Found::Holder => Ok(true),
            Found::Nobody => Ok(false),
        }
    }

    /// Makes whoever took the place of `gone` the culprit, if somebody did.
    pub fn find_successor(&mut self, gone: &Candidate, snapshot: &Snapshot, now_us: u64) -> bool {
        let context = self.terms.context(snapshot, None, now_us);
        let found = find_successor(self.terms.proc, &context, gone);
        if let Some(culprit) = found {
            self.culprit = culprit;
        }
        found.is_some()
    }

    /// Finds the largest file on a tmpfs that the culprit has open for writing.
    pub fn find_tmpfs_file(&mut self, file: &mut FilePath) {
        let (pid, until_us) = (self.culprit.victim.id.pid, read_clock() + FILE_US);
        // Where they cannot be read, there is none to tell of.
        let _ = read_largest_tmpfs_file(self.terms.proc, pid, &mut self.holders.mounts, until_us, file);
    }

    /// Chooses this one no more.
    pub fn set_aside(&mut self, id: Identity) {
        self.terms.set_aside.rotate_right(1);
        self.terms.set_aside[0] = Some(id);
    }

    /// Somebody was killed: exhaustion alone is no reason for another kill. Nor is
    /// it, even below the KILL limit, where what that one had has stayed in tmpfs.
    pub fn settle(&mut self, pinned_until_us: Option<u64>) {
        self.writers.forget_suspect();
        self.has_killed = true;
        self.pinned_until_us = pinned_until_us;
        self.too_soon = 0;
    }

    /// Memory is no longer low.
    pub fn leave_low(&mut self) {
        self.has_killed = false;
        self.pinned_until_us = None;
        self.too_soon = 0;
    }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
