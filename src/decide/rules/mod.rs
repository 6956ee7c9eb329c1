//! What rules decide, as pure functions of what was read.

/// When a set's actions are run, and when it rests.
pub mod chain;

/// When a detector says continue.
pub mod detector;

/// Figures that are made of others.
pub mod derived;

/// How far each rule set is.
pub mod standing;

/// How small a cgroup can be.
pub mod senpai;

/// Which cgroup is killed first.
pub mod rank;
