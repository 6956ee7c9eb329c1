//! What is done with every value of a file: its text is taken, and kept.

use super::glob::segments;
use super::json::{Kind, Value};
use super::model::{MAX_PATTERNS, Patterns};
use super::teller::Teller;
use super::value;
use crate::read::kfile::{Pieces, pieces};
use crate::sys::block::Room;
use crate::sys::line::{Line, lit};

/// What a file may ask for besides what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permits {
    /// It was dropped in: its rule sets may be without detectors and actions.
    pub is_drop_in: bool,
    /// `--allow-panic`
    pub panic: bool,
    /// `--device` says for which devices io costs something.
    pub devices: bool,
}

/// A file that is being read.
pub struct Parser<'p, 'd, 'b> {
    /// Who is told what is wrong.
    pub teller: Teller<'p>,
    /// Where the rules lie.
    pub room: &'p mut Room<'b>,
    /// Where what goes no further lies.
    pub scratch: &'p mut Room<'d>,
    /// What it may ask for.
    pub permits: Permits,
    /// A plugin of the present rule set looks below the cgroup of its instance.
    pub has_relative: bool,
}

/// The longest name of a directory.
const MAX_SEGMENT: usize = 255;

/// The items of a list in a text, less those that are empty.
pub fn items(text: &[u8]) -> Pieces<'_> {
    pieces(text, b',')
}

impl<'d, 'b> Parser<'_, 'd, 'b> {
    /// Whatever there is room for is kept.
    #[inline(never)]
    pub fn keep(&mut self, bytes: &[u8]) -> &'b [u8] {
        self.room.bytes(bytes).unwrap_or_else(|| {
            self.teller.refuse_size();
            b""
        })
    }

    /// So many times the same value.
    pub fn keep_slice<T: Copy + 'b>(&mut self, count: usize, value: T) -> &'b mut [T] {
        self.room.slice(count, value).unwrap_or_else(|| {
            self.teller.refuse_size();
            &mut []
        })
    }

    /// The text of anything but null and containers, as oomd has it.
    #[inline(never)]
    pub fn scalar(&mut self, value: Value<'d>) -> &'d [u8] {
        let source = value.source();
        let text = match value.kind() {
            // It is no longer than with its quotes and escapes.
            Kind::Text => self.scratch.slice(source.len(), 0_u8).and_then(|bytes| {
                let mut len = 0;
                for (slot, byte) in bytes.iter_mut().zip(value.text()) {
                    *slot = byte;
                    len += 1;
                }
                bytes.get(..len)
            }),
            Kind::Real => match value::plain_decimal(source, &mut Line::default()) {
                Some(plain) => self.scratch.bytes(plain),
                None => {
                    self.teller.refuse_value(value, lit!("a smaller number"));
                    None
                }
            },
            Kind::Integer | Kind::Flag => Some(source),
            Kind::Null | Kind::Array | Kind::Object => {
                self.teller.refuse_value(value, lit!("a text, a number, true or false"));
                None
            }
        };
        text.unwrap_or_else(|| {
            self.teller.refuse_size();
            b""
        })
    }

    /// A list of patterns: at commas, without empty segments, each once.
    #[inline(never)]
    pub fn patterns(&mut self, value: Value<'d>, text: &[u8]) -> Patterns<'b> {
        let mut has_blank = false;
        let mut has_brace = false;
        let mut most = 1;
        for byte in text {
            has_brace |= matches!(byte, b'{' | b'}');
            most += usize::from(*byte == b',');
        }
        let slots = self.keep_slice(most, &b""[..]);
        let mut used = 0;
        for piece in items(text) {
            let is_blank = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
            has_blank |= is_blank(piece.first()) || is_blank(piece.last());
            let pattern = self.pattern(value, piece);
            if slots.get(..used).unwrap_or_default().contains(&pattern) {
                continue;
            }
            match slots.get_mut(used) {
                Some(slot) if used < MAX_PATTERNS => *slot = pattern,
                _ => {
                    self.teller.refuse_value(value, lit!("at most 256 patterns of cgroups"));
                    break;
                }
            }
            used += 1;
        }
        if has_blank {
            self.teller.warn_of(value, lit!("@: a blank beside a comma is part of the name"));
        }
        if has_brace {
            self.teller.warn_of(value, lit!("@: braces mean only themselves; write each pattern out"));
        }
        slots.get(..used).unwrap_or_default()
    }

    /// A pattern without empty segments and dots: its segments with a slash before each,
    /// less the first slash.
    #[inline(never)]
    fn pattern(&mut self, value: Value<'d>, piece: &[u8]) -> &'b [u8] {
        // A place for each of its bytes, and for a slash before the first.
        let kept = self.keep_slice(piece.len() + 1, b'/');
        let mut len = 0;
        for segment in segments(piece) {
            if segment == b"." {
                continue;
            }
            if segment == b".." {
                self.teller.refuse_value(value, lit!("paths of cgroups without \"..\""));
            }
            if segment.len() > MAX_SEGMENT {
                self.teller.refuse_value(value, lit!("names of cgroups of at most 255 bytes"));
            }
            for (slot, &byte) in kept.iter_mut().skip(len + 1).zip(segment) {
                *slot = byte;
            }
            len += segment.len() + 1;
        }
        kept.get(1..len).unwrap_or_default()
    }
}
