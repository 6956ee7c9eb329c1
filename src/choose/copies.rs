//! Whose memory a process shows as its own. A forked child has all pages of its parent
//! until one of them writes to them, and both are shown to have all of them. Its end gives
//! back what its parent has written anew since, which nobody is seen to have taken, or
//! next to nothing.

use crate::decide::attribution::Culprit;
use crate::decide::victim::Candidate;

fn is_copy_of(copy: &Candidate, pid: i32, uid: u32) -> bool {
    copy.is_copy && copy.job.ppid == pid && copy.job.uid == uid
}

/// Where the culprit has only a copy, and has not grown since, its parent becomes the
/// culprit, if it may be killed: a child can be forked again. Copies die with the one that
/// they are of, if they are of much of it: as long as they live that is not free.
pub fn lead_to_parent(culprit: &mut Culprit, ranked: &[Candidate]) {
    let copy = &culprit.victim;
    let is_parent = |held: &&Candidate| {
        copy.growth.kib == 0
            && is_copy_of(copy, held.id.pid.as_raw_pid(), held.job.uid)
            && held.score_kib > 0
            && held.freeable_kib >= copy.freeable_kib - copy.freeable_kib / 8
    };
    if let Some(parent) = ranked.iter().find(is_parent) {
        culprit.become_one(parent);
    }
    let Candidate { id, job, freeable_kib, .. } = culprit.victim;
    let is_its = |held: &&Candidate| {
        is_copy_of(held, id.pid.as_raw_pid(), job.uid) && held.freeable_kib >= freeable_kib / 2
    };
    ranked.iter().filter(is_its).for_each(|copy| culprit.add(copy));
}

/// Makes those copies of one memory the culprit that can hold at least half of what nobody
/// is seen to have taken: what was in them before their parent wrote to it.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn select_copies(ranked: &[Candidate], unexplained_kib: u64, culprit: &mut Culprit) -> bool {
    let mut most_kib = unexplained_kib / 2;
    let mut first = None;
    for copy in ranked.iter().filter(|held| held.is_copy && held.score_kib > 0) {
        let family = ranked.iter().filter(|held| is_copy_of(held, copy.job.ppid, copy.job.uid));
        let kib = family.fold(0_u64, |all_kib, held| all_kib.saturating_add(held.freeable_kib));
        if kib > most_kib {
            most_kib = kib;
            first = Some(copy);
        }
    }
    let Some(first) = first else { return false };
    culprit.become_one(first);
    let others = ranked.iter().filter(|held| held.id != first.id);
    others.filter(|held| is_copy_of(held, first.job.ppid, first.job.uid)).for_each(|copy| culprit.add(copy));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::growth::Growth;
    use crate::decide::victim::VACANT;
    use crate::read::process::{Identity, JobKey, Pid};

    fn process(pid: i32, ppid: i32, freeable_kib: u64) -> Candidate {
        Candidate {
            id: Identity { pid: Pid::from_raw(pid).unwrap(), starttime: 1 },
            job: JobKey { ppid, ..VACANT.job },
            freeable_kib,
            is_copy: ppid > 1,
            score_kib: freeable_kib as i64,
            ..VACANT
        }
    }

    fn pids(culprit: &Culprit) -> std::vec::Vec<i32> {
        let others = culprit.sharers.iter().flatten().map(|id| id.pid.as_raw_pid());
        std::iter::once(culprit.victim.id.pid.as_raw_pid()).chain(others).collect()
    }

    #[test]
    fn a_copy_leads_to_whom_it_is_of_and_all_die() {
        let ranked = [process(31, 30, 110), process(30, 1, 100), process(32, 30, 90), process(41, 40, 90)];
        for at in [0, 1, 2] {
            let mut culprit = Culprit::one(ranked[at]);
            lead_to_parent(&mut culprit, &ranked);
            assert_eq!((pids(&culprit), culprit.members), (std::vec![30, 31, 32], 3));
        }
        // A worker that leaks beside what it was born with dies alone.
        let leak = Candidate { growth: Growth { kib: 50, ..Growth::NONE }, ..ranked[0] };
        let mut worker = Culprit::one(leak);
        lead_to_parent(&mut worker, &ranked);
        assert_eq!(pids(&worker), [31]);
        // Whose parent is not to be had, or has much less, stands for itself.
        let mut alone = Culprit::one(ranked[3]);
        lead_to_parent(&mut alone, &ranked);
        assert_eq!(pids(&alone), [41]);
        for parent in [process(30, 1, 96), Candidate { score_kib: 0, ..process(30, 1, 100) }] {
            let mut culprit = Culprit::one(ranked[0]);
            lead_to_parent(&mut culprit, &[ranked[0], parent]);
            assert_eq!(pids(&culprit), [31]);
        }
    }

    #[test]
    fn copies_can_hold_what_nobody_has_taken() {
        let ranked = [process(99, 1, 400), process(41, 40, 80), process(31, 30, 50), process(32, 30, 50)];
        let mut culprit = Culprit::one(VACANT);
        assert!(select_copies(&ranked, 199, &mut culprit));
        assert_eq!(pids(&culprit), [31, 32]);
        assert!(!select_copies(&ranked, 200, &mut culprit));
        assert!(!select_copies(&ranked[..1], 1, &mut culprit));
    }
}
