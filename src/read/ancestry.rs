//! Ourselves and our parents: who would take us along, or is what we guard.

use crate::read::kfile::ReadError;
use crate::read::process::{self, Pid};
use crate::sys::positive_pid;
use rustix::fd::BorrowedFd;

/// Ancestors that are remembered; a longer chain is walked each time it is asked.
const REMEMBERED: usize = 32;
/// No chain of parents is longer; it ends there should /proc ever show a loop.
const MAX_ANCESTORS: usize = 4096;

/// Our own process and its ancestors. Rebuilt for each survey and each round of
/// signals, because pids are reused. Within one it can only be too large: whoever
/// an orphan is given to was an ancestor before.
#[derive(Clone, Copy, Debug)]
pub struct Ancestry {
    own: Option<Pid>,
    pids: [Option<Pid>; REMEMBERED],
    /// Why the chain could not be read to its end: then anybody may be one of them.
    error: Option<ReadError>,
}

impl Ancestry {
    /// Reads the parents of `own`; `None` has no ancestors.
    pub fn read(proc: BorrowedFd<'_>, own: Option<Pid>) -> Self {
        let mut ancestry = Self { own, pids: [None; REMEMBERED], error: None };
        let mut next = own;
        for place in &mut ancestry.pids {
            *place = next;
            let Some(child) = next else { break };
            match parent(proc, child) {
                Ok(parent) => next = parent,
                Err(error) => {
                    ancestry.error = Some(error);
                    break;
                }
            }
        }
        ancestry
    }

    /// Is `pid` one of them?
    ///
    /// # Errors
    /// The chain could not be read, and nobody is known to be none of them.
    pub fn has(&self, proc: BorrowedFd<'_>, pid: Pid) -> Result<bool, ReadError> {
        if self.pids.contains(&Some(pid)) {
            return Ok(true);
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut next = self.pids[REMEMBERED - 1].and(self.own);
        for _ in 0..MAX_ANCESTORS {
            let Some(child) = next else { break };
            if child == pid {
                return Ok(true);
            }
            next = parent(proc, child)?;
        }
        Ok(false)
    }
}

/// Is `own` an ancestor of `pid`? Of whom that cannot be told it is not.
pub fn is_descendant(proc: BorrowedFd<'_>, pid: Pid, own: Pid) -> bool {
    let parent = |child| parent(proc, child).ok().flatten();
    core::iter::successors(parent(pid), |&child| parent(child))
        .take(MAX_ANCESTORS)
        .take_while(|&ancestor| ancestor != Pid::INIT || own == Pid::INIT)
        .any(|ancestor| ancestor == own)
}

/// The parent; `None` where the chain ends: outside of our pid namespace, or at who
/// has ended or is hidden from us (hidepid), and is another user's then.
fn parent(proc: BorrowedFd<'_>, child: Pid) -> Result<Option<Pid>, ReadError> {
    match process::read_stat(proc, child) {
        Ok(stat) => Ok(positive_pid(stat.ppid)),
        Err(ReadError::Missing | ReadError::NotPermitted) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::kfile::Tree;
    use rustix::fd::AsFd;
    use std::ffi::CString;
    use std::path::{Path, PathBuf};
    use std::{format, fs};

    /// A chain of these processes, each the parent of the one before.
    fn chain(name: &str, pids: &[i32]) -> (PathBuf, Tree) {
        let dir = std::env::temp_dir().join(format!("bustd-ancestry-{}-{name}", std::process::id()));
        fs::create_dir_all(dir.join("proc")).unwrap();
        for (at, pid) in pids.iter().enumerate() {
            let ppid = pids.get(at + 1).unwrap_or(&0);
            fs::create_dir_all(dir.join(format!("proc/{pid}"))).unwrap();
            let stat = format!("{pid} (a) S {ppid} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n");
            fs::write(stat_of(&dir, *pid), stat).unwrap();
        }
        let tree = Tree::open_captured(&CString::new(dir.to_str().unwrap()).unwrap()).unwrap();
        (dir, tree)
    }

    fn stat_of(dir: &Path, pid: i32) -> PathBuf {
        dir.join(format!("proc/{pid}/stat"))
    }

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    /// The hole: an error was taken for the end of the chain, and whoever is above it
    /// for no ancestor.
    #[test]
    fn a_chain_that_cannot_be_read_has_everybody() {
        let pids: std::vec::Vec<i32> = (100..140).collect();
        for (name, broken) in [("near", 103), ("far", 135)] {
            let (dir, tree) = chain(name, &pids);
            let proc = tree.proc.as_fd();
            let whole = Ancestry::read(proc, Some(pid(100)));
            assert_eq!(whole.has(proc, pid(102)), Ok(true));
            assert_eq!(whole.has(proc, pid(139)), Ok(true));
            assert_eq!(whole.has(proc, pid(7)), Ok(false));
            // There, and cannot be read.
            fs::remove_file(stat_of(&dir, broken)).unwrap();
            fs::create_dir(stat_of(&dir, broken)).unwrap();
            let cut = Ancestry::read(proc, Some(pid(100)));
            assert_eq!(cut.has(proc, pid(102)), Ok(true));
            assert!(matches!(cut.has(proc, pid(7)), Err(ReadError::Io(_))));
            assert!(matches!(cut.has(proc, pid(139)), Err(ReadError::Io(_))));
            // Whoever is hidden ends the chain.
            fs::remove_dir(stat_of(&dir, broken)).unwrap();
            let hidden = Ancestry::read(proc, Some(pid(100)));
            assert_eq!(hidden.has(proc, pid(7)), Ok(false));
            fs::remove_dir_all(dir).unwrap();
        }
        let (dir, tree) = chain("none", &[]);
        assert_eq!(Ancestry::read(tree.proc.as_fd(), None).has(tree.proc.as_fd(), pid(7)), Ok(false));
        fs::remove_dir_all(dir).unwrap();
    }
}
