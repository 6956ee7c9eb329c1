//! From kernel files to a snapshot, and from /proc to a culprit, or why there is
//! none.

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

/// Who holds memory by open files.
pub mod holders;

/// Who took the place of a victim that had gone.
pub mod successor;

/// Who is to die.
pub mod selector;
