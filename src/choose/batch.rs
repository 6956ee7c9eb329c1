//! How many of those die at once that grow and have nothing else in common: one at
//! first, which may be enough, and twice as many each time that it was not.

use crate::decide::attribution::{Culprit, MAX_SHARERS};
use crate::decide::many::Many;
use crate::decide::victim::Candidate;
use crate::sys::time::SECOND;

/// After this long without one the next is a first one.
const FORGET_US: u64 = 10 * SECOND;

/// How many were chosen last, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch {
    members: usize,
    at_us: u64,
}

impl Batch {
    /// Makes as many of `many` the culprit as are due, those that rank first before others.
    pub fn choose(&mut self, many: &Many<'_>, ranked: &[Candidate], culprit: &mut Culprit, now_us: u64) {
        let Some(first) = many.first else { return };
        let is_forgotten = self.members == 0 || now_us.saturating_sub(self.at_us) > FORGET_US;
        let is_first = is_forgotten || many.is_led();
        self.members = if is_first { 1 } else { (self.members * 2).min(MAX_SHARERS + 1) };
        self.at_us = now_us;
        culprit.become_one(first);
        let others = ranked.iter().filter(|held| held.id != first.id && many.has(held));
        for other in others.take(self.members - 1) {
            culprit.add(other);
            culprit.is_of_many = true;
            let victim = &mut culprit.victim;
            victim.freeable_kib = victim.freeable_kib.saturating_add(other.freeable_kib);
            victim.growth.kib = victim.growth.kib.saturating_add(other.growth.kib);
            victim.score_kib = victim.score_kib.saturating_add(other.score_kib);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::growth::Growth;
    use crate::decide::victim::VACANT;
    use crate::read::process::{Identity, Pid};

    #[test]
    fn twice_as_many_die_each_time() {
        let leak = |pid| Candidate {
            id: Identity { pid: Pid::from_raw(pid).unwrap(), starttime: 1 },
            freeable_kib: 5,
            growth: Growth { kib: 3, recent_kib: [3; 2], ..Growth::NONE },
            score_kib: 29,
            ..VACANT
        };
        let ranked: std::vec::Vec<_> = (10..40).map(leak).collect();
        let many = Many::of(&ranked);
        let (mut batch, mut culprit) = (Batch::default(), Culprit::one(VACANT));
        let mut choose = |now_us| {
            batch.choose(&many, &ranked, &mut culprit, now_us);
            (culprit.members, culprit.victim.freeable_kib)
        };
        assert_eq!([1, 2, 3].map(&mut choose), [(1, 5), (2, 10), (4, 20)]);
        assert_eq!([4, 5, 6].map(&mut choose), [(8, 40), (9, 45), (9, 45)]);
        assert_eq!(choose(7 + FORGET_US), (1, 5));
        // One that leaks beside others that grow a little dies alone, however often.
        let leak = Candidate { growth: Growth { kib: 100, recent_kib: [10; 2], ..Growth::NONE }, ..leak(9) };
        let ranked = [&[leak][..], &ranked[..10]].concat();
        let many = Many::of(&ranked);
        batch.choose(&many, &ranked, &mut culprit, 8 + FORGET_US);
        assert_eq!((culprit.members, culprit.victim.id), (1, leak.id));
    }
}
