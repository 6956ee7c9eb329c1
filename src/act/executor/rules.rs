//! What rules have the executor do: killing a cgroup, running a program, writing to a
//! file of a cgroup.

use super::{ActiveKill, Begun, Executor, FreeMemory};
use crate::act::kill::{Kill, Mark, Timeline};
use crate::act::signal::Refusal;
use crate::choose::whole::Whole;
use crate::decide::verdict::Rule;
use crate::decide::victim::Candidate;
use crate::read::kfile::parse_u64;
use crate::sys::line::{DIGITS, Line, digits};
use crate::sys::time::{now_us, realtime_s};
use core::ffi::CStr;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use rustix::io::Errno;

/// The attributes that tell how often a cgroup was killed, and how many were.
const OOMS: [&CStr; 2] = [c"trusted.oomd_ooms", c"user.oomd_ooms"];
const KILLED: [&CStr; 2] = [c"trusted.oomd_kill", c"user.oomd_kill"];
/// And by what number that is known.
const UUID: [&CStr; 2] = [c"trusted.oomd_kill_uuid", c"user.oomd_kill_uuid"];

/// A cgroup that rules have chosen, and how it is to die.
#[derive(Debug)]
pub struct Doomed {
    /// Which it is.
    pub whole: Whole,
    /// Its directory, which one of the same path that is made later has not.
    pub dir: Option<OwnedFd>,
    /// Is its memory to be released if it takes long to die?
    pub reaps: bool,
    /// A hook may hold the kill up for so long, as long as memory lasts.
    pub hold_us: u64,
}

impl Executor<'_> {
    /// Begins to kill everybody in a cgroup, as rules ask for, with SIGKILL at once:
    /// `victim` is one of them, from whom the others are told.
    ///
    /// # Errors
    /// The victim cannot be had; nothing was done.
    // Out of line, so that rules do not run below what is put together here.
    #[inline(never)]
    pub fn begin_cgroup(
        &mut self,
        victim: Candidate,
        doomed: Doomed,
        before: FreeMemory,
        now_us: u64,
    ) -> Result<Begun, Refusal> {
        let context = self.means.context(&self.config.policy, self.command, &victim);
        let kill = Kill::begin(&context, &victim, Timeline::new(0, now_us))?;
        self.victim = victim;
        let active = self.active.insert(ActiveKill {
            kill,
            rule: Rule::File,
            members: 1,
            is_of_many: false,
            before,
            freeable_kib: victim.freeable_kib,
            is_releasing: !doomed.reaps,
        });
        active.kill.take_all_of(doomed.whole, doomed.dir.map(|dir| (dir, mark as Mark)));
        let has_hook_failed = !self.start_before_kill(Rule::File, doomed.hold_us, now_us);
        Ok(Begun { cgroup: Some(doomed.whole), has_hook_failed, ..Begun::default() })
    }

    /// Starts a program for a rule; see
    /// [`Children::start_program`](crate::act::hook::Children::start_program).
    ///
    /// # Errors
    /// See there.
    pub fn start_program(
        &mut self,
        number: u32,
        arguments: &[&[u8]],
        variables: &[&CStr],
        timeout_us: u64,
        now_us: u64,
    ) -> Result<(), Errno> {
        let inherited = &self.means.inherited;
        self.children.start_program(number, arguments, variables, inherited, now_us + timeout_us)
    }

    /// Has a child write to a file of a cgroup; see
    /// [`Children::start_writing`](crate::act::hook::Children::start_writing).
    ///
    /// # Errors
    /// See there.
    pub fn start_writing(
        &mut self,
        dir: BorrowedFd<'_>,
        file: &CStr,
        text: &[u8],
        timeout_us: u64,
        now_us: u64,
    ) -> Result<(), Errno> {
        self.children.start_writing(dir, file, text, now_us + timeout_us)
    }
}

/// Tells in its attributes that a cgroup is killed, one more time and by what number; or how
/// many were.
#[inline(never)]
fn mark(dir: BorrowedFd<'_>, killed: Option<u32>) {
    let (names, more) = killed.map_or((&OOMS, 1), |killed| (&KILLED, killed));
    for name in names {
        add(dir, name, more.into());
    }
    if killed.is_some() {
        return;
    }
    let mut uuid = Line::default();
    for half in [now_us(), realtime_s()] {
        push_hex(&mut uuid, half.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    for &name in &UUID {
        let _ = fsetxattr(dir, name, uuid.as_bytes(), XattrFlags::empty());
    }
}

/// Adds to a number in an attribute. Whoever owns the cgroup may have written anything
/// there: that counts as 0.
fn add(dir: BorrowedFd<'_>, name: &CStr, more: u64) {
    let mut buf = [0; 24];
    let len = fgetxattr(dir, name, &mut buf[..]).unwrap_or(0);
    let number = buf.get(..len).and_then(parse_u64).unwrap_or(0);
    let _ = fsetxattr(dir, name, digits(number.saturating_add(more), &mut [0; DIGITS]), XattrFlags::empty());
}

fn push_hex(line: &mut Line, number: u64) {
    for at in (0..16).rev() {
        line.bytes(&[b"0123456789abcdef"[(number >> (at * 4)) as usize & 15]]);
    }
}
