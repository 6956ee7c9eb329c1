//! Texts of JSON: what stands in quotes, and what it stands for.

/// The character of the escape at the start of `text`, and how long that is.
pub fn read_escape(text: &[u8]) -> Option<(u32, usize)> {
    let code = match *text.get(1)? {
        byte @ (b'"' | b'\\' | b'/') => byte,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let high = read_hex(text.get(2..6)?)?;
            if high & 0xfc00 != 0xd800 {
                return Some((high, 6));
            }
            // The first half of a character must have its second.
            let low = read_hex(text.get(6..12)?.strip_prefix(b"\\u")?)?;
            let is_pair = low & 0xfc00 == 0xdc00;
            return is_pair.then_some((0x1_0000 + ((high & 0x3ff) << 10) + (low & 0x3ff), 12));
        }
        _ => return None,
    };
    Some((code.into(), 2))
}

fn read_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}

/// The bytes that a text in quotes stands for.
#[derive(Clone, Debug)]
pub struct Unescaped<'d> {
    /// Behind the opening quote, to the closing one.
    rest: &'d [u8],
    /// What is left of the last escape, and how many bytes of it.
    pending: [u8; 4],
    left: usize,
}

impl<'d> Unescaped<'d> {
    /// Of what begins with the opening quote.
    pub fn new(text: &'d [u8]) -> Self {
        Self { rest: text.get(1..).unwrap_or_default(), pending: [0; 4], left: 0 }
    }

    /// The character as UTF-8, at the end of `pending`.
    fn push(&mut self, code: u32) {
        if code < 0x80 {
            self.pending[3] = code as u8;
            self.left = 1;
            return;
        }
        let len = if code < 0x800 { 2 } else { 3 + usize::from(code >= 0x1_0000) };
        for at in 0..len {
            self.pending[3 - at] = 0x80 | (code >> (6 * at) & 0x3f) as u8;
        }
        self.pending[4 - len] = !(0xff >> len) | (code >> (6 * (len - 1))) as u8;
        self.left = len;
    }
}

impl Iterator for Unescaped<'_> {
    type Item = u8;

    // Out of line: keys and texts are read in many places.
    #[inline(never)]
    fn next(&mut self) -> Option<u8> {
        if self.left == 0 {
            let (&byte, rest) = self.rest.split_first()?;
            match byte {
                b'"' => return None,
                b'\\' => {
                    let (code, len) = read_escape(self.rest)?;
                    self.rest = self.rest.get(len..)?;
                    self.push(code);
                }
                _ => {
                    self.rest = rest;
                    return Some(byte);
                }
            }
        }
        self.left -= 1;
        self.pending.get(3 - self.left).copied()
    }
}
