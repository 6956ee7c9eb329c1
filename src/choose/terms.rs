//! What is the same in every survey.

use super::scope::Scope;
use super::surveyor::{Remembered, SurveyContext};
use super::vigil::Vigil;
use crate::config::policy::Policy;
use crate::decide::snapshot::Snapshot;
use crate::read::process::{Identity, Pid};
use crate::sys::time::{MS, SECOND};
use rustix::fd::BorrowedFd;

/// Victims that would not die, remembered so that another is chosen.
pub const SET_ASIDE: usize = 16;

/// Below so many times the TERM limit growth is noted as often as memory gets
/// less, or more.
pub const NOTE_TERMS: u64 = 3;
/// Wait 50 times as long as the last survey took before noting growth again
/// (about 2 % of one CPU), and no less than this.
pub const NOTE_REST: u64 = 50;
/// See [`NOTE_REST`].
pub const NOTE_MIN_US: u64 = 100 * MS;
/// Above that it is noted this often, so that there is something to compare with.
pub const NOTE_IDLE_US: u64 = 30 * SECOND;

/// Two surveys no further apart tell who grows just now.
pub const LOOKS_APART_US: u64 = 500 * MS;

/// A survey this young will do where there is no time for another.
pub const FRESH_US: u64 = 2 * SECOND;

/// So long a file is looked for whose path is to be told.
pub const FILE_US: u64 = 5 * MS;

/// A choice is put off no more often than this in a row.
pub const MAX_TOO_SOON: u32 = 3;

/// May a choice be put off once more? Where looking takes long it would be too soon for ever.
pub fn may_look_again(too_soon: &mut u32) -> bool {
    *too_soon += 1;
    *too_soon <= MAX_TOO_SOON
}

/// The last survey that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct LastSurvey {
    /// When it began.
    pub at_us: u64,
    /// What was taken of memory and swap.
    pub taken_kib: u64,
    /// How many processes there were.
    pub processes: u32,
}

/// What is the same in every survey.
#[derive(Debug)]
pub struct Terms<'a> {
    /// `/proc`.
    pub proc: BorrowedFd<'a>,
    /// What the user rules out or favours.
    pub policy: Policy<'a>,
    /// Ourselves; `None` over a captured tree.
    pub own: Option<Pid>,
    /// KiB in a page.
    pub page_kib: u64,
    /// Which memory is guarded.
    pub scope: &'a Scope<'a>,
    /// Watches memory meanwhile.
    pub vigil: Vigil<'a>,
    /// Victims that would not die.
    pub set_aside: [Option<Identity>; SET_ASIDE],
    /// The command that we run.
    pub command: Option<Pid>,
}

impl Terms<'_> {
    /// What a survey needs to know at this time.
    pub fn context<'s>(
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
            overhead_kib: snapshot.mem.overhead_kib,
            locked_kib: snapshot.mem.locked_kib,
            own: self.own,
            set_aside: &self.set_aside,
            command: self.command,
            before,
            shmem_growth_kib: snapshot.loss.shmem_kib,
            scope: self.scope,
            vigil: &self.vigil,
            now_us,
        }
    }
}
