//! Who writes to tmpfs: what they wrote is nobody's freeable memory.

use super::survey::{SurveyContext, Surveyor};
use crate::decide::attribution::Culprit;
use crate::decide::baseline::Baseline;
use crate::read::kfile::{self, open_dir};
use crate::read::listing::{list_names, list_processes};
use crate::read::process::{Pid, path_of};
use crate::read::writing;
use rustix::fd::{AsFd, BorrowedFd};

/// Writers compared between two readings.
const WRITERS: usize = 32;

/// Time between two looks at who writes.
pub const WRITERS_SPAN_US: u64 = 100_000;
/// Looks that are further apart than this are not compared.
const WRITERS_STALE_US: u64 = 10_000_000;

#[derive(Clone, Copy, Debug)]
struct Writer {
    pid: Pid,
    bytes: u64,
    /// Since the reading before; 0 if it was not in that.
    since_bytes: u64,
}

/// Who has written most to what is not a disk, at one time.
#[derive(Clone, Debug, Default)]
pub struct Writers {
    table: [Option<Writer>; WRITERS],
    at_us: u64,
    /// When the reading before was, 0 where there was none.
    before_us: u64,
}

impl Writers {
    /// Reads `/proc/PID/io` of every process and keeps those that wrote most
    /// since the reading before; of those that were not in that, the ones that
    /// ever wrote most, but at least `least_kib`.
    pub fn survey(&mut self, proc: BorrowedFd<'_>, least_kib: u64, now_us: u64) {
        let before = self.table;
        *self = Self { at_us: now_us, before_us: self.at_us, ..Self::default() };
        // Where /proc cannot be listed nobody is known to write, and nobody is
        // blamed for it.
        let _ = list_processes(proc, &mut |pid| {
            let Ok(bytes) = writing::read_undisked_bytes(proc, pid) else { return };
            if bytes / 1024 < least_kib {
                return;
            }
            let known = before.iter().flatten().find(|held| held.pid == pid && held.bytes <= bytes);
            let writer = Writer { pid, bytes, since_bytes: known.map_or(0, |held| bytes - held.bytes) };
            let key = |place: &Option<Writer>| place.map(|held| (held.since_bytes, held.bytes));
            if let Some(least) = self.table.iter_mut().min_by_key(|place| key(place))
                && key(least) < key(&Some(writer))
            {
                *least = Some(writer);
            }
        });
    }

    /// Is there no pair of recent looks to compare as of `now_us`?
    pub fn are_stale(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.at_us) > 2 * WRITERS_SPAN_US
            || self.at_us.saturating_sub(self.before_us) > WRITERS_STALE_US
    }

    /// The process that wrote most between the two readings, if it may be
    /// killed and holds a file on tmpfs open for writing.
    pub fn select(&self, proc: BorrowedFd<'_>, context: &SurveyContext<'_>) -> Option<Culprit> {
        let surveyor = Surveyor::new(proc, context);
        let mut below = u64::MAX;
        loop {
            let key = |held: &&Writer| held.since_bytes;
            let next = self.table.iter().flatten().filter(|held| key(held) < below).max_by_key(key)?;
            below = key(&next);
            let written_kib = below / 1024;
            if written_kib == 0 {
                return None;
            }
            if let Some(killable) = surveyor.read_killable(next.pid, &|_, _| true)
                && writes_to_tmpfs(proc, next.pid)
            {
                let anon_kib = killable.status.anon_kib.unwrap_or(0);
                let victim = surveyor.candidate(next.pid, &killable, anon_kib, Baseline::default(), 0);
                return Some(Culprit { written_kib, ..Culprit::one(victim) });
            }
        }
    }
}

/// Open files looked at for one on tmpfs.
const MAX_FILES: usize = 256;

/// Does this process hold a file of a tmpfs open for writing? By the numbers of
/// mounts in `/proc/PID/fdinfo` (`mnt_id`, Linux 3.15), which asks no file
/// system and so cannot hang on one.
fn writes_to_tmpfs(proc: BorrowedFd<'_>, pid: Pid) -> bool {
    let Ok(files) = open_dir(proc, path_of(pid, "/fdinfo").as_cstr()) else {
        return false;
    };
    let mut found = false;
    let mut looked_at = 0;
    let _ = list_names(files.as_fd(), &mut |name| {
        looked_at += 1;
        let mut buf = [0; 512];
        if found || looked_at > MAX_FILES {
            return;
        }
        let info = kfile::read_small(files.as_fd(), name, &mut buf).ok();
        let Some(mount) = info.and_then(writing::parse_written_mount) else { return };
        let mut buf = [0; 1024];
        let _ = kfile::read_lines(proc, path_of(pid, "/mountinfo").as_cstr(), &mut buf, &mut |line| {
            found |= writing::is_tmpfs_mount(line, mount);
        });
    });
    found
}
