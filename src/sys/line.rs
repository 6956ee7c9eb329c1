use core::ffi::CStr;

/// A line's buffer: only the start-up line comes near.
const CAPACITY: usize = 640;

/// Text in a buffer of its own, up to its size less a NUL. What does not fit is
/// cut off; what cannot be trusted is escaped.
///
/// One size for lines and paths: a reference to it is then one word, and of the
/// two hundred calls that append something none has to pass the other.
#[derive(Clone, Debug)]
pub struct Line {
    len: usize,
    /// Zero after `len`.
    bytes: [u8; CAPACITY],
}

/// A text as bytes with a name of its own, by which the linker puts it beside the
/// code that says it. A text in quotes it puts among what the loop keeps in memory.
#[macro_export]
macro_rules! lit {
    ($text:expr) => {{
        static TEXT: [u8; $text.len()] = $crate::sys::line::bytes_of($text);
        &TEXT as &'static [u8]
    }};
}
pub use lit;

/// The bytes of a text that is so long, for [`lit`].
pub const fn bytes_of<const LEN: usize>(text: &str) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes.copy_from_slice(text.as_bytes());
    bytes
}

impl Default for Line {
    // Out of line: everybody wants one.
    #[inline(never)]
    fn default() -> Self {
        Self { len: 0, bytes: [0; CAPACITY] }
    }
}

impl Line {
    /// Makes it empty.
    pub fn clear(&mut self) {
        self.len = 0;
        self.bytes.fill(0);
    }

    /// Appends bytes as they are, up to the first NUL.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes.iter().take_while(|&&byte| byte != 0) {
            if !self.is_full() {
                self.bytes[self.len] = byte;
                self.len += 1;
            }
        }
        self
    }

    /// Appends text as it is.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Appends a decimal number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.bytes(digits(number, &mut [0; DIGITS]))
    }

    /// Appends a decimal number with its sign if it is negative.
    pub fn signed(&mut self, number: i64) -> &mut Self {
        if number < 0 {
            self.text("-");
        }
        self.number(number.unsigned_abs())
    }

    /// Appends a size for people: `512 KiB`, `31 MiB`, `23.5 GiB`.
    pub fn size(&mut self, kib: u64) -> &mut Self {
        const MIB: u64 = 1024;
        const GIB: u64 = 1024 * MIB;
        if kib < 10 * MIB {
            self.number(kib).text(" KiB")
        } else if kib < 10 * GIB {
            self.number(kib / MIB).text(" MiB")
        } else {
            self.number(kib / GIB).text(".").number(kib % GIB * 10 / GIB).text(" GiB")
        }
    }

    /// Appends a share in basis points as `12.5%`.
    pub fn percent(&mut self, share_bp: u64) -> &mut Self {
        self.hundredths(share_bp).text("%")
    }

    /// Appends a number of hundredths as `12.5`.
    pub fn hundredths(&mut self, hundredths: u64) -> &mut Self {
        self.number(hundredths / 100);
        if !hundredths.is_multiple_of(100) {
            self.text(".").number(hundredths / 10 % 10);
            if !hundredths.is_multiple_of(10) {
                self.number(hundredths % 10);
            }
        }
        self
    }

    /// Appends untrusted bytes: printable ASCII as it is, `"` and `\` behind a
    /// backslash, anything else as `\xNN`.
    pub fn escaped(&mut self, bytes: &[u8]) -> &mut Self {
        self.escaped_as(bytes, "\\x")
    }

    /// The same with something else than `\x` before the two hexadecimal digits.
    pub fn escaped_as(&mut self, bytes: &[u8], prefix: &str) -> &mut Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        for &byte in bytes {
            match byte {
                b'"' | b'\\' => self.bytes(&[b'\\', byte]),
                b' '..=b'~' => self.bytes(&[byte]),
                _ => self.text(prefix).bytes(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
            };
        }
        self
    }

    /// Appends untrusted bytes in quotes.
    pub fn quoted(&mut self, bytes: &[u8]) -> &mut Self {
        self.text("\"").escaped(bytes).text("\"")
    }

    /// Ends the line with a newline, for which the last byte makes room.
    pub fn end_line(&mut self) {
        self.len = self.len.min(self.bytes.len() - 2);
        self.bytes[self.len + 1] = 0;
        self.text("\n");
    }

    /// What has been appended.
    #[inline(never)]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The same with its ending NUL.
    pub fn as_cstr(&self) -> &CStr {
        // SAFETY: the last byte at least is NUL, for nothing is written there.
        unsafe { CStr::from_ptr(self.bytes.as_ptr().cast()) }
    }

    /// Was anything cut off, or is there no room left?
    pub fn is_full(&self) -> bool {
        self.len + 1 >= self.bytes.len()
    }
}

/// The most decimal digits a u64 has.
pub const DIGITS: usize = 20;

/// Writes a decimal number into `buf` and returns the part it takes.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn digits(number: u64, buf: &mut [u8; DIGITS]) -> &[u8] {
    let mut at = buf.len();
    let mut rest = number;
    loop {
        at -= 1;
        buf[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &buf[at..];
        }
    }
}

/// Room for what is joined: the longest, a number in the environment, takes 39.
const JOINED_CAPACITY: usize = 40;

/// A path or an environment string of two parts, on the stack of who asks the
/// kernel: a [`Line`] there would be most of what is read into.
pub struct Joined([u8; JOINED_CAPACITY]);

impl Joined {
    /// Joins two parts without NULs; what does not fit is cut off.
    #[inline(never)]
    pub fn new(parts: [&[u8]; 2]) -> Self {
        let mut bytes = [0; JOINED_CAPACITY];
        let mut len = 0;
        for part in parts {
            for &byte in part {
                if len < JOINED_CAPACITY - 1 {
                    bytes[len] = byte;
                    len += 1;
                }
            }
        }
        Self(bytes)
    }

    /// Joins a text and a number.
    pub fn with_number(text: &str, number: u64) -> Self {
        Self::new([text.as_bytes(), digits(number, &mut [0; DIGITS])])
    }

    /// Both parts with their ending NUL.
    pub fn as_cstr(&self) -> &CStr {
        // SAFETY: the last byte at least is NUL, for nothing is written there.
        unsafe { CStr::from_ptr(self.0.as_ptr().cast()) }
    }
}

/// The text in `bytes` up to its first NUL; none where the last byte is not NUL.
// Out of line: several ask.
#[inline(never)]
pub fn text_in(bytes: &[u8]) -> &CStr {
    match bytes.last() {
        // SAFETY: the last byte at least is NUL.
        Some(0) => unsafe { CStr::from_ptr(bytes.as_ptr().cast()) },
        _ => c"",
    }
}

/// A short word in place: to point to it elsewhere would take more room than it
/// does.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

impl Word {
    /// The most bytes that it holds.
    pub const MAX_LEN: usize = 16;

    /// Of a text that is short enough, or a constant does not compile.
    pub const fn new(text: &str) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.split_at_mut(text.len()).0.copy_from_slice(text.as_bytes());
        Self { len: text.len() as u8, bytes }
    }

    /// The text.
    #[inline(never)]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A number for a text by which it is known again (FNV-1a).
pub fn fingerprint(text: &[u8]) -> u64 {
    text.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// A text that belongs to the function it stands in: where that is a part of start-up,
/// it is given up with it. A text that has no name is not.
#[macro_export]
#[doc(hidden)]
macro_rules! named {
    ($text:expr) => {{
        static TEXT: $crate::sys::line::Text<{ $text.len() }> = $crate::sys::line::Text::new($text);
        TEXT.as_str()
    }};
}
pub use named;

/// A text in place, for [`named`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Text<const LEN: usize>([u8; LEN]);

impl<const LEN: usize> Text<LEN> {
    /// Of a text of this length, or a constant does not compile.
    pub const fn new(text: &str) -> Self {
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(text.as_bytes());
        Self(bytes)
    }

    /// The text.
    pub const fn as_str(&self) -> &str {
        // SAFETY: the bytes of a text, all of them.
        unsafe { core::str::from_utf8_unchecked(&self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(build: impl FnOnce(&mut Line) -> &mut Line) -> std::string::String {
        let mut line = Line::default();
        std::string::String::from_utf8(build(&mut line).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn numbers_and_sizes() {
        assert_eq!(text(|l| l.number(0).text(" ").number(u64::MAX)), "0 18446744073709551615");
        assert_eq!(text(|l| l.signed(-1000).text(" ").signed(i64::MIN)), "-1000 -9223372036854775808");
        assert_eq!(text(|l| l.size(10_239).text(" ").size(10_240)), "10239 KiB 10 MiB");
        assert_eq!(text(|l| l.size(24_684_096).text(" ").size(u64::MAX)), "23.5 GiB 17592186044415.9 GiB");
        assert_eq!(text(|l| l.percent(2500).text(" ").percent(1250).text(" ").percent(5)), "25% 12.5% 0.05%");
    }

    #[test]
    fn untrusted_bytes_are_escaped() {
        assert_eq!(text(|l| l.quoted(b"a\n\"\\\x1b[\xff\x00")), r#""a\x0a\"\\\x1b[\xff\x00""#);
        assert_eq!(text(|l| l.bytes(b"ab\0cd")), "ab");
    }

    #[test]
    fn two_parts_are_joined() {
        assert_eq!(
            Joined::with_number("BUSTD_FREEABLE_KIB=", u64::MAX).as_cstr(),
            c"BUSTD_FREEABLE_KIB=18446744073709551615"
        );
        let cut = Joined::new([b"zram0000000000000000000000000000000000", b"/mm_stat"]);
        assert_eq!(cut.as_cstr(), c"zram0000000000000000000000000000000000/");
    }

    #[test]
    fn too_much_is_cut() {
        let mut line = Line::default();
        line.text(&"0123456789".repeat(64));
        assert_eq!(line.as_bytes().len(), 639);
        assert!(line.as_bytes().ends_with(b"678"));
        assert_eq!(line.as_cstr().to_bytes(), line.as_bytes());
        assert!(line.is_full());
        line.end_line();
        assert_eq!(line.as_bytes().len(), 639);
        assert!(line.as_bytes().ends_with(b"67\n"));
    }
}
