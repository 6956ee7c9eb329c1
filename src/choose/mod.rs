//! From kernel files to a snapshot, and from /proc to a culprit, or why there is
//! none.

/// Which memory is guarded.
pub mod scope;

/// A cgroup that dies as a whole.
pub mod whole;

/// Memory and pressure, read into a snapshot.
pub mod observer;

/// What a process claims to be.
pub mod claim;

/// Memory looked at again meanwhile.
pub mod vigil;

/// One process read for a survey.
pub mod surveyor;

/// Memory that several processes share.
pub mod sharing;

/// From /proc to a ranking.
pub mod survey;

/// Many small, young processes of one job.
pub mod spawn_burst;

/// Who writes to tmpfs.
pub mod writers;

/// Who has opened pipes and sockets.
pub mod ends;

/// Who holds memory by open files.
pub mod holders;

/// Who took the place of a victim that had gone.
pub mod successor;

/// Whose memory a victim had only a copy of.
pub mod copies;

/// How many die at once that grow and have nothing else in common.
pub mod batch;

/// What is the same in every survey.
mod terms;

/// Why nobody is to die.
pub mod no_victim;

/// Who is to die.
pub mod selector;

/// Cgroups for rules.
#[cfg(feature = "rules")]
pub mod rules;
