//! bustd: an out-of-memory guard for Linux.
//!
//! The whole machine on one screen. Each folder is a floor, named for what is
//! done there; the order below is the order in which data flows, and nothing
//! imports from a floor above its own:
//!
//! ```text
//! sys      the kernel's calls that rustix lacks, text, waiting, time
//! read     kernel files         → readings: plain structs out of one file each
//! config   the command line     → what was asked for
//! decide   snapshot, limits     → verdict, attribution, ranking, pace   (pure)
//! choose   /proc                → snapshot, and a culprit or why there is none
//! act      culprit              → signals: one function, and the active kill
//! tell     what happened        → log lines and statistics
//! monitor  the loop: watching, killing, holding off
//! ```
//!
//! The library needs neither `std` nor a heap. What it reads from the kernel
//! is documented with the file, the unit and the kernel version it comes from;
//! a [`ReadError`](read::kfile::ReadError) tells apart: no such process, not
//! permitted, malformed, and anything else with its errno.
//!
//! What the kernel's own killer knows of a process, here of process 1:
//!
//! ```
//! use bustd::read::kfile::ReadError;
//! use bustd::read::oom::read_oom;
//! use bustd::read::process::Pid;
//!
//! # fn main() -> Result<(), ReadError> {
//! let oom = read_oom(Pid::INIT)?;
//! println!("oom_score {}, oom_score_adj {}, frees {:?} KiB", oom.score, oom.adj, oom.freeable_kib);
//!
//! let nobody = Pid::from_raw(i32::MAX).expect("not 0");
//! assert_eq!(read_oom(nobody), Err(ReadError::Missing));
//! # Ok(())
//! # }
//! ```
//!
//! All other readings take the directory that they read below, so that a captured
//! machine is read like the running one. With the feature `std`, descriptors are those of
//! `std::os::fd`; without it they are rustix's own.
//!
//! Whom bustd would kill is told by a [`Selector`](choose::selector::Selector);
//! `contrib/examples/rank.rs` prints its ranking.
#![no_std]
#![deny(unsafe_code)]
#![warn(missing_docs)]

#[allow(unsafe_code)]
pub mod sys;

pub mod read;

pub mod config;

pub mod decide;

pub mod choose;

pub mod act;

pub mod tell;

pub mod monitor;

#[cfg(test)]
extern crate std;
