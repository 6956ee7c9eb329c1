//! Whether a choice is to be put off that hangs on what somebody takes at this moment. A leak
//! goes on; what needed much at once stops, and somebody else has made memory short. Pure.

use super::attribution::Attribution;
use super::growth::{HORIZONS, HORIZONS_US, TELLING_DEN};
use super::victim::{Ranking, TABLE, min_freeable_kib};
use crate::read::process::Identity;
use crate::sys::time::MS;

/// Who grows for so long while it is doubted goes on, and who grows by nothing for so long has
/// stopped: the shortest horizon.
const ENOUGH_US: u64 = HORIZONS_US[0];

/// No choice is put off for longer: a second, in which whoever takes something once a second
/// does so again, and what it takes to see that somebody has stopped.
const LONGEST_US: u64 = 1500 * MS;

/// Whose choice is put off, and what is known of it since.
#[derive(Clone, Copy, Debug)]
pub struct Doubt {
    id: Identity,
    /// What it had when it was last seen to have grown, ...
    had_kib: u64,
    /// ... and when that was.
    grew_us: u64,
    /// When the choice was put off first.
    since_us: u64,
    /// Whether it had stopped when everybody was looked at last.
    has_stopped: bool,
}

/// Less growth than this tells nothing.
fn telling_kib(total_kib: u64) -> u64 {
    min_freeable_kib(total_kib) / TELLING_DEN[0]
}

impl Doubt {
    /// Everybody has been looked at anew: does it go on? Once it has stopped, what it took is
    /// nothing that it takes now. For those whose growth is to be weighed yet.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn note(&mut self, ranking: &mut Ranking<TABLE>, total_kib: u64, now_us: u64) {
        let Some(held) = ranking.find(self.id) else { return };
        if held.freeable_kib > self.had_kib + telling_kib(total_kib) {
            (self.had_kib, self.grew_us) = (held.freeable_kib, now_us);
        }
        self.has_stopped = now_us >= self.grew_us + ENOUGH_US;
        if self.has_stopped {
            held.growth.recent_kib = [0; HORIZONS];
        }
    }

    /// Is it to be seen first whether the one goes on that is to blame by `attribution`? Only where
    /// somebody else would be, were it not for what it takes now.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn is_open(
        doubt: &mut Option<Self>,
        attribution: &Attribution<'_>,
        ranking: &Ranking<TABLE>,
        total_kib: u64,
        now_us: u64,
    ) -> bool {
        let first = match attribution {
            Attribution::Known(takers) if takers.members == 1 => Some(takers.first),
            Attribution::OneOf(many) if many.is_led() => many.first,
            _ => None,
        };
        let Some(first) = first else { return false };
        let mut since_us = now_us;
        if let Some(doubt) = doubt {
            since_us = doubt.since_us;
            if now_us > since_us + LONGEST_US || doubt.grew_us >= since_us + ENOUGH_US {
                return false;
            }
            if doubt.has_stopped {
                // Whoever goes on is to blame, and until somebody does there is time.
                let least_kib = telling_kib(total_kib);
                return ranking.all().iter().all(|held| held.growth.recent_kib[0] < least_kib);
            }
        }
        let is_open = ranking.has_worse_than(first, total_kib);
        if is_open && doubt.is_none_or(|doubt| doubt.id != first.id) {
            *doubt = Some(Self {
                id: first.id,
                had_kib: first.freeable_kib,
                grew_us: now_us,
                since_us,
                has_stopped: false,
            });
        }
        is_open
    }
}
