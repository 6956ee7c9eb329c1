//! Small kernel files: open below a directory, read into the caller's buffer,
//! walk lines and fields. Nothing here knows what a file means.

use crate::sys::file::open;
use crate::sys::line::Word;
use core::ffi::CStr;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

/// Why a reading could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// No such process, or no such file (ENOENT, ESRCH).
    Missing,
    /// The kernel refuses us the file (EACCES, EPERM).
    NotPermitted,
    /// The file was read but does not have the documented shape.
    Malformed,
    /// Any other error of open(2) or read(2).
    Io(Errno),
}

impl ReadError {
    /// In words.
    // Out of line: many ask.
    #[inline(never)]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "no such file or directory",
            Self::NotPermitted => "not permitted",
            Self::Malformed => "malformed",
            Self::Io(Errno::ROFS) => "the file system is read-only",
            Self::Io(Errno::NOTDIR) => "not a directory",
            Self::Io(Errno::ISDIR) => "a directory",
            Self::Io(Errno::LOOP) => "a symbolic link",
            Self::Io(Errno::NOSPC) => "no space left",
            Self::Io(_) => "the kernel refused",
        }
    }
}

impl From<Errno> for ReadError {
    // Out of line: there is one wherever a call of the kernel's is tried.
    #[inline(never)]
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::SRCH => Self::Missing,
            Errno::ACCESS | Errno::PERM => Self::NotPermitted,
            other => {
                if is_shortage(other) {
                    SHORTAGE.store(true, Relaxed);
                }
                Self::Io(other)
            }
        }
    }
}

static SHORTAGE: AtomicBool = AtomicBool::new(false);

/// Could something not be read that is there, for want of a descriptor or memory, since that
/// was forgotten? Then who is the worst of many cannot be told.
pub fn had_shortage() -> bool {
    SHORTAGE.load(Relaxed)
}

/// See [`had_shortage`].
pub fn forget_shortage() {
    SHORTAGE.store(false, Relaxed);
}

/// Is this error about the machine or about us, and not about what was to be read?
pub fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

/// The directories everything is read from: the kernel's own, or a captured
/// tree of the same shape.
#[derive(Debug)]
pub struct Tree {
    /// `/proc`, or `DIR/proc`.
    pub proc: OwnedFd,
    /// `/sys`, or `DIR/sys`; many containers and initramfs have none.
    pub sys: Option<OwnedFd>,
    /// What paths of mounts begin at, where that is not the root directory.
    pub dir: Option<OwnedFd>,
    /// Whether this is the running kernel's tree. Only then do sysinfo(2),
    /// pressure triggers and signals have anything to do with what is read.
    pub live: bool,
}

impl Tree {
    /// Opens `/proc` and `/sys`.
    ///
    /// # Errors
    /// `/proc` cannot be opened.
    pub fn open_live() -> Result<Self, ReadError> {
        Ok(Self { proc: open_dir(CWD, c"/proc")?, sys: open_dir(CWD, c"/sys").ok(), dir: None, live: true })
    }

    /// Opens `proc` and `sys` below `dir`.
    ///
    /// # Errors
    /// `dir` or `dir/proc` cannot be opened.
    pub fn open_captured(dir: &CStr) -> Result<Self, ReadError> {
        let dir = open_dir(CWD, dir)?;
        Ok(Self {
            proc: open_dir(dir.as_fd(), c"proc")?,
            sys: open_dir(dir.as_fd(), c"sys").ok(),
            dir: Some(dir),
            live: false,
        })
    }

    /// Opens the absolute `path` of this tree with `O_PATH`.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn open_path(&self, path: &CStr) -> Result<OwnedFd, ReadError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok(match &self.dir {
            None => open(CWD, path, flags)?,
            Some(dir) if path.count_bytes() > 1 => open(dir.as_fd(), &path[1..], flags)?,
            Some(dir) => open(dir.as_fd(), c".", flags)?,
        })
    }
}

/// Opens the directory `path` below `dir`.
///
/// # Errors
/// Those of openat(2).
pub fn open_dir(dir: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, ReadError> {
    Ok(open(dir, path, OFlags::DIRECTORY)?)
}

/// Reads the file `path` below `dir` into `buf` with one open, one read and
/// one close, and returns the part that was filled. A file that does not fit
/// is cut at its last whole line, so that no number is ever half read.
///
/// # Errors
/// Those of openat(2) and read(2).
pub fn read_small<'b>(dir: BorrowedFd<'_>, path: &CStr, buf: &'b mut [u8]) -> Result<&'b [u8], ReadError> {
    let len = read_start(dir, path, buf)?.len();
    Ok(whole_lines(buf, len))
}

/// Reads the start of the file `path` below `dir` into `buf`, cut wherever that
/// is full.
///
/// # Errors
/// Those of openat(2) and read(2).
pub fn read_start<'b>(dir: BorrowedFd<'_>, path: &CStr, buf: &'b mut [u8]) -> Result<&'b [u8], ReadError> {
    let file = open(dir, path, OFlags::RDONLY)?;
    let len = rustix::io::read(&file, &mut *buf)?;
    Ok(&buf[..len])
}

/// Reads the file `path` below `dir` that holds nothing but a number.
///
/// # Errors
/// Those of [`read_small`], and [`ReadError::Malformed`]. A process that dies
/// between open and read leaves an empty file: [`ReadError::Missing`].
pub fn read_number(dir: BorrowedFd<'_>, path: &CStr) -> Result<i32, ReadError> {
    let mut buf = [0; 16];
    let text = read_small(dir, path, &mut buf)?;
    let wrong = if text.is_empty() { ReadError::Missing } else { ReadError::Malformed };
    parse_i32(text.trim_ascii_end()).ok_or(wrong)
}

/// The `len` bytes read into `buf`, up to the last newline if that filled it.
pub fn whole_lines(buf: &[u8], len: usize) -> &[u8] {
    let filled = &buf[..len];
    if len < buf.len() {
        return filled;
    }
    let whole = filled.iter().rposition(|&byte| byte == b'\n');
    &filled[..whole.map_or(len, |at| at + 1)]
}

/// No file is read further than this: a list of 65,536 groups, the longest line
/// that a user can make, is 720 KB, and a captured tree may hold anything.
pub const MAX_LEN: usize = 1 << 20;

/// Hands every whole line of the file `path` below `dir` to `line`, however
/// long the file, through the caller's `buf`, until that says that it has seen
/// enough. A line longer than `buf` is passed over.
///
/// # Errors
/// Those of openat(2) and read(2), and [`ReadError::Malformed`] where the file is
/// longer than [`MAX_LEN`]; lines before the error have been handed on.
pub fn read_lines(
    dir: BorrowedFd<'_>,
    path: &CStr,
    buf: &mut [u8],
    line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    read_all_lines(dir, path, buf, false, line)
}

/// The same, but of a line that is longer than `buf` its start is handed on.
///
/// # Errors
/// Those of [`read_lines`].
pub fn read_line_starts(
    dir: BorrowedFd<'_>,
    path: &CStr,
    buf: &mut [u8],
    line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    read_all_lines(dir, path, buf, true, line)
}

fn read_all_lines(
    dir: BorrowedFd<'_>,
    path: &CStr,
    buf: &mut [u8],
    wants_starts: bool,
    line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let file = open(dir, path, OFlags::RDONLY)?;
    let mut left = MAX_LEN;
    let mut kept = 0;
    let mut overlong = false;
    loop {
        let len = rustix::io::read(&file, &mut buf[kept..])?;
        let end = kept + len;
        if len == 0 {
            if kept > 0 && !overlong {
                let _ = line(&buf[..kept]);
            }
            return Ok(());
        }
        left = left.checked_sub(len).ok_or(ReadError::Malformed)?;
        let mut start = 0;
        while let Some(at) = buf[start..end].iter().position(|&byte| byte == b'\n') {
            if !core::mem::take(&mut overlong) && line(&buf[start..start + at]).is_break() {
                return Ok(());
            }
            start += at + 1;
        }
        buf.copy_within(start..end, 0);
        kept = end - start;
        if kept == buf.len() {
            if !overlong && wants_starts && line(buf).is_break() {
                return Ok(());
            }
            overlong = true;
            kept = 0;
        }
    }
}

/// The lines of `text`, without their newlines.
pub fn lines(text: &[u8]) -> Pieces<'_> {
    pieces(text, b'\n')
}

/// The fields of `text`, separated by any run of blanks or newlines.
pub fn fields(text: &[u8]) -> Pieces<'_> {
    pieces(text, b' ')
}

/// The pieces of `text` between bytes of this kind; a blank stands for white space of every
/// kind.
pub fn pieces(text: &[u8], between: u8) -> Pieces<'_> {
    Pieces { rest: text, between }
}

/// The non-empty pieces of a text between separators.
#[derive(Clone, Debug)]
pub struct Pieces<'t> {
    rest: &'t [u8],
    between: u8,
}

impl<'t> Pieces<'t> {
    /// What comes behind the last one.
    pub fn rest(&self) -> &'t [u8] {
        self.rest
    }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = &'t [u8];

    // Out of line: every list is read with it.
    #[inline(never)]
    fn next(&mut self) -> Option<&'t [u8]> {
        // Asked for every byte of every list: a call for each would take most of the time.
        let is_between =
            |&byte: &u8| byte == self.between || self.between == b' ' && byte.is_ascii_whitespace();
        let start = self.rest.iter().position(|byte| !is_between(byte))?;
        let text = &self.rest[start..];
        let end = text.iter().position(is_between).unwrap_or(text.len());
        self.rest = &text[end..];
        Some(&text[..end])
    }
}

/// Splits `Key:   value` at its first colon; the value keeps no leading blanks.
/// lxcfs and some vendor kernels print no blank after the colon.
pub fn split_key(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, value) = split_at(line, b':')?;
    Some((key, value.trim_ascii_start()))
}

/// Splits `text` at the first byte of this kind, which is in neither part.
pub fn split_at(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&other| other == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Adds the number of a line `key 123` to the one of that key, if it is among these. Of a
/// longer key as much counts as a word has room for.
pub fn add_number(line: &[u8], keys: &[Word], numbers: &mut [Option<u64>]) {
    let mut fields = fields(line);
    // Most keys are none of these.
    if let Some(key) = fields.next()
        && let Some(at) = place_of(&key[..key.len().min(Word::MAX_LEN)], keys)
        && let Some(number) = fields.next().and_then(parse_u64)
    {
        numbers[at] = Some(numbers[at].unwrap_or(0).saturating_add(number));
    }
}

/// Where `key` stands in a table.
pub fn place_of(key: &[u8], keys: &[Word]) -> Option<usize> {
    keys.iter().position(|word| word.as_bytes() == key)
}

/// The number of each line `Key: 123 kB`, for these keys and in their order. Of
/// a key that comes twice the first line counts; a line of another shape is passed
/// over.
pub fn numbers_of<const N: usize>(text: &[u8], keys: &[Word; N]) -> [Option<u64>; N] {
    let mut numbers = [None; N];
    find_numbers(text, keys, &mut numbers);
    numbers
}

fn find_numbers(text: &[u8], keys: &[Word], numbers: &mut [Option<u64>]) {
    for line in lines(text) {
        if let Some((key, value)) = split_key(line)
            && let Some(at) = place_of(key, keys)
        {
            numbers[at] = numbers[at].or(parse_leading_u64(value));
        }
    }
}

/// Parses the decimal digits at the start of `text`, saturating at the largest
/// u64; `None` where there are none.
pub fn parse_leading_u64(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let push = |value: u64, &digit: &u8| value.saturating_mul(10).saturating_add((digit - b'0').into());
    Some(text[..digits].iter().fold(0, push))
}

/// Parses `text` as a whole as decimal digits, saturating.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    parse_leading_u64(text)
}

/// Parses `text` as a whole as an optional minus and decimal digits.
pub fn parse_i32(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let size = i64::try_from(parse_u64(digits)?).ok()?;
    i32::try_from(if negative { -size } else { size }).ok()
}

/// Parses `12`, `12.5` or `12.34` as hundredths; further digits are dropped.
pub fn parse_hundredths(text: &[u8]) -> Option<u64> {
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b"0"[..]),
    };
    if fraction.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let tenths = u64::from(fraction[0] - b'0') * 10;
    let hundredths = fraction.get(1).map_or(0, |digit| u64::from(digit - b'0'));
    Some(parse_u64(whole)?.saturating_mul(100).saturating_add(tenths + hundredths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_saturate_and_reject_rubbish() {
        assert_eq!(parse_u64(b"0"), Some(0));
        assert_eq!(parse_u64(b"000123"), Some(123));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"99999999999999999999999"), Some(u64::MAX));
        for bad in [&b""[..], b"-1", b"+1", b"1 ", b"1k", b"0x10", b"\xff"] {
            assert_eq!(parse_u64(bad), None, "{bad:?}");
        }
        assert_eq!(parse_leading_u64(b"42 kB"), Some(42));
        assert_eq!(parse_leading_u64(b" 42"), None);
        assert_eq!(parse_i32(b"-1000"), Some(-1000));
        assert_eq!(parse_i32(b"2147483647"), Some(i32::MAX));
        assert_eq!(parse_i32(b"-2147483648"), Some(i32::MIN));
        for bad in [&b""[..], b"-", b"--1", b"2147483648", b"99999999999999999999"] {
            assert_eq!(parse_i32(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hundredths_keep_two_digits() {
        assert_eq!(parse_hundredths(b"0.00"), Some(0));
        assert_eq!(parse_hundredths(b"12"), Some(1200));
        assert_eq!(parse_hundredths(b"12.5"), Some(1250));
        assert_eq!(parse_hundredths(b"12.349"), Some(1234));
        for bad in [&b""[..], b".", b"1.", b".5", b"1.x", b"1,5", b"-1.00"] {
            assert_eq!(parse_hundredths(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn keys_split_at_the_first_colon() {
        assert_eq!(split_key(b"MemTotal:   12 kB"), Some((&b"MemTotal"[..], &b"12 kB"[..])));
        assert_eq!(split_key(b"MemTotal:12"), Some((&b"MemTotal"[..], &b"12"[..])));
        assert_eq!(split_key(b"Name:\ta:b"), Some((&b"Name"[..], &b"a:b"[..])));
        assert_eq!(split_key(b"no colon"), None);
    }

    #[test]
    fn of_a_long_line_its_start_is_told_if_it_is_wanted() {
        let path = std::env::temp_dir().join(std::format!("bustd-lines-{}", std::process::id()));
        std::fs::write(&path, std::format!("ab\n{}\ncd\n", "x".repeat(40))).unwrap();
        let path = std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).unwrap();
        let mut told = std::vec::Vec::new();
        let mut tell = |line: &[u8]| {
            told.push(std::string::String::from_utf8_lossy(line).into_owned());
            ControlFlow::Continue(())
        };
        read_lines(CWD, &path, &mut [0; 16], &mut tell).unwrap();
        read_line_starts(CWD, &path, &mut [0; 16], &mut tell).unwrap();
        rustix::fs::unlink(path.as_c_str()).unwrap();
        assert_eq!(told, ["ab", "cd", "ab", "xxxxxxxxxxxxxxxx", "cd"]);
    }

    #[test]
    fn fields_skip_runs_of_blanks() {
        let mut walk = fields(b"  a \t b\nc ");
        assert_eq!(walk.next(), Some(&b"a"[..]));
        assert_eq!(walk.next(), Some(&b"b"[..]));
        assert_eq!(walk.next(), Some(&b"c"[..]));
        assert_eq!(walk.next(), None);
    }
}
