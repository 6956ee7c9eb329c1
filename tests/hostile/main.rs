//! Holes that were found in the guard, each by a test that falls into it: what
//! processes can do to hide, to take others with them, or to keep the guard from
//! its work. Each is named in the comment above its test.

#[path = "../processes/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the other tests with processes need besides")]
mod harness;
#[path = "../tree/mod.rs"]
mod tree;

mod copies;
mod deeds;
mod holdings;
mod readings;
mod start;

use harness::{Journal, actor, map, mount_many, rest, set_comm, within};
use std::time::Duration;

/// How many lines so far hold both.
fn count(journal: &mut Journal, this: &str, that: &str) -> usize {
    journal.lines().iter().filter(|line| line.contains(this) && line.contains(that)).count()
}

/// The whole line that first holds both, if one does in time.
fn line_within(patience: Duration, journal: &mut Journal, this: &str, that: &str) -> Option<String> {
    within(patience, || count(journal, this, that) > 0)?;
    journal.lines().iter().find(|line| line.contains(this) && line.contains(that)).cloned()
}

/// Whom a line says is killed, or would be: not who comes next.
fn chosen(line: &str) -> &str {
    let is_choice = line.contains("killing pid ") || line.contains("would kill pid ");
    if is_choice { line.split(" with SIG").next().unwrap_or_default() } else { "" }
}
