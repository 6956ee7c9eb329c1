//! What the kernel's own killer knows of a process: the one reading that opens
//! `/proc` itself, for programs that want no more than this.
//!
//! ```
//! use bustd::read::oom::{Oom, read_oom};
//! use bustd::read::process::Pid;
//!
//! # fn main() -> Result<(), bustd::read::kfile::ReadError> {
//! let Oom { score, adj, freeable_kib } = read_oom(Pid::INIT)?;
//! println!("oom_score {score}, oom_score_adj {adj}");
//! if let Some(freeable_kib) = freeable_kib {
//!     println!("its end would give back {freeable_kib} KiB");
//! }
//! # Ok(())
//! # }
//! ```

use super::kfile::{ReadError, Tree};
use super::process::{Pid, read_oom_score, read_oom_score_adj};
use super::status::read_status;
use rustix::fd::AsFd;

/// What the kernel's own killer goes by, and what the end of the process would bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oom {
    /// `/proc/PID/oom_score` (Linux 2.6.11): whose is highest dies first. From 0 to
    /// 2000 since 5.9, before that to 1000.
    pub score: u32,
    /// `/proc/PID/oom_score_adj` (2.6.36): what is added to the score, in thousandths of
    /// all memory, from -1000 (never) to 1000.
    pub adj: i16,
    /// Anonymous memory and swap in KiB, out of `/proc/PID/status`; `None` for kernel
    /// threads and before 4.5.
    pub freeable_kib: Option<u64>,
}

/// Reads them of one process, each file opened once.
///
/// # Errors
/// [`ReadError::Missing`] where there is no such process, or no `/proc`;
/// [`ReadError::NotPermitted`] where it is hidden from us (hidepid); and those of read(2).
pub fn read_oom(pid: Pid) -> Result<Oom, ReadError> {
    let tree = Tree::open_live()?;
    let proc = tree.proc.as_fd();
    let status = read_status(proc, pid)?;
    Ok(Oom {
        score: read_oom_score(proc, pid)?,
        adj: read_oom_score_adj(proc, pid)?,
        freeable_kib: status.freeable_kib(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_three_of_ourselves_and_none_of_nobody() {
        let own = read_oom(rustix::process::getpid()).unwrap();
        assert!((-1000..=1000).contains(&own.adj) && own.freeable_kib.is_some_and(|kib| kib > 0));
        assert_eq!(read_oom(Pid::from_raw(i32::MAX).unwrap()), Err(ReadError::Missing));
    }
}
