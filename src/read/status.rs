//! What a process holds and who it is traced by: `/proc/PID/status` (proc(5)).

use super::kfile::{self, ReadError};
use super::process::{Pid, path_of};
use crate::sys::line::Word;
use crate::sys::positive_pid;
use core::ops::ControlFlow;
use rustix::fd::BorrowedFd;

/// Ordinary users begin here, as for login.defs(5) and systemd.
pub const FIRST_ORDINARY_UID: u32 = 1000;

/// The lines of `/proc/PID/status` that tell what a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Real uid, as seen from our user namespace.
    pub uid: u32,
    /// `RssAnon` (Linux 4.5).
    pub anon_kib: Option<u64>,
    /// `RssShmem` (4.5): tmpfs and shared anonymous memory it maps.
    pub shmem_kib: Option<u64>,
    /// `VmSwap` (2.6.34), shared memory not included.
    pub swap_kib: Option<u64>,
    /// `VmPTE`: its page tables (2.6.10).
    pub page_tables_kib: Option<u64>,
    /// `VmLck`: how much of its address space it keeps in memory (2.6).
    pub locked_kib: Option<u64>,
    /// `VmRSS`: all that is resident.
    pub resident_kib: Option<u64>,
    /// `VmHWM`: the most of it there has been (2.6.11).
    pub most_resident_kib: Option<u64>,
    /// `FDSize`: room for descriptors, a power of two that never becomes less.
    pub fd_size: Option<u64>,
    /// `CapEff`: effective capabilities, a bit each.
    pub cap_eff: u64,
    /// `Tgid`: the process that this is a thread of.
    pub tgid: Option<Pid>,
    /// `TracerPid`: the thread that traces this one.
    pub tracer: Option<Pid>,
}

impl Status {
    /// Anonymous memory, swap, and files that it keeps in memory: what nobody shares.
    /// `anon_kib` stands in where the kernel does not tell that.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn private_kib(&self, anon_kib: u64) -> u64 {
        let anon_kib = self.anon_kib.unwrap_or(anon_kib);
        let locked_kib = self.locked_kib.unwrap_or(0).min(self.resident_kib.unwrap_or(0));
        // What is locked beyond anonymous and shared memory is files. All of those two is taken to be
        // locked, so that no more is promised than is certain.
        let locked_kib = locked_kib.saturating_sub(self.shmem_kib.unwrap_or(0));
        anon_kib.max(locked_kib).saturating_add(self.swap_kib.unwrap_or(0))
    }

    /// What its death would give back, shared memory left out; not known of kernel
    /// threads, and before Linux 4.5.
    pub fn freeable_kib(&self) -> Option<u64> {
        self.anon_kib.map(|anon_kib| self.private_kib(anon_kib))
    }

    /// The most of `private_kib` there has been, as far as it was resident and what
    /// it maps besides has not changed.
    pub fn most_kib(&self, private_kib: u64) -> u64 {
        let past = || {
            let mapped_kib = self.resident_kib?.saturating_sub(self.anon_kib?);
            Some(self.most_resident_kib?.saturating_sub(mapped_kib))
        };
        private_kib.max(past().unwrap_or(0))
    }
}

const STATUS_KEYS: [Word; 12] = [
    Word::new("Uid"),
    Word::new("RssAnon"),
    Word::new("RssShmem"),
    Word::new("VmSwap"),
    Word::new("VmRSS"),
    Word::new("VmHWM"),
    Word::new("Tgid"),
    Word::new("TracerPid"),
    Word::new("FDSize"),
    Word::new("CapEff"),
    Word::new("VmPTE"),
    Word::new("VmLck"),
];

/// Which of the keys has a mask and not a number behind it.
const CAP_EFF: usize = 9;

/// The lines of `/proc/PID/status` that are wanted, in the order of their keys.
#[derive(Default)]
struct StatusLines([Option<u64>; STATUS_KEYS.len()]);

impl StatusLines {
    fn add(&mut self, line: &[u8]) {
        if let Some((key, value)) = kfile::split_key(line)
            && let Some(at) = kfile::place_of(key, &STATUS_KEYS)
        {
            let number = if at == CAP_EFF { Some(parse_hex(value)) } else { kfile::parse_leading_u64(value) };
            // Of a key that comes twice the first line counts.
            self.0[at] = self.0[at].or(number);
        }
    }

    fn status(&self) -> Option<Status> {
        let [
            uid,
            anon_kib,
            shmem_kib,
            swap_kib,
            resident_kib,
            most_resident_kib,
            tgid,
            tracer,
            fd_size,
            cap_eff,
            page_tables_kib,
            locked_kib,
        ] = self.0;
        let uid = u32::try_from(uid?).ok()?;
        let pid_of = |number: Option<u64>| positive_pid(i32::try_from(number?).ok()?);
        Some(Status {
            uid,
            anon_kib,
            shmem_kib,
            swap_kib,
            page_tables_kib,
            locked_kib,
            resident_kib,
            most_resident_kib,
            fd_size,
            cap_eff: cap_eff.unwrap_or(0),
            tgid: pid_of(tgid),
            tracer: pid_of(tracer),
        })
    }
}

/// Parses `/proc/PID/status`. `None` without a `Uid` line.
pub fn parse_status(text: &[u8]) -> Option<Status> {
    let mut found = StatusLines::default();
    kfile::lines(text).for_each(|line| found.add(line));
    found.status()
}

fn parse_hex(text: &[u8]) -> u64 {
    let digits = text.iter().map_while(|&byte| char::from(byte).to_digit(16));
    digits.fold(0, |value, digit| (value << 4) | u64::from(digit))
}

/// Reads `/proc/PID/status`.
///
/// # Errors
/// See [`ReadError`].
pub fn read_status(proc: BorrowedFd<'_>, pid: Pid) -> Result<Status, ReadError> {
    // 1.5 KB, more with many groups: a piece at a time, for this is where the
    // stack is deepest.
    let mut buf = [0; 512];
    let mut found = StatusLines::default();
    let mut is_empty = true;
    kfile::read_lines(proc, path_of(pid, "/status").as_cstr(), &mut buf, &mut |line| {
        is_empty = false;
        found.add(line);
        ControlFlow::Continue(())
    })?;
    // A process that dies between open and read leaves an empty file.
    if is_empty { Err(ReadError::Missing) } else { found.status().ok_or(ReadError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn the_lines_that_are_wanted_are_found() {
        let text = b"Name:\ta\nTgid:\t7\nTracerPid:\t0\nUid:\t1000\t0\t0\t0\nVmSwap:\t  12 kB\nRssAnon:\t 345 kB\nRssShmem:\t6 kB\nCapEff:\t000001ffffffffff\n";
        let status = parse_status(text).unwrap();
        assert_eq!(status.uid, 1000);
        assert_eq!((status.anon_kib, status.shmem_kib, status.swap_kib), (Some(345), Some(6), Some(12)));
        assert_eq!(status.cap_eff, 0x1ff_ffff_ffff);
        assert_eq!((status.tgid, status.tracer), (Pid::from_raw(7), None));
        // Name cannot forge a line: the kernel escapes newlines there.
        assert_eq!(parse_status(b"Name:\tUid: 0\nState: S\n"), None);
        assert_eq!(parse_status(b"Uid:\t99999999999\n"), None);
        assert_eq!(parse_status(b"Uid:\t5\n").unwrap().anon_kib, None);
    }

    #[test]
    fn files_that_are_kept_in_memory_are_freeable() {
        let freeable_kib = |locked_kib: u64, resident_kib: u64| {
            let text = format!(
                "Uid:\t0\nVmLck:\t{locked_kib} kB\nVmRSS:\t{resident_kib} kB\nRssAnon:\t100 kB\nRssShmem:\t50 kB\nVmSwap:\t7 kB\n"
            );
            parse_status(text.as_bytes()).unwrap().freeable_kib().unwrap()
        };
        assert_eq!([freeable_kib(0, 900), freeable_kib(140, 900)], [107, 107]);
        // At least 550 of those 700 are files, ...
        assert_eq!(freeable_kib(700, 900), 657);
        // ... and no more than what is resident: of what is locked some may never have been touched.
        assert_eq!([freeable_kib(5000, 900), freeable_kib(u64::MAX, 0)], [857, 107]);
    }
}
