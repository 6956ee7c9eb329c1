//! Whom to choose, as people say it.

use crate::config::pattern::Globs;
use crate::read::process::Comm;

/// How the user's patterns see a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// `--prefer`: its memory counts for more.
    Preferred,
    /// No pattern, or both.
    Ordinary,
    /// `--avoid`: its memory counts for less.
    Avoided,
    /// `--unkillables`: never.
    Unkillable,
}

/// What the user and the machine rule out or favour.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy<'a> {
    /// Names that count for more.
    pub prefer: Option<Globs<'a>>,
    /// Names that count for less.
    pub avoid: Option<Globs<'a>>,
    /// Names never chosen.
    pub unkillables: Option<Globs<'a>>,
    /// The only uid whose processes we may signal, without CAP_KILL.
    pub only_uid: Option<u32>,
}

impl Policy<'_> {
    /// How the patterns see `comm`.
    pub fn preference(&self, comm: &Comm) -> Preference {
        let matched = |globs: &Option<Globs<'_>>| globs.is_some_and(|globs| globs.matches(comm.as_bytes()));
        if matched(&self.unkillables) {
            return Preference::Unkillable;
        }
        match (matched(&self.prefer), matched(&self.avoid)) {
            (true, false) => Preference::Preferred,
            (false, true) => Preference::Avoided,
            _ => Preference::Ordinary,
        }
    }

    /// The best any name could be seen.
    pub fn best_preference(&self) -> Preference {
        if self.prefer.is_some() { Preference::Preferred } else { Preference::Ordinary }
    }
}
