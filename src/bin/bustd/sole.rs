//! Being the only guard, where no pidfile tells: a name is the lock.

use bustd::choose::scope::Scope;
use bustd::read::kfile::{Tree, fields, read_lines};
use bustd::read::listing::{list_names, list_processes};
use bustd::read::process::{MAX_EXE, Pid, read_stat};
use bustd::read::status::read_status;
use bustd::sys::line::{Line, fingerprint};
use bustd::sys::ready::take_name;
use bustd::sys::time::pause;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::readlinkat_raw;
use rustix::io::Errno;
use rustix::process::{geteuid, getpid};

/// Whether there is another guard.
#[must_use]
pub enum Sole {
    /// There is none as long as this is open. `None` for kernels without sockets.
    Alone(#[allow(dead_code, reason = "open as long as it lives")] Option<OwnedFd>),
    /// This one.
    Other(Pid),
    /// Somebody who is no guard of ours has taken the name. Everybody can, and it is
    /// to keep nobody from guarding.
    Unknown,
}

/// A guard that was killed may have left a child behind which has not yet let go of its
/// name; it is tried this often.
const ATTEMPTS: u32 = 10;
const PAUSE_US: u64 = 20_000;

/// Takes the name of the guard of our user, pid namespace and cgroup.
// Out of line, so that who goes on to guard has no such line on its stack.
#[inline(never)]
pub fn take(tree: &Tree, scope: &Scope<'_>) -> Sole {
    let Some(name) = name(tree, scope) else { return Sole::Alone(None) };
    let mut found = None;
    for _ in 0..ATTEMPTS {
        match take_name(name.as_cstr()) {
            Ok(socket) => return Sole::Alone(Some(socket)),
            Err(Errno::ADDRINUSE) => {}
            Err(_) => return Sole::Alone(None),
        }
        found = find_holder(tree, name.as_bytes());
        pause(PAUSE_US);
    }
    found.map_or(Sole::Unknown, Sole::Other)
}

/// The guard that [`take`] would find, for who only asks.
#[inline(never)]
pub fn find(tree: &Tree, scope: &Scope<'_>) -> Option<Pid> {
    find_holder(tree, name(tree, scope)?.as_bytes())
}

#[inline(never)]
fn name(tree: &Tree, scope: &Scope<'_>) -> Option<Line> {
    let mut namespace = [0; 32];
    let len = readlinkat_raw(&tree.proc, c"self/ns/pid", &mut namespace[..]).ok()?;
    let mut name = Line::default();
    name.text("bustd/").bytes(&namespace[..len]).text("/").number(geteuid().as_raw().into());
    // Cgroups may have a guard each; a path would be too long for a name.
    scope.with_path(|path| {
        name.text("/").number(fingerprint(path));
    });
    Some(name)
}

/// The process of our name and of our user or root that has the socket of this name.
fn find_holder(tree: &Tree, name: &[u8]) -> Option<Pid> {
    let proc = tree.proc.as_fd();
    let mut inode = Line::default();
    let mut buf = [0; 512];
    // Its last field is the name, behind an @.
    let found = read_lines(proc, c"self/net/unix", &mut buf, &mut |line| {
        let is_it = line.strip_suffix(name).is_some_and(|rest| rest.ends_with(b" @"));
        match fields(line).nth(6).filter(|_| is_it) {
            Some(number) => {
                inode.text("socket:[").bytes(number).text("]");
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        }
    });
    if found.is_err() || inode.as_bytes().is_empty() {
        return None;
    }
    let own = read_stat(proc, getpid()).ok()?.comm;
    let mut holder = None;
    let _ = list_processes(proc, &mut |pid| {
        let is_guard = pid != getpid()
            && read_stat(proc, pid).is_ok_and(|stat| stat.comm == own)
            && read_status(proc, pid).is_ok_and(|status| status.uid == 0 || status.uid == geteuid().as_raw());
        if is_guard && holds(tree, pid, inode.as_bytes()) {
            holder = Some(pid);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    holder
}

fn holds(tree: &Tree, pid: Pid, target: &[u8]) -> bool {
    let mut path = Line::default();
    path.signed(pid.as_raw_pid().into()).text("/fd");
    let Ok(files) = bustd::read::kfile::open_dir(tree.proc.as_fd(), path.as_cstr()) else { return false };
    let mut is_found = false;
    let _ = list_names(files.as_fd(), &mut |name| {
        let mut buf = [0; MAX_EXE];
        is_found = readlinkat_raw(&files, name, &mut buf[..]).is_ok_and(|len| buf[..len] == *target);
        if is_found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    is_found
}
