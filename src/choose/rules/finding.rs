//! Patterns of cgroups and the cgroups that match them now: level by level, and the same
//! list once a tick.

use super::forest::{Breath, Forest, Id, NONE, ROOT, Span};
use crate::config::rules::glob::{MAX_NAME, is_wild, literal, segment_matches, segments};
use crate::config::rules::model::{Cgroups, Patterns};
use crate::decide::rules::rank::{Contender, sort};
use crate::sys::line::{Line, fingerprint};

/// With more than so many on a level, those with the most memory are gone into first:
/// there may not be room for what is below all of them.
const FEW: usize = 16;

impl Forest<'_> {
    /// The cgroups that a plugin looks at, each once. `instance` is that of its rule set,
    /// if that has any.
    // Out of line, so that what it calls is not on the stack of the whole tick.
    #[inline(never)]
    pub fn find_all(&mut self, cgroups: &Cgroups<'_>, instance: Option<Id>, breath: &mut Breath<'_>) -> Span {
        // Outside of an instance what is below it matches nothing.
        let below = if instance.is_some() { cgroups.ruleset_cgroup } else { &[] };
        let base = instance.unwrap_or(NONE);
        let key = key_of(cgroups.cgroup, 1) ^ key_of(below, 3).wrapping_add(u64::from(base) << 1);
        if let Some(span) = self.made_for(key) {
            return span;
        }
        self.found.clear();
        self.searches += 1;
        for pattern in cgroups.cgroup {
            self.find_pattern(ROOT, pattern, breath);
        }
        for pattern in below {
            self.find_pattern(base, pattern, breath);
        }
        self.keep_found(key)
    }

    /// The cgroups that match any of these.
    pub fn find_patterns(&mut self, patterns: Patterns<'_>, breath: &mut Breath<'_>) -> Span {
        let cgroups = Cgroups { cgroup: patterns, ruleset_cgroup: &[] };
        self.find_all(&cgroups, None, breath)
    }

    /// Adds to what was found whatever matches below a cgroup.
    fn find_pattern(&mut self, base: Id, pattern: &[u8], breath: &mut Breath<'_>) {
        self.level.clear();
        let _ = self.level.push(base);
        for segment in segments(pattern) {
            self.next_level.clear();
            if self.level.len() > FEW {
                self.sort_level();
            }
            for at in 0..self.level.len() {
                self.enter(self.level[at], segment, breath);
            }
            core::mem::swap(&mut self.level, &mut self.next_level);
        }
        for at in 0..self.level.len() {
            let (id, search) = (self.level[at], self.searches);
            let Some(node) = self.touch(id) else { continue };
            if core::mem::replace(&mut node.search, search) != search && !self.found.push(id) {
                self.passed_over += 1;
            }
        }
    }

    /// Adds to the next level what matches a segment directly below a cgroup.
    #[inline(never)]
    fn enter(&mut self, id: Id, segment: &[u8], breath: &mut Breath<'_>) {
        if is_wild(segment) {
            self.list_below(id, &mut |name| segment_matches(segment, name), breath);
            return;
        }
        let mut buf = [0; MAX_NAME];
        let mut name = Line::default();
        name.bytes(literal(segment, &mut buf));
        if let Some(child) = self.child_by_name(id, name.as_cstr())
            && !self.next_level.push(child)
        {
            self.passed_over += 1;
        }
    }

    /// The same list with those with the most memory first.
    #[inline(never)]
    pub fn largest_first(&mut self, span: Span) -> Span {
        self.level.clear();
        for at in 0..span.len() {
            let _ = self.level.push(self.at(span, at));
        }
        self.sort_level();
        core::mem::swap(&mut self.level, &mut self.next_level);
        self.keep_next_level()
    }

    /// Those with the most memory first.
    #[inline(never)]
    fn sort_level(&mut self) {
        for at in 0..self.level.len() {
            let id = self.level[at];
            let key = [self.current(id).unwrap_or(0), 0, 0];
            let inode = self.inode(id);
            let _ = self.weighed.push(Contender { key, inode, id, ..Contender::default() });
        }
        sort(&mut self.weighed);
        self.level.clear();
        for one in self.weighed.iter() {
            let _ = self.level.push(one.id);
        }
        self.weighed.clear();
    }
}

/// A number for patterns; each list has its own `seed`.
fn key_of(patterns: Patterns<'_>, seed: u64) -> u64 {
    patterns.iter().fold(seed, |key, pattern| {
        (key.rotate_left(5) ^ fingerprint(pattern)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

#[cfg(test)]
#[path = "finding_tests.rs"]
mod tests;
