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
//! What the kernel's own killer knows of a process, here of the current one:
//!
//! ```
//! use bustd::read::kfile::{ReadError, Tree};
//! use bustd::read::{memory, process};
//! use rustix::fd::AsFd;
//!
//! # fn main() -> Result<(), ReadError> {
//! let tree = Tree::open_live()?;
//! let proc = tree.proc.as_fd();
//! let own = process::read_own_pid(proc)?;
//!
//! let score: u32 = process::read_oom_score(proc, own)?;
//! let adj: i16 = process::read_oom_score_adj(proc, own)?;
//! assert!((-1000..=1000).contains(&adj));
//! println!("oom_score {score}, oom_score_adj {adj}");
//!
//! match memory::read_overcommit(proc)? {
//!     memory::Overcommit::Never => println!("who asks for too much is refused"),
//!     mode => println!("overcommit: {}", mode.name()),
//! }
//!
//! let nobody = process::Pid::from_raw(i32::MAX).expect("not 0");
//! assert_eq!(process::read_oom_score(proc, nobody), Err(ReadError::Missing));
//! # Ok(())
//! # }
//! ```
//!
//! Whom bustd would kill is told by [`choose::survey::survey`], which fills a
//! [`decide::victim::Ranking`].
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
