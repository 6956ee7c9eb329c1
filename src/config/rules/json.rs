//! JSON as oomd reads it: comments, commas behind the last, any bytes in texts,
//! and whatever stands behind the end. Without recursion: a value knows the first that is
//! in it and the next beside it.

use super::unescape::{Unescaped, read_escape};
use crate::sys::block::Room;
use crate::sys::line::lit;
use core::cell::Cell;
use core::cmp::Ordering;

/// Containers in containers, counted from the outermost, as deep as oomd's reader
/// goes.
const MAX_DEPTH: u32 = 1000;

/// As many keys as an object may have: they are looked up one after the other.
const MAX_KEYS: u32 = 256;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Flag,
    /// A number without point and exponent.
    Integer,
    /// Any other number.
    Real,
    /// A text in quotes.
    Text,
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

/// A value in the file.
#[derive(Debug)]
pub struct Node<'d> {
    kind: Kind,
    /// How many are in it.
    count: Cell<u32>,
    /// As it stands in the file.
    source: Cell<&'d [u8]>,
    /// The same of its key in an object.
    key: Option<&'d [u8]>,
    /// What it is in, the first in it, and the next beside it.
    parent: Option<Value<'d>>,
    first: Cell<Option<Value<'d>>>,
    next: Cell<Option<Value<'d>>>,
}

/// A value of a document.
pub type Value<'d> = &'d Node<'d>;

/// Where something is wrong, and what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte in the file.
    pub at: usize,
    /// What is allowed there.
    pub allowed: &'static [u8],
}

/// A text that has been read.
#[derive(Clone, Copy, Debug)]
pub struct Document<'d> {
    /// The value as a whole.
    pub root: Value<'d>,
    /// Where something other than blanks and comments stands behind it.
    pub rest: Option<usize>,
}

/// There is a fault, which the reader keeps.
struct Broken;

struct Reader<'r, 'd> {
    text: &'d [u8],
    room: &'r mut Room<'d>,
    at: usize,
    /// The container that is open, and how deep it is.
    parent: Option<Value<'d>>,
    depth: u32,
    /// The last value in it.
    last: Option<Value<'d>>,
    fault: Fault,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// What an array or object may hold, or its end.
    Member,
    /// A value.
    Value,
    /// A comma, or the end of what is open.
    Comma,
}

/// Reads `text`; its values lie in `room`, which needs 40 bytes for each of its bytes.
///
/// # Errors
/// The first [`Fault`].
#[inline(never)]
pub fn parse<'d>(text: &'d [u8], room: &mut Room<'d>) -> Result<Document<'d>, Fault> {
    let at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let fault = Fault { at: 0, allowed: lit!("a shorter file") };
    let mut reader = Reader { text, room, at, parent: None, depth: 0, last: None, fault };
    let Ok(root) = reader.read() else { return Err(reader.fault) };
    let is_blank = reader.skip().is_ok();
    Ok(Document { root, rest: (!is_blank || reader.at < text.len()).then_some(reader.at) })
}

impl<'d> Reader<'_, 'd> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'d [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline(never)]
    fn fault<T>(&mut self, allowed: &'static [u8]) -> Result<T, Broken> {
        self.fault = Fault { at: self.at, allowed };
        Err(Broken)
    }

    /// Moves over what `byte` says belongs to the same.
    #[inline(never)]
    fn pass(&mut self, byte: fn(u8) -> bool) -> bool {
        let from = self.at;
        while self.at < self.text.len() && byte(self.peek()) {
            self.at += 1;
        }
        self.at > from
    }

    /// Moves over blanks and comments.
    #[inline(never)]
    fn skip(&mut self) -> Result<(), Broken> {
        loop {
            self.pass(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            match self.rest() {
                [b'/', b'/', ..] => _ = self.pass(|byte| byte != b'\n' && byte != b'\r'),
                [b'/', b'*', rest @ ..] => match rest.windows(2).position(|pair| pair == b"*/") {
                    Some(len) => self.at += len + 4,
                    None => return self.fault(lit!("a comment that ends with */")),
                },
                _ => return Ok(()),
            }
        }
    }

    /// The root.
    #[inline(never)]
    fn read(&mut self) -> Result<Value<'d>, Broken> {
        let mut next = Next::Value;
        let mut key = None;
        loop {
            self.skip()?;
            let byte = self.peek();
            if let Some(parent) = self.parent {
                let in_object = parent.kind == Kind::Object;
                let closing = if in_object { b'}' } else { b']' };
                if next != Next::Value && byte == closing {
                    self.close(parent);
                    next = Next::Comma;
                } else if next == Next::Comma {
                    if byte != b',' {
                        let allowed = if in_object { lit!("a comma or }") } else { lit!("a comma or ]") };
                        return self.fault(allowed);
                    }
                    self.at += 1;
                    next = Next::Member;
                    continue;
                } else if next == Next::Member && in_object {
                    key = Some(self.read_key()?);
                    next = Next::Value;
                    continue;
                } else {
                    next = self.read_value(key.take())?;
                }
            } else {
                next = self.read_value(None)?;
            }
            if let (None, Some(root)) = (self.parent, self.last) {
                return Ok(root);
            }
        }
    }

    fn read_key(&mut self) -> Result<&'d [u8], Broken> {
        let from = self.at;
        if self.peek() != b'"' {
            return self.fault(lit!("a key in double quotes, or }"));
        }
        self.read_text()?;
        let key = self.text.get(from..self.at).unwrap_or_default();
        self.skip()?;
        if self.peek() != b':' {
            return self.fault(lit!("a colon"));
        }
        self.at += 1;
        Ok(key)
    }

    #[inline(never)]
    fn read_value(&mut self, key: Option<&'d [u8]>) -> Result<Next, Broken> {
        let from = self.at;
        let kind = match self.peek() {
            b'"' => self.read_text().map(|()| Kind::Text)?,
            opening @ (b'[' | b'{') => {
                if self.depth == MAX_DEPTH {
                    return self.fault(lit!("at most 1000 levels of nesting"));
                }
                self.at += 1;
                if opening == b'[' { Kind::Array } else { Kind::Object }
            }
            _ => self.read_word()?,
        };
        if let Some(parent) = self.parent {
            parent.count.set(parent.count.get() + 1);
            if parent.kind == Kind::Object && parent.count.get() > MAX_KEYS {
                self.at = from;
                return self.fault(lit!("at most 256 keys in an object"));
            }
        }
        let is_container = matches!(kind, Kind::Array | Kind::Object);
        // A container's goes to the end of the file until it is closed.
        let end = if is_container { self.text.len() } else { self.at };
        let node = Node {
            kind,
            count: Cell::new(0),
            source: Cell::new(self.text.get(from..end).unwrap_or_default()),
            key,
            parent: self.parent,
            first: Cell::new(None),
            next: Cell::new(None),
        };
        // The fault says that there is no room until another is found.
        let value: Value<'d> = self.room.one(node).ok_or(Broken)?;
        match (self.last, self.parent) {
            (Some(last), _) => last.next.set(Some(value)),
            (None, Some(parent)) => parent.first.set(Some(value)),
            _ => {}
        }
        self.last = Some(value);
        if !is_container {
            return Ok(Next::Comma);
        }
        (self.parent, self.last) = (Some(value), None);
        self.depth += 1;
        Ok(Next::Member)
    }

    fn close(&mut self, container: Value<'d>) {
        self.at += 1;
        let source = container.source.get();
        let behind = source.len().saturating_sub(self.rest().len());
        container.source.set(source.get(..behind).unwrap_or_default());
        (self.parent, self.last) = (container.parent, Some(container));
        self.depth -= 1;
    }

    /// Moves over null, true, false or a number.
    #[inline(never)]
    fn read_word(&mut self) -> Result<Kind, Broken> {
        let (word, kind) = match self.peek() {
            b'n' => (&b"null"[..], Kind::Null),
            b't' => (&b"true"[..], Kind::Flag),
            _ => (&b"false"[..], Kind::Flag),
        };
        if self.rest().starts_with(word) {
            self.at += word.len();
            return Ok(kind);
        }
        let is_digit = |byte: u8| byte.is_ascii_digit();
        let from = self.at;
        let mut kind = Kind::Integer;
        self.skip_sign();
        if !self.pass(is_digit) {
            self.at = from;
            return self.fault(lit!("a text in double quotes, a number, true, false, null, [ or {"));
        }
        if self.peek() == b'.' {
            kind = Kind::Real;
            self.at += 1;
            self.pass(is_digit);
        }
        if matches!(self.peek(), b'e' | b'E') {
            kind = Kind::Real;
            self.at += 1;
            self.skip_sign();
            if !self.pass(is_digit) {
                return self.fault(lit!("digits of an exponent"));
            }
        }
        Ok(kind)
    }

    fn skip_sign(&mut self) {
        self.at += usize::from(matches!(self.peek(), b'-' | b'+'));
    }

    /// Moves over a text in quotes, and finds what [`Unescaped`] could not tell.
    #[inline(never)]
    fn read_text(&mut self) -> Result<(), Broken> {
        let from = self.at;
        self.at += 1;
        loop {
            let len = match self.rest() {
                [] => {
                    self.at = from;
                    return self.fault(lit!("a text that ends with a double quote"));
                }
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(());
                }
                rest @ [b'\\', ..] => match read_escape(rest) {
                    Some((code, len)) if code != 0 => len,
                    _ => return self.fault(lit!(r#"\", \\, \/, \b, \f, \n, \r, \t or \u and four digits"#)),
                },
                [0, ..] => return self.fault(lit!("a text without NUL")),
                _ => 1,
            };
            self.at += len;
        }
    }
}

impl<'d> Node<'d> {
    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// As it stands in the file.
    pub fn source(&self) -> &'d [u8] {
        self.source.get()
    }

    /// Its key as it stands in the file, or else itself.
    pub fn key_source(&self) -> &'d [u8] {
        self.key.unwrap_or(self.source())
    }

    /// The bytes of its key.
    pub fn key(&self) -> Unescaped<'d> {
        Unescaped::new(self.key.unwrap_or_default())
    }

    /// The bytes of a text.
    pub fn text(&self) -> Unescaped<'d> {
        Unescaped::new(self.source())
    }

    /// What is in it, in the order of the file.
    pub fn members(&self) -> Members<'d> {
        Members { next: self.first.get() }
    }

    /// What comes next in the same container, in the order of the file.
    pub fn next(&self) -> Option<Value<'d>> {
        self.next.get()
    }

    #[inline(never)]
    fn compare_keys(&self, other: Value<'d>) -> Ordering {
        self.key().cmp(other.key())
    }

    /// Does another with the same key come behind it? The last counts.
    pub fn is_overridden(&self) -> bool {
        let mut behind = Members { next: self.next.get() };
        self.key.is_some() && behind.any(|other| self.compare_keys(other).is_eq())
    }

    /// Is this its key?
    #[inline(never)]
    pub fn is_called(&self, key: &[u8]) -> bool {
        self.key().eq(key.iter().copied())
    }

    /// The value of a key of an object.
    pub fn get(&self, key: &[u8]) -> Option<Value<'d>> {
        self.members().filter(|member| member.is_called(key)).last()
    }

    /// What is in an array, in its order; in an object, by key, each key once.
    pub fn items(&'d self) -> Items<'d> {
        Items { list: self, last: None }
    }
}

/// What is in a container, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Members<'d> {
    next: Option<Value<'d>>,
}

impl<'d> Iterator for Members<'d> {
    type Item = Value<'d>;

    fn next(&mut self) -> Option<Value<'d>> {
        let member = self.next?;
        self.next = member.next.get();
        Some(member)
    }
}

/// What is in a list.
#[derive(Clone, Debug)]
pub struct Items<'d> {
    list: Value<'d>,
    last: Option<Value<'d>>,
}

impl<'d> Iterator for Items<'d> {
    type Item = Value<'d>;

    // Out of line: every list is walked with it, most of them twice.
    #[inline(never)]
    fn next(&mut self) -> Option<Value<'d>> {
        let mut next = None;
        if self.list.kind == Kind::Object {
            for member in self.list.members() {
                let is_later = self.last.is_none_or(|last| member.compare_keys(last).is_gt());
                // Of two alike the one that comes last.
                if is_later && next.is_none_or(|least| member.compare_keys(least).is_le()) {
                    next = Some(member);
                }
            }
        } else {
            next = self.last.map_or(self.list.first.get(), |last| last.next.get());
        }
        // Behind the last there is no other.
        self.last = next.or(self.last);
        next
    }
}
