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
//! is documented with the file, the unit and the kernel version it comes from.
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

/// What the kernel grants us, asked once at start.
pub mod capability;

// The loop, and what wakes it.
pub mod event;
pub mod monitor;

#[cfg(test)]
extern crate std;
