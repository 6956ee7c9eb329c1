//! Who has opened pipes and sockets since some time. How much one holds cannot be asked,
//! but how much memory has gone meanwhile that no process claims is known.

use crate::read::holdings::Holdings;
use crate::read::process::Pid;
use crate::sys::time::SECOND;

/// Processes whose ends are remembered: those that have most.
const REMEMBERED: usize = 16;

/// No end holds more, in KiB: a pipe of 1 MiB has two (pipe-max-size), and what one end of
/// a socket has sent is a fifth of that by default, and less than that as a rule.
const MOST_KIB: u64 = 512;

/// They are counted this often, while memory is short.
const STALE_US: u64 = 60 * SECOND;

/// How many ends of pipes and sockets those have that have most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    at_us: u64,
    /// Memory that no process claims, when they were counted.
    unclaimed_kib: u64,
    held: [Option<(Pid, u32)>; REMEMBERED],
}

/// The ends among what a process holds.
fn count(held: &Holdings) -> u32 {
    held.pipes.saturating_add(held.sockets)
}

impl Ends {
    /// Counts them anew.
    pub fn restart(&mut self, unclaimed_kib: u64, at_us: u64) {
        (self.at_us, self.unclaimed_kib) = (at_us, unclaimed_kib);
        self.held = [None; REMEMBERED];
    }

    /// They have not been counted.
    pub fn forget(&mut self) {
        self.at_us = 0;
    }

    /// Have they been counted at all?
    pub fn is_counted(&self) -> bool {
        self.at_us > 0
    }

    /// Is it so long since they were counted that they are to be again?
    pub fn is_stale(&self, now_us: u64) -> bool {
        !self.is_counted() || now_us.saturating_sub(self.at_us) > STALE_US
    }

    /// How much more memory no process claims now.
    pub fn gone_kib(&self, unclaimed_kib: u64) -> u64 {
        unclaimed_kib.saturating_sub(self.unclaimed_kib)
    }

    /// Nobody who is not remembered had more.
    fn least(&self) -> u32 {
        self.held.iter().map(|place| place.map_or(0, |(_, ends)| ends)).min().unwrap_or(0)
    }

    /// Remembers a process, if it has enough.
    pub fn enter(&mut self, pid: Pid, held: &Holdings) {
        let key = |place: &Option<(Pid, u32)>| place.map_or(0, |(_, ends)| ends);
        if let Some(place) = self.held.iter_mut().min_by_key(|place| key(place))
            && key(place) < count(held)
        {
            *place = Some((pid, count(held)));
        }
    }

    /// How many more this one has than before.
    fn opened_since(&self, before: &Self, pid: Pid, ends: u32) -> u64 {
        let known = before.held.iter().flatten().find(|known| known.0 == pid);
        ends.saturating_sub(known.map_or(before.least(), |(_, ends)| *ends)).into()
    }

    /// Who has opened most since `before`: at least half of all that were opened, and
    /// enough to hold half of what has gone meanwhile. `None` where that is less than
    /// `least_kib`, and tells nothing.
    pub fn opener_since(&self, before: &Self, least_kib: u64) -> Option<(Pid, u32)> {
        let gone_kib = before.gone_kib(self.unclaimed_kib);
        if gone_kib < least_kib || !before.is_counted() {
            return None;
        }
        let opened = |&(pid, ends): &(Pid, u32)| self.opened_since(before, pid, ends);
        let all = self.held.iter().flatten().map(opened).fold(0, u64::saturating_add);
        let most = self.held.iter().flatten().max_by_key(|held| opened(held))?;
        let is_enough = opened(most).saturating_mul(MOST_KIB) >= gone_kib / 2;
        (is_enough && opened(most) >= all.div_ceil(2)).then_some(*most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const MIB: u64 = 1024;

    fn counted(unclaimed_mib: u64, at_us: u64, all: &[(i32, u32)]) -> Ends {
        let mut ends = Ends::default();
        ends.restart(unclaimed_mib * MIB, at_us);
        for &(pid, pipes) in all {
            let held = Holdings { pipes, ..Holdings::default() };
            ends.enter(Pid::from_raw(pid).unwrap(), &held);
        }
        ends
    }

    #[test]
    fn who_opens_while_memory_goes_is_found_and_not_who_has_many() {
        let before = counted(100, 1, &[(10, 5000), (20, 40)]);
        let opener = |now: Ends| now.opener_since(&before, MIB).map(|(pid, _)| pid.as_raw_pid());
        assert_eq!(opener(counted(200, 2, &[(10, 5000), (20, 240)])), Some(20));
        // A hundred more that hold half a mebibyte each, but not fewer.
        assert_eq!(opener(counted(200, 2, &[(10, 5000), (20, 140)])), Some(20));
        assert_eq!(opener(counted(200, 2, &[(10, 5000), (20, 139)])), None);
        assert_eq!(opener(counted(300, 2, &[(10, 5000), (20, 240)])), Some(20));
        // Three that opened as many each.
        let three = [(10, 5000), (20, 240), (30, 200), (40, 200)];
        assert_eq!(opener(counted(200, 2, &three)), None);
        // Nothing has gone, or nothing was counted before.
        assert_eq!(opener(counted(100, 2, &[(20, 240)])), None);
        assert_eq!(counted(200, 2, &[(20, 240)]).opener_since(&Ends::default(), MIB), None);
        // One that was not remembered had no more than who was.
        let many: std::vec::Vec<_> = (10..26).map(|pid| (pid, 1000)).collect();
        let before = counted(100, 1, &many);
        let now = counted(200, 2, &[(99, 1200), (10, 1150)]);
        assert_eq!(now.opener_since(&before, MIB).map(|(pid, _)| pid.as_raw_pid()), Some(99));
    }
}
