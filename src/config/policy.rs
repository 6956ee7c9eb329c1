//! Whom to choose, as people say it.

use crate::config::pattern::{Globs, Item, Subject, Trait};
use crate::read::process::Comm;

pub use crate::read::status::FIRST_ORDINARY_UID;

/// How the user's patterns see a process.
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

/// Of whom a bare name is believed in `--unkillables` and `--avoid`. A name is a
/// claim that every process makes for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Believed {
    /// Of everybody: for a guard that can kill only its own user's processes.
    #[default]
    Everybody,
    /// Of root and of users below [`FIRST_ORDINARY_UID`]: for root's guard, which
    /// no user is to be able to keep from their own processes.
    SystemUsers,
}

/// What is known of a process that patterns can be held against.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'p> {
    /// The name it has given itself.
    pub comm: &'p Comm,
    /// Its real uid.
    pub uid: u32,
    /// The file it executes; `None` where that cannot be read.
    pub exe: Option<&'p [u8]>,
    /// The path of its cgroup, or the start of a long one; `None` where that cannot be
    /// read.
    pub cgroup: Option<&'p [u8]>,
}

/// What the user and the machine rule out or favour.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy<'a> {
    /// Who counts for more.
    pub prefer: Option<Globs<'a>>,
    /// Who counts for less.
    pub avoid: Option<Globs<'a>>,
    /// Who is never chosen.
    pub unkillables: Option<Globs<'a>>,
    /// Of whom bare names are believed in the last two.
    pub believed: Believed,
    /// The only uid whose processes we may signal, without CAP_KILL.
    pub only_uid: Option<u32>,
}

impl Policy<'_> {
    /// Are there any patterns?
    pub fn has_patterns(&self) -> bool {
        self.prefer.is_some() || self.avoid.is_some() || self.unkillables.is_some()
    }

    /// How the patterns see a process.
    pub fn preference(&self, claim: &Claim<'_>) -> Preference {
        if self.spares(&self.unkillables, claim) {
            return Preference::Unkillable;
        }
        let is_preferred = self.prefer.is_some_and(|globs| globs.any(&mut |item| matches(item, claim)));
        match (is_preferred, self.spares(&self.avoid, claim)) {
            (true, false) => Preference::Preferred,
            (false, true) => Preference::Avoided,
            _ => Preference::Ordinary,
        }
    }

    /// Does an item of a list that spares processes match this one, and is it
    /// believed?
    fn spares(&self, globs: &Option<Globs<'_>>, claim: &Claim<'_>) -> bool {
        globs.is_some_and(|globs| globs.any(&mut |item| self.believes(item, claim) && matches(item, claim)))
    }

    /// Is what this item says of names, files and cgroups believed of the process's user?
    pub fn believes(&self, item: &Item<'_>, claim: &Claim<'_>) -> bool {
        let is_bare = item.subject == Subject::Unsaid;
        !is_bare || self.believed == Believed::Everybody || claim.uid < FIRST_ORDINARY_UID
    }

    /// Does any pattern ask for this?
    pub fn asks_for(&self, about: Trait) -> bool {
        self.prefer.is_some_and(|globs| globs.any(&mut |item| item.about == about))
            || self.has_sparing(&mut |item| item.about == about)
    }

    /// Does a list that spares processes ask for their cgroups?
    pub fn spares_cgroups(&self) -> bool {
        self.has_sparing(&mut |item| item.about == Trait::Cgroup)
    }

    /// Is there a bare item in a list that spares processes?
    pub fn has_bare_names(&self) -> bool {
        self.has_sparing(&mut |item| item.subject == Subject::Unsaid)
    }

    fn has_sparing(&self, is_sought: &mut dyn FnMut(&Item<'_>) -> bool) -> bool {
        let lists = [&self.avoid, &self.unkillables];
        lists.into_iter().flatten().any(|globs| globs.any(is_sought))
    }

    /// The best that any process could be seen.
    pub fn best_preference(&self) -> Preference {
        if self.prefer.is_some() { Preference::Preferred } else { Preference::Ordinary }
    }
}

/// Does the item match the process, whoever it is believed of?
pub fn matches(item: &Item<'_>, claim: &Claim<'_>) -> bool {
    let is_whose = match item.subject {
        Subject::Unsaid | Subject::Anybody => true,
        Subject::Uid(uid) => uid == claim.uid,
    };
    let text = match item.about {
        Trait::Name => Some(claim.comm.as_bytes()),
        Trait::Exe => claim.exe,
        Trait::Cgroup => claim.cgroup,
    };
    is_whose && text.is_some_and(|text| item.matches(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(unkillables: &str) -> Policy<'_> {
        let believed = Believed::SystemUsers;
        Policy { unkillables: Globs::parse(unkillables.as_bytes()).ok(), believed, ..Policy::default() }
    }

    fn is_spared(list: &str, name: &str, uid: u32, exe: Option<&str>) -> bool {
        let claim =
            Claim { comm: &Comm::new(name.as_bytes()), uid, exe: exe.map(str::as_bytes), cgroup: None };
        policy(list).preference(&claim) == Preference::Unkillable
    }

    #[test]
    fn a_bare_name_is_believed_of_the_system_alone() {
        assert!(is_spared("sshd", "sshd", 0, None) && is_spared("sshd", "sshd", 999, None));
        assert!(!is_spared("sshd", "sshd", 1000, None));
        let lenient = Policy { believed: Believed::Everybody, ..policy("sshd") };
        let claim = Claim { comm: &Comm::new(b"sshd"), uid: 1000, exe: None, cgroup: None };
        assert_eq!(lenient.preference(&claim), Preference::Unkillable);
        // Whoever is preferred harms nobody but themselves.
        let prefer = Policy { prefer: Globs::parse(b"sshd").ok(), unkillables: None, ..policy("x") };
        assert_eq!(prefer.preference(&claim), Preference::Preferred);
    }

    #[test]
    fn a_user_is_a_fact() {
        assert!(is_spared("1000:firefox*", "firefox-bin", 1000, None));
        assert!(!is_spared("1000:firefox*", "firefox-bin", 1001, None));
        assert!(is_spared("root:sshd", "sshd", 0, None) && !is_spared("root:sshd", "sshd", 1, None));
        assert!(is_spared("any:sshd", "sshd", 65534, None));
    }

    #[test]
    fn so_is_the_file_that_is_executed_if_the_user_is() {
        let sshd = Some("/usr/sbin/sshd");
        assert!(is_spared("exe:/usr/sbin/sshd", "anything", 0, sshd));
        assert!(!is_spared("exe:/usr/sbin/sshd", "sshd", 0, Some("/tmp/sshd")));
        assert!(!is_spared("exe:/usr/sbin/sshd", "sshd", 0, None));
        // Its user may have loaded a library into it.
        assert!(!is_spared("exe:/usr/sbin/sshd", "sshd", 1000, sshd));
        assert!(is_spared("1000:exe:/usr/lib/*/firefox", "x", 1000, Some("/usr/lib/f/firefox")));
    }

    #[test]
    fn a_cgroup_is_a_fact_if_its_user_is() {
        let is_spared = |list: &'static str, uid: u32, cgroup: Option<&str>| {
            let cgroup = cgroup.map(str::as_bytes);
            let claim = Claim { comm: &Comm::new(b"x"), uid, exe: None, cgroup };
            policy(list).preference(&claim) == Preference::Unkillable
        };
        assert!(is_spared("cgroup:/s/db", 999, Some("/s/db/worker")));
        assert!(!is_spared("cgroup:/s/db", 999, Some("/s/dbs")));
        assert!(!is_spared("cgroup:/s/db", 999, None));
        // Whoever may make cgroups may call them anything.
        assert!(!is_spared("cgroup:*/db", 1000, Some("/u/db")));
        assert!(is_spared("any:cgroup:/s/db", 1000, Some("/s/db")));
        assert!(is_spared("1000:cgroup:*/db", 1000, Some("/u/db")));
        assert!(!is_spared("1000:cgroup:*/db", 1001, Some("/u/db")));
    }

    #[test]
    fn what_is_asked_for_is_known() {
        let exe = policy("a|root:exe:/b");
        assert!(exe.asks_for(Trait::Exe) && !exe.spares_cgroups() && exe.has_bare_names());
        let cgroup = policy("root:a|any:cgroup:/b");
        assert!(cgroup.asks_for(Trait::Cgroup) && cgroup.spares_cgroups() && !cgroup.has_bare_names());
        assert!(!cgroup.asks_for(Trait::Exe));
        let preferred = Policy { prefer: Globs::parse(b"cgroup:/b").ok(), ..Policy::default() };
        assert!(preferred.asks_for(Trait::Cgroup) && !preferred.spares_cgroups());
    }
}
