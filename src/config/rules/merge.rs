//! What is dropped in beside the rules: which sets are in force, and in which
//! order.

use super::model::{Group, Plugin, RuleSet, Rules};

/// A rule set that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active<'r> {
    /// Its name, its pauses and its cgroup, always those of the base.
    pub set: &'r RuleSet<'r>,
    /// When.
    pub groups: &'r [Group<'r>],
    /// Then.
    pub actions: &'r [Plugin<'r>],
    /// The file that was dropped in, if it is of one.
    pub tag: Option<&'r [u8]>,
    /// Of what was dropped in, if anything was.
    fingerprint: u64,
}

impl Active<'_> {
    /// A number for all that it says, by which it is known again.
    pub fn identity(&self) -> u64 {
        let tag = self.tag.map_or(0, crate::sys::line::fingerprint);
        let mixed = self.set.fingerprint.rotate_left(21) ^ self.fingerprint.rotate_left(42) ^ tag;
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Does `other`, of rules that were read before, say the same? Then its timers go
    /// on.
    pub fn is_same(&self, other: &Active<'_>) -> bool {
        self.set.fingerprint == other.set.fingerprint
            && self.fingerprint == other.fingerprint
            && self.tag == other.tag
    }
}

/// Why a file cannot be dropped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit<'r> {
    /// No rule set has this name.
    NoSuchSet(&'r [u8]),
    /// The rule set of this name does not let its detectors be replaced.
    Detectors(&'r [u8]),
    /// Nor its actions.
    Actions(&'r [u8]),
}

/// The rule set that a dropped-in one is about: the first of its name.
#[inline(never)]
fn target<'r>(base: &'r Rules<'r>, name: &[u8]) -> Option<&'r RuleSet<'r>> {
    base.sets.iter().find(|set| set.name == name)
}

/// May every set of `drop_in` be dropped in? If one may not, none is.
///
/// # Errors
/// See [`Misfit`].
#[inline(never)]
pub fn check_drop_in<'r>(base: &Rules<'_>, drop_in: &Rules<'r>) -> Result<(), Misfit<'r>> {
    for set in drop_in.sets {
        let allowed = target(base, set.name).ok_or(Misfit::NoSuchSet(set.name))?.drop_in;
        if !set.groups.is_empty() && !allowed.detectors {
            return Err(Misfit::Detectors(set.name));
        }
        if !set.actions.is_empty() && !allowed.actions {
            return Err(Misfit::Actions(set.name));
        }
    }
    Ok(())
}

/// Hands on every rule set that is in force, in the order in which they run: those
/// of `base` in the order of the file, before each what was dropped in for it, the
/// newest first. `drop_ins` have the newest file first. A set that rests while there
/// is a drop-in for it is left out, and so is what may not be dropped in.
#[inline(never)]
pub fn merge<'r>(base: &'r Rules<'r>, drop_ins: &[&'r Rules<'r>], each: &mut dyn FnMut(Active<'r>)) {
    for set in base.sets {
        let mut active = Active { set, groups: set.groups, actions: set.actions, tag: None, fingerprint: 0 };
        let plain = active;
        let mut is_replaced = false;
        for file in drop_ins {
            if check_drop_in(base, file).is_err() {
                continue;
            }
            active.tag = Some(file.file);
            // Within a file the last is the newest.
            for new in file.sets.iter().rev() {
                if !target(base, new.name).is_some_and(|target| core::ptr::eq(target, set)) {
                    continue;
                }
                active.groups = if new.groups.is_empty() { set.groups } else { new.groups };
                active.actions = if new.actions.is_empty() { set.actions } else { new.actions };
                active.fingerprint = new.fingerprint;
                is_replaced = true;
                each(active);
            }
        }
        if !(is_replaced && set.drop_in.disable_on_drop_in) {
            each(plain);
        }
    }
}
