//! What a process claims to be, held against the user's patterns.

use crate::config::pattern::Trait;
use crate::config::policy::{Claim, Policy, Preference};
use crate::read::kfile::ReadError;
use crate::read::membership::read_membership;
use crate::read::process::{self, Comm, HIDING, MAX_EXE, Pid};
use rustix::fd::BorrowedFd;

/// Hands what is known of the process `pid`, called `comm`, of user `uid`, to `told`:
/// what it executes and in which cgroup it is where `asks_for` that. Once without the
/// cgroup, and then with it.
///
/// # Errors
/// Why its cgroup cannot be read.
pub fn read_claim(
    proc: BorrowedFd<'_>,
    pid: Pid,
    (comm, uid): (&Comm, u32),
    asks_for: &dyn Fn(Trait) -> bool,
    told: &mut dyn FnMut(&Claim<'_>),
) -> Result<(), ReadError> {
    let mut buf = [0; MAX_EXE];
    let exe = if asks_for(Trait::Exe) { process::read_exe(proc, pid, &mut buf).ok() } else { None };
    let claim = Claim { comm, uid, exe, cgroup: None };
    told(&claim);
    if !asks_for(Trait::Cgroup) {
        return Ok(());
    }
    read_membership(proc, pid, None, &mut |path| told(&Claim { cgroup: Some(path), ..claim }))
}

/// How the patterns see the process `pid`, called `comm`, of user `uid`.
///
/// # Errors
/// Why it cannot be told whether it is in a cgroup that is to be spared.
pub fn read_preference(
    proc: BorrowedFd<'_>,
    pid: Pid,
    comm: &Comm,
    uid: u32,
    policy: &Policy<'_>,
) -> Result<Preference, ReadError> {
    let mut preference = Preference::Ordinary;
    let read = read_claim(proc, pid, (comm, uid), &|about| policy.asks_for(about), &mut |claim| {
        preference = policy.preference(claim);
    });
    match read {
        // In no cgroup, or gone; and to hide is no way to be spared.
        Ok(()) | Err(ReadError::Missing | ReadError::Malformed | HIDING) => Ok(preference),
        Err(error) if policy.spares_cgroups() => Err(error),
        Err(_) => Ok(preference),
    }
}
