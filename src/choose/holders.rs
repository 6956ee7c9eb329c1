//! Who holds memory that is in no process's own figures: by pipes, sockets and
//! buffers of devices, or by files on a tmpfs that were filled without writing.

use super::ends::Ends;
use super::surveyor::{SurveyContext, Surveyor};
use crate::decide::attribution::Culprit;
use crate::decide::growth::{Growth, History};
use crate::read::holdings::{Holdings, read_holdings};
use crate::read::listing::{Listed, list_processes};
use crate::read::process::{Identity, Pid};
use crate::sys::time;
use core::ops::ControlFlow;
use rustix::fd::BorrowedFd;

/// Memory is looked at again after this much of a search.
const PART_US: u64 = 20_000;
/// No process is looked at for longer: one may have a million files open.
const PROCESS_US: u64 = 15_000;
/// After this long, who holds most of those that were looked at has to do: users decide
/// how many files there are.
const MAX_SEARCH_US: u64 = 1_000_000;
/// Ends of pipes and sockets are counted this often, and no more often than half a hundredth
/// of a processor does; but the first time at once. What was found is soon stale, so that
/// within a count the rests are shorter.
const NOTE_US: u64 = 500_000;
const NOTE_REST: u64 = 200;
const NOTE_PART_REST: u64 = 10;
/// A clock tick, as start times are told.
const TICK_US: u64 = 10_000;
/// What was found this long ago is looked for anew.
const STALE_US: u64 = 2_000_000;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Memory that the kernel keeps, in nobody's name.
    Kernel,
    /// Memory in tmpfs and shared memory.
    Shmem,
    /// None: ends of pipes and sockets are counted.
    Ends,
}

impl Sought {
    fn kib(self, held: &Holdings) -> u64 {
        match self {
            Self::Kernel => held.kernel_kib(),
            Self::Shmem => held.shmem_kib(),
            Self::Ends => 0,
        }
    }
}

/// A search under way.
#[derive(Clone, Copy, Debug)]
struct Search {
    sought: Sought,
    began_us: u64,
    /// When it went on last.
    last_us: u64,
}

impl Search {
    /// Would what it found be too old?
    fn is_stale(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.last_us) >= STALE_US
    }
}

/// A process and what its open files hold.
#[derive(Clone, Copy, Debug)]
struct Holder {
    id: Identity,
    held: Holdings,
}

/// Looks through the open files of all processes, a part at a time.
#[derive(Debug, Default)]
pub struct Holders {
    search: Option<Search>,
    /// Processes up to this pid have been looked at.
    after: i32,
    most: Option<Holder>,
    /// How many ends of pipes and sockets are open now, ...
    ends: Ends,
    /// ... and how many were before, the last time first.
    before: [Ends; 2],
    /// How long this count has taken so far.
    spent_us: u64,
    /// They are counted again no sooner.
    note_due_us: u64,
}

/// What a part of a search came to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not everybody has been looked at.
    GoesOn,
    /// The culprit has become the process that holds most: at least half of what is
    /// missing.
    Holder,
    /// There is none that may be killed.
    Nobody,
}

impl Holders {
    /// Forgets what was counted and found.
    pub fn forget(&mut self) {
        self.search = None;
        self.before.iter_mut().for_each(Ends::forget);
    }

    /// Goes on with the search for this, or begins it; then returns since when it has been
    /// under way.
    fn begin(&mut self, sought: Sought, unclaimed_kib: u64, now_us: u64) -> u64 {
        let under_way = self.search.filter(|search| search.sought == sought && !search.is_stale(now_us));
        let began_us = under_way.map_or(now_us, |search| search.began_us);
        self.search = Some(Search { sought, began_us, last_us: now_us });
        if under_way.is_none() {
            self.after = 0;
            self.most = None;
            self.spent_us = 0;
            self.ends.restart(unclaimed_kib, now_us);
        }
        began_us
    }

    /// Goes on until everybody has been looked at, or for `part_us`.
    // Out of line, for what its callers have on the stack is not needed meanwhile.
    #[inline(never)]
    fn advance(&mut self, surveyor: &Surveyor<'_>, missing_kib: u64, part_us: u64) -> Option<Listed> {
        let Self { search: Some(Search { sought, .. }), after, most, ends, .. } = self else { return None };
        let proc = surveyor.proc;
        let until_us = time::now_us() + part_us;
        let mut is_first = true;
        let listed = list_processes(proc, &mut |pid| {
            if pid.as_raw_pid() > *after && pid != Pid::INIT {
                let whole_us = time::now_us() + PROCESS_US;
                let process_until_us = until_us.min(whole_us);
                let most_kib = most.map_or(missing_kib / 2, |most: Holder| sought.kib(&most.held) + 1);
                if surveyor.is_in_scope(pid)
                    && let Ok((held, read)) = read_holdings(proc, pid, process_until_us)
                {
                    // The end of the part came in between. What it has is then known roughly,
                    // and how much more than before not at all: the next begins with it.
                    if read == Listed::Stopped && until_us < whole_us && !is_first {
                        return ControlFlow::Break(());
                    }
                    ends.enter(pid, &held);
                    if sought.kib(&held) >= most_kib.max(1)
                        && let Some((killable, _)) = surveyor.read_killable(pid)
                    {
                        *most = Some(Holder { id: killable.id, held });
                    }
                }
                *after = pid.as_raw_pid();
                is_first = false;
            }
            if time::now_us() >= until_us { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        listed.ok()
    }

    /// Counts ends of pipes and sockets now and then, while memory that no process claims
    /// becomes more: who has opened many more of them when it runs out has filled them,
    /// whatever they hold.
    // Out of line, so that other ways to a victim do not run below its tables.
    #[inline(never)]
    pub fn note(&mut self, proc: BorrowedFd<'_>, context: &SurveyContext<'_>, unclaimed_kib: u64) {
        let now_us = context.now_us;
        let last = &self.before[0];
        let is_worth_it = last.is_stale(now_us) || last.gone_kib(unclaimed_kib) >= context.min_freeable_kib();
        // Who is to be killed comes first.
        let is_searching =
            self.search.is_some_and(|search| search.sought != Sought::Ends && !search.is_stale(now_us));
        if now_us < self.note_due_us || is_searching || !is_worth_it {
            return;
        }
        let is_first = !last.is_counted();
        let since_us = self.begin(Sought::Ends, unclaimed_kib, now_us);
        let began_us = time::now_us();
        let listed = self.advance(&Surveyor::new(proc, context), 0, PART_US);
        let end_us = time::now_us();
        let part_us = end_us - began_us;
        self.spent_us += part_us;
        let mut rest_us = if is_first { 0 } else { part_us * NOTE_PART_REST };
        if listed == Some(Listed::All) || now_us.saturating_sub(since_us) >= MAX_SEARCH_US {
            self.search = None;
            self.before[1] = self.before[0];
            self.before[0] = self.ends;
            rest_us = NOTE_US.max(self.spent_us * NOTE_REST);
        }
        self.note_due_us = end_us + rest_us;
    }

    /// Goes on looking for who holds `missing_kib`.
    // Out of line, so that other ways to a victim do not run below its tables.
    #[inline(never)]
    pub fn search(
        &mut self,
        proc: BorrowedFd<'_>,
        context: &SurveyContext<'_>,
        sought: Sought,
        missing_kib: u64,
        unclaimed_kib: u64,
        culprit: &mut Culprit,
    ) -> Found {
        let now_us = context.now_us;
        let began_us = self.begin(sought, unclaimed_kib, now_us);
        let surveyor = Surveyor::new(proc, context);
        let listed = self.advance(&surveyor, missing_kib, PART_US);
        let is_long = now_us.saturating_sub(began_us) >= MAX_SEARCH_US;
        if listed == Some(Listed::Stopped) && !is_long {
            return Found::GoesOn;
        }
        self.search = None;
        // From before the last time: what has been opened since is more.
        let [last, before] = &self.before;
        let before = if before.is_counted() { before } else { last };
        let opener = match sought {
            Sought::Kernel => self.ends.opener_since(before, context.min_freeable_kib()),
            _ => None,
        };
        let Some(pid) = opener.map(|(pid, _)| pid).or(self.most.map(|most| most.id.pid)) else {
            return Found::Nobody;
        };
        let Some((killable, _)) = surveyor.read_killable(pid) else { return Found::Nobody };
        // What was counted is older than that.
        let is_another = time::boottime_ticks().saturating_sub(killable.id.starttime)
            < now_us.saturating_sub(began_us) / TICK_US;
        let (kib, held) = match (opener, &self.most) {
            _ if is_another => return Found::Nobody,
            // How many are pipes is not remembered.
            (Some((_, ends)), _) => (missing_kib, Holdings { pipes: ends, ..Holdings::default() }),
            (None, Some(most)) if most.id == killable.id => {
                (sought.kib(&most.held).min(missing_kib), most.held)
            }
            _ => return Found::Nobody,
        };
        let victim = surveyor.candidate(&killable, kib, History::NONE, Growth { kib, ..Growth::NONE });
        // What protects a process protects it here too.
        if victim.score_kib <= 0 {
            return Found::Nobody;
        }
        culprit.become_one(&victim);
        culprit.held = held;
        Found::Holder
    }
}
