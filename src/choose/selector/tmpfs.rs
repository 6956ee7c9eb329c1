//! Whom to kill for what is in a tmpfs.

use super::Selector;
use crate::choose::holders::Sought;
use crate::choose::no_victim::NoVictim;
use crate::choose::terms::{FILE_US, may_look_again};
use crate::choose::writers::Evidence;
use crate::decide::snapshot::Snapshot;
use crate::read::holdings::{FilePath, read_largest_tmpfs_file};
use crate::sys::time::now_us as read_clock;

impl Selector<'_> {
    /// Has a writer just died whose files stay?
    pub(super) fn has_pinned(&self, now_us: u64) -> bool {
        now_us < self.pinned_until_us
    }

    /// Makes whoever fills a tmpfs the culprit: false if nobody is found and there is no time.
    ///
    /// # Errors
    /// Nobody is found yet, and there is time.
    pub(super) fn select_writer(
        &mut self,
        may_wait: bool,
        snapshot: &Snapshot,
        now_us: u64,
    ) -> Result<bool, NoVictim> {
        let context = self.terms.context(snapshot, None, now_us);
        if self.writers.select(self.terms.proc, &context, Evidence::File, &mut self.culprit) {
            return Ok(true);
        }
        if self.writers.need_another_look(now_us) {
            // Whoever writes now may not have been there, or not have written
            // enough, at the last look.
            self.look_for_writers(snapshot, now_us);
            if may_look_again(&mut self.too_soon) {
                return Err(NoVictim::TooSoon);
            }
        }
        // Without writing: fallocate(2), splice(2), a mapping.
        let shmem_kib = snapshot.loss.shmem_kib;
        let mut is_found = self.search_holder(Sought::Shmem, shmem_kib, snapshot, now_us)?;
        if !is_found {
            let context = self.terms.context(snapshot, None, now_us);
            // At last the busiest rather than the largest: what is missing is in tmpfs.
            let least = if may_wait { Evidence::Bytes } else { Evidence::Calls };
            is_found = self.writers.select(self.terms.proc, &context, least, &mut self.culprit);
        }
        if !is_found && may_wait {
            return Err(NoVictim::NoWriter { shmem_growth_kib: shmem_kib });
        }
        Ok(is_found)
    }

    /// Finds the largest file on a tmpfs that the culprit has open for writing.
    pub fn find_tmpfs_file(&mut self, file: &mut FilePath) {
        let (pid, until_us) = (self.culprit.victim.id.pid, read_clock() + FILE_US);
        // Where they cannot be read, there is none to tell of.
        let _ = read_largest_tmpfs_file(self.terms.proc, pid, until_us, file);
    }
}
