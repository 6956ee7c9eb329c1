//! Who keeps a victim from ending that took SIGKILL. A tracer may stop each thread
//! on its way out (PTRACE_O_TRACEEXIT, ptrace(2)), all memory still held, for as
//! long as it likes; any user may trace what is its own.

use super::signal::{SignalContext, Target, signal_process};
use crate::read::kfile::open_dir;
use crate::read::listing::list_processes;
use crate::read::process::{self, Identity, Pid, path_of};
use crate::read::status::read_status;
use crate::sys::time;
use core::ops::ControlFlow;
use rustix::fd::AsFd;
use rustix::process::Signal;

/// A process may have tens of thousands of threads. The others are looked at the
/// next time, when those before are gone.
const LOOK_US: u64 = 5000;

/// Kills whoever holds `victim` of `uid` back, if it is the same user's and may be killed.
/// Another user's tracer had to be allowed to trace it, as root is.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn kill_tracer(context: &SignalContext<'_>, victim: Identity, uid: u32) -> Option<Pid> {
    let tracer = find_tracer(context, victim)?;
    let status = read_status(context.proc, tracer.pid).ok()?;
    if status.uid != uid {
        return None;
    }
    let target = Target::open(context, tracer).ok()?;
    signal_process(context, &target, Signal::KILL).ok()?;
    Some(tracer.pid)
}

/// The process of the thread that stops one of `victim`'s.
fn find_tracer(context: &SignalContext<'_>, victim: Identity) -> Option<Identity> {
    let proc = context.proc;
    let is_it = |starttime| starttime == victim.starttime;
    process::read_stat(proc, victim.pid).ok().filter(|stat| is_it(stat.starttime))?;
    let tasks = open_dir(proc, path_of(victim.pid, "/task").as_cstr()).ok()?;
    let until_us = time::now_us() + LOOK_US;
    let mut tracer = None;
    // Where they cannot be listed, nobody is known to hold it.
    let _ = list_processes(tasks.as_fd(), &mut |tid| {
        let is_held = process::read_stat(tasks.as_fd(), tid).is_ok_and(|stat| stat.state == b't');
        if is_held && let Ok(status) = read_status(tasks.as_fd(), tid) {
            tracer = status.tracer;
        }
        let is_over = tracer.is_some() || time::now_us() >= until_us;
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // It may be one thread of many.
    let pid = read_status(proc, tracer?).ok()?.tgid?;
    let starttime = process::read_stat(proc, pid).ok()?.starttime;
    Some(Identity { pid, starttime })
}
