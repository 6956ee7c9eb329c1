//! Why there is no victim.

use crate::read::kfile::ReadError;

/// Why nobody dies although a rule says that somebody should.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVictim {
    /// Nobody is worth it.
    NoCandidate {
        /// How many processes there are.
        processes: u32,
    },
    /// Memory has not become less since the last kill.
    Steady,
    /// Memory went to tmpfs, and nobody is writing there.
    NoWriter {
        /// How much.
        shmem_growth_kib: u64,
    },
    /// It is not known yet who writes, or who grows now.
    TooSoon,
    /// Whoever is to be looked at has not been yet, which goes on after memory was looked at.
    StillLooking,
    /// The processes could not be read, and nobody is known from before.
    Unreadable(ReadError),
}
