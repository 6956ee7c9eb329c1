//! bustd: an out-of-memory guard for Linux.
//!
//! The modules stand in the order data flows through them; a module uses only
//! those above it:
//!
//! ```text
//! kernel files → readings → verdict → victim → kill → log
//! ```
//!
//! The library needs neither `std` nor a heap. What it reads from the kernel
//! is documented with the file, the unit and the kernel version it comes from;
//! a [`ReadError`](kfile::ReadError) tells no such process, not permitted,
//! malformed, and anything else with its errno, apart.
//!
//! What the kernel's own killer knows of a process, here of the current one:
//!
//! ```
//! use bustd::kfile::{ReadError, Tree};
//! use bustd::{memory, process};
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
//! Whom bustd would kill is told by [`survey::survey`], which fills a
//! [`victim::Ranking`].
#![no_std]
#![deny(unsafe_code)]
#![warn(missing_docs)]

/// The only unsafe code: system calls rustix does not wrap.
#[allow(unsafe_code)]
pub mod sys;

/// Text built in place: a log line, a path, an environment string.
pub mod line;

// Kernel files: open, read into the caller's buffer, walk the fields.
pub mod kfile;

/// How much counters grew over a sliding span of time.
pub mod window;

// Readings: plain structs out of one kernel file each.
pub mod memory;
pub mod process;
pub mod psi;

// Judgement: pure functions of readings.
pub mod pattern;
pub mod verdict;
pub mod victim;

pub mod blame;

/// From /proc to a ranking, reading no more than the ranking asks for.
pub mod survey;

// Action: the one function that signals, and what people hear of it.
pub mod kill;

pub mod hook;
pub mod log;
pub mod stats;

/// What the kernel grants us, asked once at start.
pub mod capability;

// The loop, and what wakes it.
pub mod event;
pub mod monitor;

#[cfg(test)]
extern crate std;
