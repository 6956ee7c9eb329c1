//! Globs matched against a whole process name, or the path of the file that it
//! executes: `*`, `?`, `[…]`. An item of a list may say whose process it is:
//! `root:sshd`, `1000:firefox*`, `any:init`, `exe:/usr/sbin/*`.

use crate::read::kfile::parse_u64;

/// Whose processes an item is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// It does not say.
    Unsaid,
    /// Expressly everybody's: `any:`.
    Anybody,
    /// One user's, by number, or root's: `1000:`, `root:`.
    Uid(u32),
}

/// One item of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'t> {
    /// As it was written.
    pub text: &'t [u8],
    /// Whose processes it is about.
    pub subject: Subject,
    /// Is it about the file that is executed (`exe:`), and not about the name?
    pub is_exe: bool,
    /// The glob.
    pub glob: &'t [u8],
}

impl<'t> Item<'t> {
    fn parse(text: &'t [u8]) -> Self {
        let (subject, rest) = match split_prefix(text) {
            Some((b"root", rest)) => (Subject::Uid(0), rest),
            Some((b"any", rest)) => (Subject::Anybody, rest),
            Some((prefix, rest)) => match parse_u64(prefix).and_then(|uid| u32::try_from(uid).ok()) {
                Some(uid) => (Subject::Uid(uid), rest),
                None => (Subject::Unsaid, text),
            },
            None => (Subject::Unsaid, text),
        };
        let exe = rest.strip_prefix(b"exe:");
        Self { text, subject, is_exe: exe.is_some(), glob: exe.unwrap_or(rest) }
    }

    /// Does the glob match the whole of `name`?
    pub fn matches(&self, name: &[u8]) -> bool {
        glob_matches(self.glob, name)
    }
}

/// What stands before the first colon, if that is a word of its own: names may
/// hold colons too, `tmux: server` for one.
fn split_prefix(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().position(|&byte| byte == b':')?;
    let is_word = colon > 0 && text[..colon].iter().all(u8::is_ascii_alphanumeric);
    is_word.then_some((&text[..colon], &text[colon + 1..]))
}

/// A list of items separated by `|`, checked when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Globs<'t>(&'t [u8]);

/// What is wrong with a list of globs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobError {
    /// Nothing at all.
    EmptyList,
    /// Nothing between two bars, or at an end.
    EmptyItem,
    /// `[` without a `]` that ends it.
    OpenBracket,
}

impl<'t> Globs<'t> {
    /// Checks a list such as `sshd|getty*|[Xx]org`.
    ///
    /// # Errors
    /// See [`GlobError`].
    pub fn parse(list: &'t [u8]) -> Result<Self, GlobError> {
        if list.is_empty() {
            return Err(GlobError::EmptyList);
        }
        let globs = Self(list);
        for item in globs.items() {
            check_glob(item.glob)?;
        }
        Ok(globs)
    }

    /// The single items.
    pub fn items(&self) -> impl Iterator<Item = Item<'t>> + use<'t> {
        let mut rest = Some(self.0);
        core::iter::from_fn(move || {
            let text = rest?;
            let end = item_len(text);
            rest = text.get(end + 1..);
            Some(Item::parse(&text[..end]))
        })
    }
}

/// Bytes up to the next bar that is not inside a class.
fn item_len(text: &[u8]) -> usize {
    let mut at = 0;
    while at < text.len() && text[at] != b'|' {
        at += match text[at] {
            b'[' => class_len(&text[at..]).unwrap_or(1),
            _ => 1,
        };
    }
    at
}

fn check_glob(glob: &[u8]) -> Result<(), GlobError> {
    if glob.is_empty() {
        return Err(GlobError::EmptyItem);
    }
    let mut at = 0;
    while at < glob.len() {
        at += match glob[at] {
            b'[' => class_len(&glob[at..]).ok_or(GlobError::OpenBracket)?,
            _ => 1,
        };
    }
    Ok(())
}

/// The length of the class `[…]` at the start of `glob`. A `]` right after the
/// opening (or its `!` or `^`) is a member, as in glob(7).
fn class_len(glob: &[u8]) -> Option<usize> {
    let first = if matches!(glob.get(1), Some(b'!' | b'^')) { 2 } else { 1 };
    let close = glob.get(first + 1..)?.iter().position(|&byte| byte == b']')?;
    Some(first + 1 + close + 1)
}

/// Is `byte` in the class `[…]`, brackets included?
fn class_holds(class: &[u8], byte: u8) -> bool {
    let inner = &class[1..class.len() - 1];
    let (negated, members) = match inner.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, inner),
    };
    let mut held = false;
    let mut at = 0;
    while at < members.len() {
        let low = members[at];
        let high = match members.get(at + 1..at + 3) {
            Some(&[b'-', high]) => {
                at += 2;
                high
            }
            _ => low,
        };
        held |= (low..=high).contains(&byte);
        at += 1;
    }
    held != negated
}

/// Does `glob` match the whole of `name`? Backtracks to the last `*` only, so
/// the work is bounded by the product of the lengths.
pub fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut taken) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match glob.get(at) {
            Some(b'*') => {
                star = Some((at + 1, taken));
                at += 1;
                continue;
            }
            None if taken == name.len() => return true,
            None => None,
            Some(&literal) => name.get(taken).and_then(|&byte| match literal {
                b'?' => Some(1),
                b'[' => class_len(&glob[at..]).filter(|&len| class_holds(&glob[at..at + len], byte)),
                _ => (literal == byte).then_some(1),
            }),
        };
        if let Some(len) = step {
            at += len;
            taken += 1;
            continue;
        }
        match star {
            Some((after, from)) if from < name.len() => {
                star = Some((after, from + 1));
                at = after;
                taken = from + 1;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_only() {
        for (glob, name, expected) in [
            ("sshd", "sshd", true),
            ("ssh", "sshd", false),
            ("ssh*", "sshd", true),
            ("*", "", true),
            ("*", "anything", true),
            ("*d", "sshd", true),
            ("*d", "sshx", false),
            ("a*b*c", "a12b3bc", true),
            ("a*b*c", "a12b3b", false),
            ("?", "", false),
            ("????", "sshd", true),
            ("[Xx]org", "Xorg", true),
            ("[!X]org", "Xorg", false),
            ("[^X]org", "xorg", true),
            ("kworker[0-9]", "kworker7", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("*[0-9]*", "ab3cd", true),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaa", false),
            ("**x", "yx", true),
        ] {
            assert_eq!(glob_matches(glob.as_bytes(), name.as_bytes()), expected, "{glob} ~ {name}");
        }
    }

    #[test]
    fn lists_are_checked() {
        assert_eq!(Globs::parse(b""), Err(GlobError::EmptyList));
        for bad in ["a|", "|a", "a||b", "|"] {
            assert_eq!(Globs::parse(bad.as_bytes()), Err(GlobError::EmptyItem), "{bad}");
        }
        for bad in ["[", "a[b", "[]", "[!]", "a|[b"] {
            assert_eq!(Globs::parse(bad.as_bytes()), Err(GlobError::OpenBracket), "{bad}");
        }
        let globs = Globs::parse(b"sshd|getty*|[a|b]x").unwrap();
        assert_eq!(globs.items().count(), 3);
        for (name, expected) in [("sshd", true), ("getty1", true), ("|x", true), ("bash", false)] {
            let is_matched = globs.items().any(|item| item.matches(name.as_bytes()));
            assert_eq!(is_matched, expected, "{name}");
        }
        for bad in ["root:", "any:|x", "exe:", "1000:exe:"] {
            assert_eq!(Globs::parse(bad.as_bytes()), Err(GlobError::EmptyItem), "{bad}");
        }
    }

    #[test]
    fn items_may_say_whose_they_are() {
        for (text, subject, is_exe, glob) in [
            ("sshd", Subject::Unsaid, false, "sshd"),
            ("tmux: server", Subject::Unsaid, false, "tmux: server"),
            ("kworker/0:1", Subject::Unsaid, false, "kworker/0:1"),
            (":x", Subject::Unsaid, false, ":x"),
            ("root:sshd", Subject::Uid(0), false, "sshd"),
            ("1000:a:b", Subject::Uid(1000), false, "a:b"),
            ("any:sshd", Subject::Anybody, false, "sshd"),
            ("exe:/bin/*", Subject::Unsaid, true, "/bin/*"),
            ("0:exe:/bin/*", Subject::Uid(0), true, "/bin/*"),
            ("4294967296:x", Subject::Unsaid, false, "4294967296:x"),
        ] {
            let item = Item { text: text.as_bytes(), subject, is_exe, glob: glob.as_bytes() };
            assert_eq!(Item::parse(text.as_bytes()), item);
        }
    }
}
