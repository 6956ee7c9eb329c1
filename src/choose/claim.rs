//! What a process claims to be, held against the user's patterns.

use crate::config::policy::{Claim, Policy, Preference};
use crate::read::process::{self, Comm, MAX_EXE, Pid};
use rustix::fd::BorrowedFd;

/// How the patterns see the process `pid`, called `comm`, of user `uid`. Reads
/// what it executes where a pattern asks for that.
pub fn read_preference(
    proc: BorrowedFd<'_>,
    pid: Pid,
    comm: &Comm,
    uid: u32,
    policy: &Policy<'_>,
) -> Preference {
    let mut buf = [0; MAX_EXE];
    let exe = if policy.asks_for_exe() { process::read_exe(proc, pid, &mut buf).ok() } else { None };
    policy.preference(&Claim { comm, uid, exe })
}
