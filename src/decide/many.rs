//! Many that grow and have nothing else in common. Pure.

use crate::decide::growth::STOPPED_DEN;
use crate::decide::victim::Candidate;

/// All that grow now, whatever else they are. Many that nothing connects are no less to
/// blame together than one. They die a few at a time, since some may be what they should
/// be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Many<'r> {
    /// The one of them that ranks first, also where it pauses just now.
    pub first: Option<&'r Candidate>,
    /// By how much they grew to what they never had before.
    pub new_kib: u64,
    /// By how much the one that grew most did.
    most_kib: u64,
    /// What they are ranked by.
    score_kib: i64,
    /// How much the fastest of those that have not stopped grew over the longer of the
    /// short horizons.
    fastest_kib: u64,
}

impl<'r> Many<'r> {
    /// Those of `ranked`.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn of(ranked: &'r [Candidate]) -> Self {
        let growing = || ranked.iter().filter(|held| !held.has_stopped && new_kib(held) > 0);
        let mut many = Self { first: None, new_kib: 0, most_kib: 0, score_kib: 0, fastest_kib: 0 };
        many.fastest_kib = growing().map(|held| held.growth.recent_kib[1]).max().unwrap_or(0);
        for held in ranked {
            if many.has(held) {
                many.first = many.first.or(Some(held));
                many.new_kib = many.new_kib.saturating_add(new_kib(held));
                many.most_kib = many.most_kib.max(new_kib(held));
                many.score_kib = many.score_kib.saturating_add(held.score_kib);
            }
        }
        many
    }

    /// Is it one of them? They may take turns: who grew by as much lately is one; by far
    /// more, it is somebody else who has been started.
    pub fn has(&self, held: &Candidate) -> bool {
        let alike = self.fastest_kib / STOPPED_DEN..=self.fastest_kib.saturating_mul(STOPPED_DEN);
        let takes_turns = || self.fastest_kib > 0 && alike.contains(&held.growth.recent_kib[1]);
        new_kib(held) > 0 && (!held.has_stopped || takes_turns())
    }

    /// Has one of them taken half of what they did? Then the others are no part of it.
    pub fn is_led(&self) -> bool {
        self.most_kib >= self.new_kib / 2
    }

    /// Did they take half of what is missing, and are together more to blame than whoever
    /// ranks first?
    pub fn outweighs(&self, first: &Candidate, loss_kib: u64) -> bool {
        self.first.is_some() && self.new_kib >= loss_kib / 2 && self.score_kib > first.score_kib
    }
}

/// By how much it grew to what it never had before; nothing for what is protected from
/// being chosen.
fn new_kib(held: &Candidate) -> u64 {
    let Candidate { growth, score_kib, .. } = held;
    if *score_kib > 0 { growth.kib - growth.regained_kib } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::growth::Growth;
    use crate::decide::victim::VACANT;
    use crate::read::process::{Identity, Pid};

    /// Recorded in the lab, scene bursts: what warms up died for a leak that paused.
    #[test]
    fn the_first_of_many_is_the_one_that_ranks_first_although_it_pauses() {
        let held = |pid, grown_kib, recent_kib, has_stopped| Candidate {
            id: Identity { pid: Pid::from_raw(pid).unwrap(), starttime: 1 },
            freeable_kib: grown_kib,
            growth: Growth { kib: grown_kib, recent_kib, ..Growth::NONE },
            has_stopped,
            score_kib: grown_kib as i64,
            ..VACANT
        };
        let ranked = [held(1, 90, [0, 30], true), held(2, 27, [2, 20], false)];
        let first = |ranked: &[Candidate]| Many::of(ranked).first.map(|held| held.id.pid.as_raw_pid());
        assert_eq!(first(&ranked), Some(1));
        // Unless it has paused for long, or nobody is at it.
        assert_eq!(first(&[held(1, 90, [0, 4], true), ranked[1]]), Some(2));
        assert_eq!(first(&ranked[..1]), None);
    }
}
