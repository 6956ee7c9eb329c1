//! Who is to die, or why nobody is.

use super::batch::Batch;
use super::copies::{lead_to_parent, select_copies};
use super::holders::{Found, Holders, Sought};
use super::no_victim::NoVictim;
use super::scope::Scope;
use super::sharing::Sharings;
use super::spawn_burst::{survey_spawn_burst, young_since};
use super::successor::find_successor;
use super::survey::{Surveyed, survey};
use super::surveyor::Remembered;
use super::terms::{
    FRESH_US, LOOKS_APART_US, LastSurvey, NOTE_IDLE_US, NOTE_MIN_US, NOTE_REST, NOTE_TERMS, SET_ASIDE, Terms,
    may_look_again,
};
use super::vigil::{Until, Vigil};
use super::writers::Writers;
use crate::config::policy::Policy;
use crate::decide::attribution::{Attribution, Culprit, Sharing, attribute, dies_with};
use crate::decide::doubt::Doubt;
use crate::decide::growth::{History, Reading};
use crate::decide::levels::Levels;
use crate::decide::pacing::{LOOK_AGAIN_US, SEARCH_US};
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::{Rule, Urgency};
use crate::decide::victim::{Candidate, Ranking, TABLE, VACANT, min_freeable_kib};
use crate::read::ancestry::is_descendant;
use crate::read::kfile::{ReadError, Tree, is_shortage};
use crate::read::process::{Identity, Pid};
use crate::sys::time::now_us as read_clock;
use rustix::fd::AsFd;

mod tmpfs;

/// After this many surveys in a row in which somebody could not be read, what can be read has to do.
const MAX_FAILURES: u32 = 3;

/// Knows who is how large and who grew.
#[derive(Debug)]
pub struct Selector<'a> {
    terms: Terms<'a>,
    /// The largest processes, as of the last survey.
    table: Ranking<TABLE>,
    /// What the last survey that succeeded tells the next.
    remembered: Remembered,
    last: Option<LastSurvey>,
    /// The levels that what was taken of memory had at the surveys.
    taken: History,
    /// Who shares memory with one in the table.
    sharings: Sharings,
    /// How long before the last survey the one before it was; `None` where there was none.
    span_us: Option<u64>,
    /// Whether the last survey ended before it had seen everybody.
    is_partial: bool,
    /// Surveys in a row that failed.
    failures: u32,
    /// When growth may be noted again.
    note_due_us: u64,
    writers: Writers,
    holders: Holders,
    batch: Batch,
    /// Who was chosen of those that share a memory, to see whether the others let go of it.
    guest: Option<Identity>,
    /// Somebody was killed, and memory has been low ever since.
    has_killed: bool,
    /// Others have what that one had, as its death did not give it back.
    have_others_it: bool,
    /// What that one had put into tmpfs has stayed there: until then nobody else is killed for it.
    pinned_until_us: u64,
    /// How often in a row it was too soon to choose.
    too_soon: u32,
    /// Whose choice was put off, to see whether it goes on.
    doubt: Option<Doubt>,
    /// Who was chosen last.
    culprit: Culprit,
}

impl<'a> Selector<'a> {
    /// A selector that knows nobody yet.
    pub fn new(tree: &'a Tree, scope: &'a Scope<'a>, policy: Policy<'a>, own: Pid, page_kib: u64) -> Self {
        Self {
            terms: Terms {
                proc: tree.proc.as_fd(),
                policy,
                own: tree.live.then_some(own),
                page_kib,
                scope,
                vigil: Vigil::new(tree.proc.as_fd(), scope),
                set_aside: [None; SET_ASIDE],
                command: None,
            },
            table: Ranking::default(),
            remembered: Remembered::default(),
            last: None,
            taken: History::NONE,
            sharings: Sharings::default(),
            span_us: None,
            is_partial: false,
            failures: 0,
            note_due_us: 0,
            writers: Writers::default(),
            holders: Holders::default(),
            batch: Batch::default(),
            guest: None,
            has_killed: false,
            have_others_it: false,
            pinned_until_us: 0,
            too_soon: 0,
            doubt: None,
            culprit: Culprit::one(VACANT),
        }
    }

    /// Was there a survey before the last one, to tell who grew?
    pub fn has_history(&self) -> bool {
        self.span_us.is_some()
    }

    /// Has everybody been looked at twice within the shortest horizon over which growth tells something?
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

    /// Has it been so long since the last survey that growth must be noted, even with plenty of memory?
    pub fn is_note_due(&self, now_us: u64) -> bool {
        self.last.is_none_or(|last| now_us >= last.at_us + NOTE_IDLE_US) && now_us >= self.note_due_us
    }

    /// Notes who is how large, so that it can be told who grew: now and then
    /// while there is plenty, and as memory gets less.
    pub fn note_growth(&mut self, snapshot: &Snapshot, levels: &Levels, now_us: u64) {
        let mem = &snapshot.mem;
        let is_near = mem.mem_available_kib <= levels.mem_term_kib.saturating_mul(NOTE_TERMS);
        // When there is more, too: somebody gave it back, and may take it again.
        let has_changed = self
            .last
            .is_some_and(|last| mem.taken_kib().abs_diff(last.taken_kib) > min_freeable_kib(mem.total_kib()));
        let is_due = is_near && has_changed && now_us >= self.note_due_us || self.is_note_due(now_us);
        if is_due {
            self.terms.vigil.begin(Until { least_kib: levels.mem_kill_kib, enough_kib: u64::MAX });
            // One that fails leaves what is known, and is tried again.
            let _ = self.survey(snapshot, now_us);
        }
        let loss = &snapshot.loss;
        let unclaimed_growth_kib = loss.pinned_kib.saturating_sub(loss.shmem_kib);
        if is_near && unclaimed_growth_kib > min_freeable_kib(mem.total_kib()) {
            let context = self.terms.context(snapshot, None, now_us);
            self.holders.note(self.terms.proc, &context, mem.unclaimed_kib());
        }
    }

    /// Brings the table up to date.
    ///
    /// # Errors
    /// `/proc` cannot be listed, or not every process could be read. Then nobody is
    /// known until the next survey, but who had how much before that still is.
    pub fn survey(&mut self, snapshot: &Snapshot, now_us: u64) -> Result<(), ReadError> {
        self.terms.scope.follow();
        let before = self.last.map(|_| &self.remembered);
        let context = self.terms.context(snapshot, before, now_us);
        self.table.clear();
        let surveyed = survey(self.terms.proc, &context, &mut self.table, &mut self.sharings);
        let result = self.take_over(surveyed, snapshot, now_us);
        let total_kib = snapshot.mem.total_kib();
        if let Some(doubt) = &mut self.doubt {
            doubt.note(&mut self.table, total_kib, now_us);
        }
        self.table.weigh_growth(total_kib);
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
        let taken_kib = snapshot.mem.taken_kib();
        self.taken = self.taken.after(Reading::of_all(taken_kib), now_us);
        self.last = Some(LastSurvey { at_us: now_us, taken_kib, processes });
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
        self.writers.look(self.terms.proc, &context, snapshot.mem.shmem_kib, least_kib);
    }

    /// Looks at everybody once more before a victim is chosen. Not for the floor rule where it is
    /// known who grew: then everything stalls, a survey too.
    ///
    /// # Errors
    /// See [`survey`].
    pub fn survey_for(
        &mut self,
        rule: Rule,
        snapshot: &Snapshot,
        levels: &Levels,
        now_us: u64,
    ) -> Result<(), ReadError> {
        // However short memory is, to the end, for whoever is in the last places would not
        // be seen. But nobody is to die once there is enough again.
        self.terms.vigil.begin(Until { least_kib: 0, enough_kib: levels.plenty_kib() });
        let is_fresh = self.last.is_some_and(|last| now_us < last.at_us + FRESH_US);
        let is_known = is_fresh && self.table.all().iter().any(|held| held.growth.kib > 0);
        if rule == Rule::Floor && is_known && !self.is_partial {
            return Ok(());
        }
        self.survey(snapshot, now_us)
    }

    /// Who runs below us as `command`, and is the victim only if no other process
    /// below us would help; `None` once it has ended.
    pub fn spare(&mut self, command: Option<Pid>) {
        self.terms.command = command;
    }

    /// Where the culprit is the command, the first other that is below us dies in its place.
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

    /// Has memory not become less since the last kill, so that there is no reason for
    /// another? Exhaustion alone is a state; and memory in files outlives whoever dies.
    pub fn is_steady(&self, rule: Rule, urgency: Urgency, snapshot: &Snapshot, now_us: u64) -> bool {
        let may_wait = rule == Rule::Exhaustion && urgency == Urgency::Term;
        let needs_reason = self.has_killed && (may_wait || self.has_pinned(now_us));
        needs_reason && snapshot.loss.total_kib < min_freeable_kib(snapshot.mem.total_kib())
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
        wait_us: u64,
    ) -> Result<(), NoVictim> {
        // Not everybody was looked at. If memory is short once more, everybody has to be.
        if self.terms.vigil.has_come_back() {
            return Err(NoVictim::StillLooking);
        }
        let has_pinned = self.has_pinned(now_us);
        // After a writer's death the least that is a reason for another is to be a writer's, too,
        // and nobody else's as long as the kernel has its reserve.
        let least_kib = min_freeable_kib(snapshot.mem.total_kib()) / if has_pinned { 4 } else { 1 };
        let has_reserve = snapshot.mem.mem_available_kib > snapshot.reserve_kib;
        let is_writers = has_pinned && has_reserve && rule == Rule::Exhaustion;
        let processes = self.last.map_or(0, |last| last.processes);
        let may_wait = rule == Rule::Exhaustion && urgency == Urgency::Term || is_writers;
        if !self.table.all().is_empty() && self.is_steady(rule, urgency, snapshot, now_us) {
            return Err(NoVictim::Steady);
        }
        if may_wait
            && wait_us >= LOOK_AGAIN_US
            && !self.has_looked_twice()
            && may_look_again(&mut self.too_soon)
        {
            return Err(NoVictim::TooSoon);
        }
        let lost = self.taken.growth(self.last.map_or(0, |last| last.taken_kib), u64::MAX);
        let attribution = attribute(self.table.all(), &snapshot.loss, &lost, least_kib);
        if is_writers && !matches!(attribution, Attribution::Writer) {
            return Err(NoVictim::TooSoon);
        }
        // What nobody seems to have may be a moment's: it is seen again first.
        let is_burst = matches!(attribution, Attribution::SpawnBurst { .. });
        if may_wait && is_burst && wait_us >= SEARCH_US && may_look_again(&mut self.too_soon) {
            return Err(NoVictim::TooSoon);
        }
        if may_wait
            && wait_us > 0
            && Doubt::is_open(&mut self.doubt, &attribution, &self.table, snapshot.mem.total_kib(), now_us)
        {
            // Where there is no time for more, it is looked again as soon as can be.
            return Err(if wait_us < LOOK_AGAIN_US { NoVictim::StillLooking } else { NoVictim::TooSoon });
        }
        let is_found = match attribution {
            Attribution::Known(takers) => {
                self.culprit.become_all_of(&takers);
                self.add_sharers();
                true
            }
            Attribution::OneOf(many) => {
                self.batch.choose(&many, self.table.all(), &mut self.culprit, now_us);
                self.add_sharers();
                true
            }
            Attribution::Nobody => return Err(NoVictim::NoCandidate { processes }),
            Attribution::SpawnBurst { unexplained_kib } => {
                let context = self.terms.context(snapshot, None, now_us);
                // Where it cannot be looked for, the ranking has to do.
                let (proc, ranked, culprit) = (self.terms.proc, self.table.all(), &mut self.culprit);
                let burst =
                    survey_spawn_burst(proc, &context, young_since(), unexplained_kib, ranked, culprit);
                let is_found = burst.unwrap_or(false)
                    || self.search_holder(Sought::Kernel, unexplained_kib, snapshot, now_us)?
                    || select_copies(self.table.all(), unexplained_kib, &mut self.culprit);
                // Nobody in here is to die for what others have taken.
                if !is_found && snapshot.mem.outside_kib > unexplained_kib / 2 {
                    return Err(NoVictim::NoCandidate { processes });
                }
                is_found
            }
            Attribution::Writer => self.select_writer(may_wait, snapshot, now_us)?,
        };
        if !is_found {
            // It is not known who they are, and whoever is large need not be one of them.
            if may_wait && self.have_others_it {
                return Err(NoVictim::Steady);
            }
            let first = self.table.all().first().ok_or(NoVictim::NoCandidate { processes })?;
            self.culprit.become_one(first);
            self.add_sharers();
        }
        if self.terms.vigil.has_come_back() { Err(NoVictim::StillLooking) } else { Ok(()) }
    }

    /// Takes all that share its memory along with the culprit, unless it may be enough that
    /// one of them goes.
    fn add_sharers(&mut self) {
        let culprit = &mut self.culprit;
        let is_its = |sharing: &&Sharing| sharing.first == culprit.victim.id;
        if let Some(sharing) = self.sharings.iter().flatten().find(is_its)
            && culprit.members == 1
        {
            if let Some((id, job)) = sharing.guest.filter(|_| self.guest.is_none()) {
                self.guest = Some(id);
                (culprit.victim.id, culprit.victim.job) = (id, job);
                return;
            }
            culprit.members += sharing.others.iter().flatten().count() as u32;
            culprit.sharers = sharing.others;
        } else if culprit.members == 1 {
            lead_to_parent(culprit, self.table.all());
        }
    }

    fn search_holder(
        &mut self,
        sought: Sought,
        missing_kib: u64,
        snapshot: &Snapshot,
        now_us: u64,
    ) -> Result<bool, NoVictim> {
        let context = self.terms.context(snapshot, None, now_us);
        let (proc, unclaimed_kib) = (self.terms.proc, snapshot.mem.unclaimed_kib());
        match self.holders.search(proc, &context, sought, missing_kib, unclaimed_kib, &mut self.culprit) {
            Found::GoesOn => Err(NoVictim::StillLooking),
            Found::Holder => Ok(true),
            Found::Nobody => Ok(false),
        }
    }

    /// Makes whoever took the place of `gone` the culprit, if somebody did.
    // Out of line, so that kills do not run below what is read for it.
    #[inline(never)]
    pub fn find_successor(&mut self, gone: &Candidate, snapshot: &Snapshot, now_us: u64) -> bool {
        let context = self.terms.context(snapshot, None, now_us);
        let Some(culprit) = find_successor(self.terms.proc, &context, gone) else { return false };
        self.culprit = culprit;
        true
    }

    /// The victim has died and gave so much back: true if others have what it held, and not a tmpfs.
    pub fn have_others_it(&mut self, gained_kib: u64) -> bool {
        let Candidate { id, freeable_kib, .. } = self.culprit.victim;
        let is_kernels = self.culprit.held.kernel_kib() > self.culprit.held.tmpfs_kib;
        self.have_others_it = gained_kib < freeable_kib / 4 && (self.guest == Some(id) || is_kernels);
        self.have_others_it
    }

    /// Chooses this one no more.
    pub fn set_aside(&mut self, id: Identity) {
        self.terms.set_aside.rotate_right(1);
        self.terms.set_aside[0] = Some(id);
    }

    /// Somebody was killed: exhaustion alone is no reason for another kill. Nor is
    /// it, even below the KILL limit, where what that one had has stayed in tmpfs.
    pub fn settle(&mut self, pinned_until_us: u64) {
        self.writers.forget_suspect();
        self.has_killed = true;
        self.pinned_until_us = pinned_until_us;
        (self.too_soon, self.doubt) = (0, None);
    }

    /// Other memory is guarded now, and what is known is about what was.
    pub fn forget(&mut self) {
        (self.last, self.taken, self.span_us) = (None, History::NONE, None);
        self.writers.forget();
        self.holders.forget();
        self.leave_low();
    }

    /// Memory is no longer low.
    pub fn leave_low(&mut self) {
        (self.has_killed, self.have_others_it, self.too_soon) = (false, false, 0);
        (self.pinned_until_us, self.guest, self.doubt) = (0, None, None);
    }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
