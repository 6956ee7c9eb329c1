//! The program and the library against real processes, each test in a pid
//! namespace of its own: see [`harness`].

mod harness;

mod choice;
mod command;
mod daemon;
mod group;
mod growing_group;
mod hooks;
mod init;
mod kill;
mod poor;
mod promises;
mod refused;
#[cfg(feature = "rules")]
mod rules;
mod sandbox;
mod scope;
mod signals;
mod sole;
mod stats;
mod stuck;
mod target;

#[path = "../terminal/mod.rs"]
mod terminal;
