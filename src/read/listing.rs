//! The entries of `/proc` and of directories below it.

use crate::read::kfile::{self, ReadError, open_dir};
use crate::sys::positive_pid;
use crate::sys::time::{now_us, pause};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use rustix::fd::BorrowedFd;
use rustix::fs::RawDir;
use rustix::process::Pid;

/// At the priority of a guard, thousands of processes looked at in one go keep
/// others from a processor for a tenth of a second and more. So a scan pauses
/// for this long each time it has run for [`PAUSE_AFTER_US`]; the clock is read
/// every [`PAUSE_CHECK`] processes.
const PAUSE_US: u64 = 1000;
const PAUSE_AFTER_US: u64 = 3000;
const PAUSE_CHECK: u32 = 16;

/// Room for the entries of one getdents(2): about twenty processes, and one of any name.
const DIR_BUF_LEN: usize = 512;

/// How a listing ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Every entry was told.
    All,
    /// It was stopped before the end.
    Stopped,
}

/// Calls `found` with each process in `proc`, in the order the kernel lists
/// them (ascending), until it says that it has seen enough.
///
/// # Errors
/// Those of openat(2) and getdents64(2); processes before the error were told.
pub fn list_processes(
    proc: BorrowedFd<'_>,
    found: &mut dyn FnMut(Pid) -> ControlFlow<()>,
) -> Result<Listed, ReadError> {
    let mut since_us = now_us();
    let mut since = 0;
    list_names(proc, &mut |name| {
        let Some(pid) = parse_pid(name.to_bytes()) else { return ControlFlow::Continue(()) };
        found(pid)?;
        since += 1;
        if since >= PAUSE_CHECK {
            since = 0;
            if now_us().saturating_sub(since_us) >= PAUSE_AFTER_US {
                pause(PAUSE_US);
                since_us = now_us();
            }
        }
        ControlFlow::Continue(())
    })
}

/// Calls `found` with every process in `proc`, as [`list_processes`] does.
///
/// # Errors
/// Those of [`list_processes`].
pub fn for_each_process(proc: BorrowedFd<'_>, found: &mut dyn FnMut(Pid)) -> Result<(), ReadError> {
    let listed = list_processes(proc, &mut |pid| {
        found(pid);
        ControlFlow::Continue(())
    })?;
    debug_assert_eq!(listed, Listed::All);
    Ok(())
}

/// Calls `found` with each name in the directory `dir`, until it says that it has
/// seen enough.
///
/// # Errors
/// Those of openat(2) and getdents64(2); names before the error were told.
pub fn list_names(
    dir: BorrowedFd<'_>,
    found: &mut dyn FnMut(&CStr) -> ControlFlow<()>,
) -> Result<Listed, ReadError> {
    let dir = open_dir(dir, c".")?;
    let mut buf = [MaybeUninit::uninit(); DIR_BUF_LEN];
    let mut entries = RawDir::new(dir, &mut buf);
    while let Some(entry) = entries.next() {
        if found(entry?.file_name()).is_break() {
            return Ok(Listed::Stopped);
        }
    }
    Ok(Listed::All)
}

/// Parses a positive pid.
pub fn parse_pid(text: &[u8]) -> Option<Pid> {
    positive_pid(kfile::parse_i32(text)?)
}
