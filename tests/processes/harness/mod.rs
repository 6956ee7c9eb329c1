//! What the tests with real processes stand on: a pid namespace for each test,
//! a journal everybody in it writes to, guards, and processes to be killed.

#[allow(dead_code, reason = "for the tests beside these")]
mod actor;
mod confined;
mod eater;
mod guard;
mod journal;
mod meminfo;
mod namespace;
mod refusal;
mod roles;
mod wait;

#[allow(unused_imports, reason = "for the tests beside these")]
pub use actor::{actor, map, mount_many, rest, set_comm};
pub use confined::{Confined, Hierarchy};
pub use eater::{Breeder, Eater, Leader, NOBODY, OnTerm, Plan, Writes, age, living};
pub use guard::{ASK, FORCE, Guard, ONCE, QUIET, bustd, limit_files};
pub use journal::Journal;
pub use meminfo::FakeMeminfo;
pub use namespace::{
    PROGRAM, REPORT, SCRATCH, in_namespace, in_namespace_with_users, mount, script, skip, unshare,
};
#[allow(unused_imports, reason = "for the tests beside these")]
pub use namespace::{inside, tell};
#[allow(unused_imports, reason = "for the tests beside these")]
pub use refusal::{SET_SECCOMP, refuse};
pub use roles::{MITE_MIB, ROLE, Role};
#[allow(unused_imports, reason = "for the tests beside these")]
pub use wait::{PATIENCE, ends_within, has_begun, within};
pub use wait::{eventually, exit_of, pid_of};

/// The number before the first `unit` of `text`, as in `died 12 ms after`.
pub fn number_before(text: &str, unit: &str) -> u64 {
    let before = &text[..text.find(unit).unwrap_or_else(|| panic!("no {unit:?} in {text:?}"))];
    let digits = before.rfind(|letter: char| !letter.is_ascii_digit()).map_or(0, |at| at + 1);
    before[digits..].parse().unwrap_or_else(|_| panic!("no number before {unit:?} in {text:?}"))
}
