//! Who writes to tmpfs: what they wrote is nobody's freeable memory, so whoever
//! wrote it has to be found by its writing.

use super::surveyor::{SurveyContext, Surveyor};
use crate::config::policy::FIRST_ORDINARY_UID;
use crate::decide::attribution::Culprit;
use crate::decide::growth::{Growth, History};
use crate::decide::pacing::LOOK_AGAIN_US;
use crate::decide::victim::min_freeable_kib;
use crate::read::holdings::read_holdings;
use crate::read::listing::{Listed, list_processes};
use crate::read::process::{self, Identity, Leader, Pid};
use crate::read::status::read_status;
use crate::read::writing::{Written, read_written};
use crate::sys::time::{self, MS};
use core::ops::ControlFlow;
use rustix::fd::BorrowedFd;

/// Writers that are remembered from one look to the next.
const WRITERS: usize = 32;

/// Least time between two looks: in less, one line of a logger is a large share
/// of all that was written.
const WRITERS_SPAN_US: u64 = LOOK_AGAIN_US;

/// After this long without enough growth a look is compared with no more.
const WRITERS_STALE_US: u64 = 60_000_000;

/// A suspect is remembered this long after it was seen to write.
const SUSPECT_US: u64 = 10_000_000;

/// Whoever wrote less than this share of what tmpfs grew by did not fill it, ...
const LEAST_SHARE_DEN: u64 = 2;
/// ... unless with others: then each has written this share, and has a file there.
const LEAST_PART_DEN: u64 = 8;

#[derive(Clone, Copy, Debug)]
struct Writer {
    pid: Pid,
    written: Written,
}

/// Who had written most to what is not a disk, at one time.
#[derive(Clone, Copy, Debug)]
struct Look {
    at_us: u64,
    /// The same in clock ticks since boot, as start times are told.
    at_ticks: u64,
    /// `Shmem` at that time.
    shmem_kib: u64,
    table: [Option<Writer>; WRITERS],
}

impl Look {
    fn keep(&mut self, writer: Writer) {
        let key = |place: &Option<Writer>| place.map(|held| held.written.most_bytes());
        if let Some(least) = self.table.iter_mut().min_by_key(|place| key(place))
            && key(least) < Some(writer.written.most_bytes())
        {
            *least = Some(writer);
        }
    }

    /// How much a process that has written so much must have written since this look.
    fn written_since(&self, written: &Written, id: &Identity) -> Written {
        if id.starttime > self.at_ticks {
            return *written;
        }
        let is_before = |held: &&Writer| {
            held.pid == id.pid && held.written.bytes <= written.bytes && held.written.calls <= written.calls
        };
        if let Some(known) = self.table.iter().flatten().find(is_before) {
            let Written { bytes, calls } = known.written;
            return Written { bytes: written.bytes - bytes, calls: written.calls - calls };
        }
        // Whoever was not kept had written no more than who was.
        let most = self.table.iter().map(|place| place.map_or(0, |held| held.written.most_bytes())).min();
        Written { bytes: written.bytes.saturating_sub(most.unwrap_or(0)), calls: 0 }
    }
}

/// What speaks against a suspect, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Evidence {
    /// It made as many calls as it takes to fill so much with small files, and is an ordinary
    /// user's. So does whoever is busy with sockets.
    Calls,
    /// It wrote as much, and is an ordinary user's. Through an overlay no file of a tmpfs is seen.
    Bytes,
    /// It was seen to have a file of a tmpfs open.
    File,
}

/// Who filled a tmpfs, as far as is known.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    id: Identity,
    /// What it wrote between two looks.
    written_kib: u64,
    at_us: u64,
    evidence: Evidence,
}

/// Watches who writes to what is not a disk.
#[derive(Clone, Debug, Default)]
pub struct Writers {
    /// What the next look is compared with.
    before: Option<Look>,
    /// When the last look was, compared or not.
    looked_us: u64,
    /// Whether the last look was compared with one before.
    has_compared: bool,
    suspect: Option<Suspect>,
}

/// Those that have written most since the look before, while they are found, and how much in bytes.
type Active = [Option<(Identity, u64)>; ACTIVE];

/// More than fill it, for others may pass as much on through sockets.
const ACTIVE: usize = 4;

/// Whoever makes many has made one so lately. A pidfile is older.
const NEW_FILE_US: u64 = 200 * MS;

impl Writers {
    /// Reads `/proc/PID/io` of every process that may have written at least
    /// `least_kib`. Once tmpfs has grown enough since the look before to be worth
    /// a kill, whoever wrote most of that is suspected. Does nothing so soon after
    /// another look that there is nothing to tell.
    pub fn look(
        &mut self,
        proc: BorrowedFd<'_>,
        context: &SurveyContext<'_>,
        shmem_kib: u64,
        least_kib: u64,
    ) {
        let now_us = context.now_us;
        if self.looked_us > 0 && now_us.saturating_sub(self.looked_us) < WRITERS_SPAN_US {
            return;
        }
        self.looked_us = now_us;
        let before = self.before.filter(|before| now_us.saturating_sub(before.at_us) < WRITERS_STALE_US);
        let grown_kib = before.map_or(0, |before| shmem_kib.saturating_sub(before.shmem_kib));
        let is_worth_it = grown_kib >= min_freeable_kib(context.total_kib);
        self.has_compared = before.is_some();
        if before.is_some() && !is_worth_it {
            return;
        }
        let at_ticks = time::boottime_ticks();
        let mut now = Look { at_us: now_us, at_ticks, shmem_kib, table: [None; WRITERS] };
        let mut active: Active = [None; ACTIVE];
        // By the most that it can take of a tmpfs.
        let mut busy = active;
        // Where /proc cannot be listed nobody is known to write, and nobody is
        // blamed for it.
        let _ = list_processes(proc, &mut |pid| {
            if context.vigil.is_over() {
                return ControlFlow::Break(());
            }
            if let Ok(written) = read_written(proc, pid)
                && written.most_bytes() / 1024 >= least_kib.min((grown_kib / LEAST_PART_DEN).max(1))
                && context.scope.has(pid, Leader::TakenToLive) == Ok(true)
            {
                now.keep(Writer { pid, written });
                if let Some(before) = &before
                    && let Ok(stat) = process::read_stat(proc, pid)
                {
                    let id = Identity { pid, starttime: stat.starttime };
                    let since = before.written_since(&written, &id);
                    note_active(&mut active, id, since.bytes);
                    note_active(&mut busy, id, since.most_bytes());
                }
            }
            ControlFlow::Continue(())
        });
        self.before = Some(now);
        if !is_worth_it {
            return;
        }
        let wrote_enough = |held: &&(Identity, u64)| held.1 / 1024 >= grown_kib / LEAST_SHARE_DEN;
        let suspects = || active.iter().flatten().filter(wrote_enough);
        // It is looked at while it writes: after its last byte it may have closed the file. Many
        // small files are few bytes, and each of them is open for a moment only.
        let calls = || busy.iter().flatten().filter(wrote_enough);
        let part_kib = grown_kib / LEAST_PART_DEN;
        // What children wrote is their parent's once they are gone: it has them made anew. But no
        // daemon of the system is to die for what users' jobs wrote that it has started.
        let of_parent = |who| {
            let (child, _): &(Identity, u64) = who;
            let parent = process::read_stat(proc, child.pid).map_or(0, |stat| stat.ppid);
            let is_its = |(id, _): &&(Identity, u64)| {
                id.pid.as_raw_pid() == parent && is_ordinary(proc, id.pid) == is_ordinary(proc, child.pid)
            };
            suspects().find(is_its).unwrap_or(who)
        };
        // Of those who have a part in it, whoever has most in files: a proxy may write more, and
        // have a log there.
        let (mut seen, mut most_kib) = (None, PIDFILE_KIB);
        for _ in 0..GLANCES {
            for who in active.iter().flatten().filter(|who| who.1 / 1024 >= part_kib) {
                let held_kib = read_tmpfs_kib(proc, who.0.pid);
                // Whoever wrote half may have closed what it wrote before; of a part, a small file
                // proves nothing: a proxy that others keep busy has one.
                if held_kib > most_kib && (held_kib >= part_kib || wrote_enough(&who)) {
                    (seen, most_kib) = (Some(who), held_kib);
                }
            }
            seen = seen.map(of_parent).or_else(|| calls().find(|(id, _)| makes_small_files(proc, id.pid)));
            if seen.is_some() || context.vigil.is_over() {
                break;
            }
            time::pause(MS);
        }
        // Anybody may keep a daemon busy: what was not seen counts for ordinary users' processes only.
        let is_ordinarys = |(id, _): &&(Identity, u64)| is_ordinary(proc, id.pid);
        let found = seen.map(|who| (who, Evidence::File));
        let found = found.or_else(|| suspects().find(is_ordinarys).map(|who| (who, Evidence::Bytes)));
        let found = found.or_else(|| calls().find(is_ordinarys).map(|who| (who, Evidence::Calls)));
        if let Some((&(id, bytes), evidence)) = found {
            // Less does not take the place of more.
            if self.suspect.is_none_or(|suspect| suspect.evidence <= evidence) {
                let written_kib = (bytes / 1024).min(grown_kib);
                self.suspect = Some(Suspect { id, written_kib, at_us: now_us, evidence });
            }
        }
    }

    /// Is another look needed before it can be said who writes?
    pub fn need_another_look(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.looked_us) > 2 * WRITERS_SPAN_US || !self.has_compared
    }

    /// The process that filled a tmpfs: true if as much speaks against it, it may be killed, and
    /// `culprit` has become it. For less than a file it is asked once nobody is found who has one.
    pub fn select(
        &self,
        proc: BorrowedFd<'_>,
        context: &SurveyContext<'_>,
        least: Evidence,
        culprit: &mut Culprit,
    ) -> bool {
        let Some(suspect) = &self.suspect else { return false };
        if context.now_us.saturating_sub(suspect.at_us) > SUSPECT_US || suspect.evidence < least {
            return false;
        }
        let surveyor = Surveyor::new(proc, context);
        let Some((killable, status)) = surveyor.read_killable(suspect.id.pid) else { return false };
        if killable.id != suspect.id {
            return false;
        }
        let anon_kib = status.anon_kib.unwrap_or(0);
        let victim = surveyor.candidate(&killable, anon_kib, History::NONE, Growth::NONE);
        culprit.become_one(&victim);
        culprit.written_kib = suspect.written_kib;
        true
    }

    /// What was known is answered for.
    pub fn forget_suspect(&mut self) {
        self.suspect = None;
    }

    /// Nor is anything compared with what was.
    pub fn forget(&mut self) {
        self.before = None;
        self.forget_suspect();
    }
}

/// Keeps the writer of so much if it is one of the most active since the look before, the
/// more active first.
// Out of line: inlined it is larger.
#[inline(never)]
fn note_active(active: &mut Active, id: Identity, since_bytes: u64) {
    let is_less = |place: &Option<(Identity, u64)>| place.is_none_or(|(_, bytes)| bytes < since_bytes);
    if let Some(at) = active.iter().position(is_less) {
        active[at..].rotate_right(1);
        active[at] = Some((id, since_bytes));
    }
}

/// Whoever closes file after file has none open half of the time, so several glances are taken.
const GLANCES: u32 = 8;

/// A process may have a million files open; looking at a hundred and fifty takes so long.
const MAX_FILES_US: u64 = 5_000;
/// A pidfile is no larger.
const PIDFILE_KIB: u64 = 4;

/// How much this process has in files of a tmpfs that are open for writing, in KiB. One with so many
/// files that it cannot be told is taken to have more than a pidfile, if it is an ordinary user's:
/// nobody is to be safe by having many.
fn read_tmpfs_kib(proc: BorrowedFd<'_>, pid: Pid) -> u64 {
    let until_us = time::now_us() + MAX_FILES_US;
    let Ok((held, listed)) = read_holdings(proc, pid, until_us) else { return 0 };
    let least_kib = if listed == Listed::Stopped && is_ordinary(proc, pid) { PIDFILE_KIB + 1 } else { 0 };
    held.tmpfs_kib.max(least_kib)
}

/// Has this process a small file on a tmpfs open for writing that was changed just now?
fn makes_small_files(proc: BorrowedFd<'_>, pid: Pid) -> bool {
    let until_us = time::now_us() + MAX_FILES_US;
    let since_us = time::realtime_us().saturating_sub(NEW_FILE_US);
    read_holdings(proc, pid, until_us).is_ok_and(|(held, _)| held.small_file_us >= since_us)
}

fn is_ordinary(proc: BorrowedFd<'_>, pid: Pid) -> bool {
    read_status(proc, pid).is_ok_and(|status| status.uid >= FIRST_ORDINARY_UID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_active_come_first() {
        let mut active: Active = [None; ACTIVE];
        for (pid, bytes) in [(1, 5), (2, 9), (3, 1), (4, 7), (5, 3), (6, 8), (7, 0)] {
            let pid = Pid::from_raw(pid).unwrap();
            note_active(&mut active, Identity { pid, starttime: 1 }, bytes);
        }
        assert_eq!(active.map(|place| place.map(|(_, bytes)| bytes)), [9, 8, 7, 5].map(Some));
    }
}
