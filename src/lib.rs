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
//! use bustd::read::kfile::{ReadError, Tree};
//! use bustd::{read::memory, read::process};
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
