//! Reading a file of rules, at start and again.

use super::model::Book;
use super::parse::parse_rules;
use super::reader::Permits;
use super::teller::{Say, refuse_file};
use crate::read::kfile::ReadError;
use crate::sys::block::{Block, with_room};
use crate::sys::file::open;
use crate::sys::line::lit;
use core::ffi::CStr;
use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

/// No file of rules is longer. The longest list of rules in use has a twentieth of
/// that, and it is read while memory may be short.
pub const MAX_FILE: usize = 256 * 1024;

/// Reads the file `path` below `dir`, and tells `say` what is wrong with it; `None`
/// if it cannot be used.
// Out of line, so that it belongs to rules and not to start-up.
#[inline(never)]
pub fn load(dir: BorrowedFd<'_>, path: &CStr, permits: Permits, say: &mut Say<'_>) -> Option<Block<Book>> {
    let name = path.to_bytes();
    let loaded = with_room(MAX_FILE + 1, |mut room| {
        // The room is as large.
        let buf = room.slice(MAX_FILE + 1, 0_u8).unwrap_or_default();
        match read_whole(dir, path, buf) {
            Ok(text) => return parse_rules(name, text, permits, say),
            Err(unread) => refuse_file(say, name, unread),
        }
        None
    });
    if loaded.is_none() {
        refuse_file(say, name, lit!("no memory to read it"));
    }
    loaded.flatten()
}

/// Reads the file into `buf`, or tells why it cannot be read as a whole.
fn read_whole<'t>(dir: BorrowedFd<'_>, path: &CStr, buf: &'t mut [u8]) -> Result<&'t [u8], &'static [u8]> {
    let io = |errno: Errno| ReadError::from(errno).reason().as_bytes();
    let file = open(dir, path, OFlags::RDONLY).map_err(io)?;
    let stat = fstat(&file).map_err(io)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(lit!("not a file"));
    }
    let mut len = 0;
    while let Some(rest) = buf.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(&file, rest).map_err(io)? {
            0 => return Ok(buf.get(..len).unwrap_or_default()),
            more => len += more,
        }
    }
    Err(lit!("longer than 256 KiB"))
}

/// What became of reading the rules again.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Reloaded<T = Block<Book>> {
    /// These take the place of the old ones.
    New(T),
    /// They say the same as the old ones, which stay.
    Same,
    /// They cannot be used, `say` has been told why, and the old ones stay.
    Kept,
}

/// Reads the file again that `old` came from. The new rules lie beside the old ones,
/// so who takes them drops the old.
pub fn reload(
    dir: BorrowedFd<'_>,
    path: &CStr,
    permits: Permits,
    old: &Block<Book>,
    say: &mut Say<'_>,
) -> Reloaded {
    match load(dir, path, permits, say) {
        Some(new) if new.get().fingerprint == old.get().fingerprint => Reloaded::Same,
        Some(new) => Reloaded::New(new),
        None => Reloaded::Kept,
    }
}
