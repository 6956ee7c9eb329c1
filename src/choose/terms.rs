//! What is the same in every survey.

use super::scope::Scope;
use super::surveyor::{Remembered, SurveyContext};
use super::vigil::Vigil;
use crate::config::policy::Policy;
use crate::decide::snapshot::Snapshot;
use crate::read::process::{Identity, Pid};
use rustix::fd::BorrowedFd;

/// Victims that would not die, remembered so that another is chosen.
pub const SET_ASIDE: usize = 16;

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
