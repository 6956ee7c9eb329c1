//! Options from a file: one a line, as on the command line without the dashes.

use crate::console::{EXIT_FAILURE, EXIT_USAGE, fail_about};
use crate::place::Place;
use bustd::read::kfile::ReadError;
use bustd::sys::file::open;
use bustd::sys::line::named;
use core::ffi::CStr;
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The file that is read without being named, if it is there.
const DEFAULT_FILE: &CStr = c"/etc/bustd.conf";

/// What a person writes is shorter.
const MAX_LEN: usize = 64 * 1024;

/// Hands each option of the file, with dashes, and its place to `found`. False where
/// no file was named and the usual one is not there; a file that cannot be read ends
/// the program.
pub fn for_each_line(asked: Option<&'static CStr>, found: &mut dyn FnMut(Place, OsString)) -> bool {
    let path = asked.unwrap_or(DEFAULT_FILE);
    let text = match read(path) {
        Ok(text) => text,
        Err(Errno::NOENT | Errno::NOTDIR) if asked.is_none() => return false,
        Err(errno) => {
            fail_about(EXIT_FAILURE, named!("--config "), path.to_bytes(), ReadError::from(errno).reason())
        }
    };
    if text.len() > MAX_LEN || text.contains(&0) {
        fail_about(
            EXIT_USAGE,
            named!("--config "),
            path.to_bytes(),
            named!("not a text, or longer than 64 KiB"),
        );
    }
    let mut place = Place { file: Some(path), line: 0 };
    for line in text.split(|&byte| byte == b'\n') {
        place.line += 1;
        if let Some(arg) = parse_line(line) {
            found(place, OsString::from_vec(arg));
        }
    }
    true
}

/// What a shell would leave of a value in quotes.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// Reads as much of a file as [`MAX_LEN`], and one byte more.
#[inline(never)]
pub fn read(path: &CStr) -> Result<Vec<u8>, Errno> {
    let file = open(CWD, path, OFlags::RDONLY)?;
    let mut text = vec![0; MAX_LEN + 1];
    let mut len = 0;
    while len < text.len() {
        match rustix::io::read(&file, &mut text[len..])? {
            0 => break,
            more => len += more,
        }
    }
    text.truncate(len);
    Ok(text)
}

/// `NAME VALUE`, `NAME = VALUE` or `NAME` as `--NAME=VALUE` or `--NAME`; nothing of a
/// line that is empty but for a comment, which begins with a `#` at the start of a
/// word.
fn parse_line(line: &[u8]) -> Option<Vec<u8>> {
    let starts_comment = |at: usize| line[at] == b'#' && (at == 0 || line[at - 1].is_ascii_whitespace());
    let end = (0..line.len()).find(|&at| starts_comment(at)).unwrap_or(line.len());
    let text = line[..end].trim_ascii();
    let text = text.strip_prefix(b"--").unwrap_or(text);
    let name_len = text.iter().position(|&byte| byte.is_ascii_whitespace() || byte == b'=');
    let (name, rest) = text.split_at(name_len.unwrap_or(text.len()));
    let mut arg = b"--".to_vec();
    arg.extend_from_slice(name);
    let rest = rest.trim_ascii_start();
    let is_assigned = rest.first() == Some(&b'=');
    let value = if is_assigned { rest[1..].trim_ascii_start() } else { rest };
    if is_assigned || !value.is_empty() {
        arg.push(b'=');
        arg.extend_from_slice(unquoted(value));
    }
    (!text.is_empty()).then_some(arg)
}
