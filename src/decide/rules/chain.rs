//! The chain of actions of a rule set.

/// What became of an action.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next action comes.
    Continue,
    /// The chain ends and the set rests: for so many seconds, or for the set's own time.
    Stop {
        /// In place of the set's own time.
        delay_s: Option<u32>,
    },
    /// It is asked again at the next tick.
    Later,
}

/// Where a chain goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which action, counted from 0.
    pub action: u16,
    /// The group of detectors that fired.
    pub group: u16,
    /// When that was, on the monotonic clock.
    pub fired_us: u64,
}

/// The chain of one rule set, from one tick to the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain {
    rests_until_us: u64,
    suspended: Option<Place>,
    /// Until when hooks may hold its kills up, once one has begun.
    held_until_us: Option<u64>,
}

impl Chain {
    /// Where the chain begins or goes on at this tick, if it does. `fired` is the first
    /// group that did. One that was suspended goes on although nothing fires any more.
    pub fn begin(&self, fired: Option<u16>, now_us: u64) -> Option<Place> {
        if now_us < self.rests_until_us {
            return None;
        }
        self.suspended.or(fired.map(|group| Place { action: 0, group, fired_us: now_us }))
    }

    /// Takes what became of the action at `place`, and returns where the chain goes on
    /// at once.
    pub fn advance(
        &mut self,
        place: Place,
        outcome: Outcome,
        actions: u16,
        own_delay_s: u32,
        now_us: u64,
    ) -> Option<Place> {
        self.suspended = None;
        match outcome {
            Outcome::Continue => {
                let next = Place { action: place.action + 1, ..place };
                if next.action < actions {
                    return Some(next);
                }
            }
            Outcome::Stop { delay_s } => {
                let delay_s = u64::from(delay_s.unwrap_or(own_delay_s));
                self.rests_until_us = now_us + delay_s * 1_000_000;
            }
            Outcome::Later => {
                self.suspended = Some(place);
                return None;
            }
        }
        self.held_until_us = None;
        None
    }

    /// For how long a hook may hold the kill up that begins now: all kills of one chain have
    /// `all_us` together, from when the first of them begins.
    pub fn hold_us(&mut self, all_us: u64, now_us: u64) -> u64 {
        self.held_until_us.get_or_insert(now_us + all_us).saturating_sub(now_us)
    }

    /// Is an action to be asked again?
    pub fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// How long the set still rests, in microseconds.
    pub fn rest_us(&self, now_us: u64) -> u64 {
        self.rests_until_us.saturating_sub(now_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn place(action: u16, group: u16) -> Place {
        Place { action, group, fired_us: 5 * S }
    }

    #[test]
    fn actions_run_in_order_until_one_stops() {
        let mut chain = Chain::default();
        assert_eq!(chain.begin(None, 5 * S), None);
        let first = chain.begin(Some(2), 5 * S).unwrap();
        assert_eq!(first, place(0, 2));
        let second = chain.advance(first, Outcome::Continue, 3, 15, 5 * S).unwrap();
        assert_eq!(second, place(1, 2));
        assert_eq!(chain.advance(second, Outcome::Stop { delay_s: None }, 3, 15, 5 * S), None);
        assert_eq!(chain.rest_us(6 * S), 14 * S);
    }

    /// Equal time runs, so that a delay of 0 never makes it rest.
    #[test]
    fn a_set_rests_after_a_stop() {
        let mut chain = Chain::default();
        let _ = chain.advance(place(0, 0), Outcome::Stop { delay_s: None }, 1, 15, 5 * S);
        assert_eq!(chain.begin(Some(0), 20 * S - 1), None);
        assert!(chain.begin(Some(0), 20 * S).is_some());
        // The action's own time takes the place of the set's.
        let _ = chain.advance(place(0, 0), Outcome::Stop { delay_s: Some(0) }, 1, 15, 20 * S);
        assert!(chain.begin(Some(0), 20 * S).is_some());
    }

    #[test]
    fn hooks_hold_all_kills_of_a_chain_together() {
        let mut chain = Chain::default();
        // Not from when the set fired: the kill of another may have to be over first.
        let _ = chain.advance(place(0, 0), Outcome::Later, 3, 15, 5 * S);
        assert_eq!(chain.hold_us(5 * S, 20 * S), 5 * S);
        let second = chain.advance(place(0, 0), Outcome::Continue, 3, 15, 20 * S).unwrap();
        let _ = chain.advance(second, Outcome::Later, 3, 15, 20 * S);
        assert_eq!((chain.hold_us(5 * S, 22 * S), chain.hold_us(5 * S, 26 * S)), (3 * S, 0));
        // The next chain has as much again, however the last one has ended.
        let _ = chain.advance(second, Outcome::Stop { delay_s: None }, 3, 15, 26 * S);
        assert_eq!(chain.hold_us(5 * S, 50 * S), 5 * S);
        let _ = chain.advance(place(2, 0), Outcome::Continue, 3, 15, 50 * S);
        assert_eq!(chain.hold_us(5 * S, 60 * S), 5 * S);
    }

    #[test]
    fn a_chain_that_only_continues_does_not_rest() {
        let mut chain = Chain::default();
        assert_eq!(chain.advance(place(0, 0), Outcome::Continue, 1, 15, 5 * S), None);
        assert!(chain.begin(Some(0), 5 * S).is_some());
    }

    #[test]
    fn a_suspended_action_is_asked_again_although_nothing_fires() {
        let mut chain = Chain::default();
        assert_eq!(chain.advance(place(1, 2), Outcome::Later, 3, 15, 5 * S), None);
        assert!(chain.is_suspended());
        // Nor does another group take its place.
        assert_eq!(chain.begin(None, 6 * S), Some(place(1, 2)));
        assert_eq!(chain.begin(Some(0), 6 * S), Some(place(1, 2)));
        // It may be suspended again, and its own delay holds after that too.
        let _ = chain.advance(place(1, 2), Outcome::Later, 3, 15, 6 * S);
        let _ = chain.advance(place(1, 2), Outcome::Stop { delay_s: Some(3) }, 3, 15, 7 * S);
        assert!(!chain.is_suspended());
        assert_eq!((chain.begin(Some(0), 10 * S - 1), chain.rest_us(7 * S)), (None, 3 * S));
    }
}
