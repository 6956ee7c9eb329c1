//! The cgroups that rules are about: found by patterns, read once a tick, ranked.

/// Cgroups that are looked at, each held by its directory.
pub mod forest;

/// Which cgroups patterns mean now.
pub mod finding;

/// What is known of one of them.
pub mod known;

/// What is read of them, and what follows from it.
pub mod figures;

/// What is read of the machine.
pub mod machine;

/// Which of them is to be killed.
pub mod walk;
