//! Globs matched against a whole process name, the path of the file that it executes,
//! or the path of a cgroup that it is in or below: `*`, `?`, `[…]`, which match slashes
//! too. An item of a list may say whose process it is: `root:sshd`, `1000:firefox*`,
//! `any:init`, `exe:/usr/sbin/*`, `any:cgroup:/machine.slice/*`.

use crate::read::kfile::parse_u64;
use crate::read::process::Comm;

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

/// What an item's glob is matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// The name that the process has given itself.
    Name,
    /// The file that it executes: `exe:`.
    Exe,
    /// The cgroup that it is in, and those above that one: `cgroup:`.
    Cgroup,
}

/// One item of a list.
#[derive(Clone, Copy, Debug)]
pub struct Item<'t> {
    /// As it was written.
    pub text: &'t [u8],
    /// Whose processes it is about.
    pub subject: Subject,
    /// What of them it is about.
    pub about: Trait,
    /// The glob.
    pub glob: &'t [u8],
    /// [`glob_matches`] or [`is_below`]; see [`Globs::any`].
    matches: fn(&[u8], &[u8]) -> bool,
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
        let (about, glob) = if let Some(path) = rest.strip_prefix(b"exe:") {
            (Trait::Exe, path)
        } else if let Some(path) = rest.strip_prefix(b"cgroup:") {
            (Trait::Cgroup, path.strip_suffix(b"/").unwrap_or(path))
        } else {
            (Trait::Name, rest)
        };
        let matches = if about == Trait::Cgroup { is_below } else { glob_matches };
        Self { text, subject, about, glob, matches }
    }

    /// Does the glob match the whole of `name`, or if that is the path of a cgroup, of
    /// one above it?
    pub fn matches(&self, name: &[u8]) -> bool {
        (self.matches)(self.glob, name)
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
#[derive(Clone, Copy, Debug)]
pub struct Globs<'t> {
    list: &'t [u8],
    /// See [`Self::any`].
    any: fn(&[u8], &mut IsSought<'_>) -> bool,
}

/// Is it this item that is looked for?
type IsSought<'s> = dyn FnMut(&Item<'_>) -> bool + 's;

/// What is wrong with a list of globs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobError<'t> {
    /// Nothing at all.
    EmptyList,
    /// Nothing between two bars, or at an end.
    EmptyItem,
    /// `[` without a `]` that ends it.
    OpenBracket,
    /// This byte outside of brackets is plainly meant as in a regular expression.
    RegularExpression(u8),
    /// This glob can match no name: each has [`Comm::MAX_LEN`] bytes at most.
    TooLong(&'t [u8]),
    /// This one can match no path: each begins with a slash.
    Relative,
}

impl<'t> Globs<'t> {
    /// Checks a list such as `sshd|getty*|[Xx]org`.
    ///
    /// # Errors
    /// See [`GlobError`].
    pub fn parse(list: &'t [u8]) -> Result<Self, GlobError<'t>> {
        if list.is_empty() {
            return Err(GlobError::EmptyList);
        }
        let globs = Self { list, any: any_item };
        for item in globs.items() {
            check_glob(&item)?;
        }
        Ok(globs)
    }

    /// Is one of the items looked for? What takes a list apart is not called by name: so
    /// the linker can refuse a loop that refers to it, which is given up where there are
    /// no lists.
    pub fn any(&self, is_sought: &mut IsSought<'_>) -> bool {
        (self.any)(self.list, is_sought)
    }

    /// The single items.
    pub fn items(&self) -> impl Iterator<Item = Item<'t>> + use<'t> {
        items_of(self.list)
    }
}

fn items_of(list: &[u8]) -> impl Iterator<Item = Item<'_>> {
    let mut rest = Some(list);
    core::iter::from_fn(move || {
        let text = rest?;
        let end = item_len(text);
        rest = text.get(end + 1..);
        Some(Item::parse(&text[..end]))
    })
}

fn any_item(list: &[u8], is_sought: &mut IsSought<'_>) -> bool {
    items_of(list).any(|item| is_sought(&item))
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

fn check_glob<'t>(item: &Item<'t>) -> Result<(), GlobError<'t>> {
    let glob = item.glob;
    if glob.is_empty() {
        return Err(GlobError::EmptyItem);
    }
    let is_path = item.about != Trait::Name;
    if is_path && !b"/*?[".contains(&glob[0]) {
        return Err(GlobError::Relative);
    }
    // The least that a name must have to be matched.
    let mut name_len = 0;
    let mut at = 0;
    while at < glob.len() {
        let len = match glob[at] {
            b'[' => class_len(&glob[at..]).ok_or(GlobError::OpenBracket)?,
            byte if is_of_regular_expression(byte, glob.get(at + 1), is_path) => {
                return Err(GlobError::RegularExpression(byte));
            }
            _ => 1,
        };
        name_len += usize::from(glob[at] != b'*');
        at += len;
    }
    if name_len > Comm::MAX_LEN && !is_path { Err(GlobError::TooLong(glob)) } else { Ok(()) }
}

/// Is this byte of a glob meant as in a regular expression? Few names have such
/// bytes, and a path only some of them.
fn is_of_regular_expression(byte: u8, next: Option<&u8>, is_path: bool) -> bool {
    match byte {
        b'(' | b')' | b'^' | b'$' | b'{' | b'}' | b'\\' => true,
        b'+' | b'/' => !is_path,
        b'.' => !is_path && next == Some(&b'*'),
        _ => false,
    }
}

/// The names in a regular expression that is no more than a list of whole names,
/// as `(^|/)(init|sshd)$`, which as globs are the same; `None` for any other.
pub fn names_of_regular_expression(text: &[u8]) -> Option<&[u8]> {
    let starts: [&[u8]; 2] = [b"(^|/)", b"^"];
    let rest = starts.into_iter().find_map(|start| text.strip_prefix(start))?.strip_suffix(b"$")?;
    let names = rest.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")"));
    // Without parentheses a bar would end what begins with `^`.
    let names = names.or_else(|| Some(rest).filter(|rest| !rest.contains(&b'|')))?;
    let globs = Globs::parse(names).ok()?;
    let is_plain = names.iter().all(|byte| !b"*?[.".contains(byte));
    (is_plain && globs.items().all(|item| item.about == Trait::Name)).then_some(names)
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

/// Does `glob` match the whole of `name`?
pub fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    matches_from(glob, name, false, &|_| None)
}

/// Does `glob` match the whole of the path of a cgroup, or of one above it?
fn is_below(glob: &[u8], path: &[u8]) -> bool {
    matches_from(glob, path, true, &|_| None)
}

/// What an escape at the start of a glob stands for, and how long that is.
pub type Escape = dyn Fn(&[u8]) -> Option<(u8, usize)>;

/// Does `glob`, in which `escape` finds what means itself, match the whole of
/// `name`, or with `or_start` what stands before one of its slashes? Backtracks to the
/// last `*` only, so the work is bounded by the product of the lengths.
pub fn matches_from(glob: &[u8], name: &[u8], or_start: bool, escape: &Escape) -> bool {
    let (mut at, mut taken) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match glob.get(at) {
            Some(b'*') => {
                star = Some((at + 1, taken));
                at += 1;
                continue;
            }
            None if taken == name.len() || or_start && name[taken] == b'/' => return true,
            None => None,
            Some(&literal) => name.get(taken).and_then(|&byte| match literal {
                b'?' => Some(1),
                b'[' => match class_len(&glob[at..]) {
                    Some(len) => class_holds(&glob[at..at + len], byte).then_some(len),
                    None => (literal == byte).then_some(1),
                },
                _ => {
                    let (literal, len) = escape(&glob[at..]).unwrap_or((literal, 1));
                    (literal == byte).then_some(len)
                }
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
        assert_eq!(Globs::parse(b"").err(), Some(GlobError::EmptyList));
        for bad in ["a|", "|a", "a||b", "|"] {
            assert_eq!(Globs::parse(bad.as_bytes()).err(), Some(GlobError::EmptyItem), "{bad}");
        }
        for bad in ["[", "a[b", "[]", "[!]", "a|[b"] {
            assert_eq!(Globs::parse(bad.as_bytes()).err(), Some(GlobError::OpenBracket), "{bad}");
        }
        let globs = Globs::parse(b"sshd|getty*|[a|b]x").unwrap();
        assert_eq!(globs.items().count(), 3);
        for (name, expected) in [("sshd", true), ("getty1", true), ("|x", true), ("bash", false)] {
            let is_matched = globs.items().any(|item| item.matches(name.as_bytes()));
            assert_eq!(is_matched, expected, "{name}");
        }
        for bad in ["root:", "any:|x", "exe:", "1000:exe:", "cgroup:", "any:cgroup:/"] {
            assert_eq!(Globs::parse(bad.as_bytes()).err(), Some(GlobError::EmptyItem), "{bad}");
        }
    }

    #[test]
    fn regular_expressions_are_told_from_globs() {
        for (bad, byte) in [
            ("(^|/)(init|sshd)$", b'('),
            ("^sshd$", b'^'),
            ("sshd$", b'$'),
            ("python.*", b'.'),
            ("a|b{2}", b'{'),
            ("\\.bin", b'\\'),
            ("g++", b'+'),
            ("usr/bin/x", b'/'),
            ("[ab]c)", b')'),
            ("any:x+", b'+'),
            ("exe:/usr/bin/x$", b'$'),
            ("cgroup:/a/(b)", b'('),
        ] {
            assert_eq!(Globs::parse(bad.as_bytes()).err(), Some(GlobError::RegularExpression(byte)), "{bad}");
        }
        for good in ["[(]sd-pam[)]", "g[+][+]", "ld.so", "*.bin", "exe:/opt/g++/*/.*", "[$^]x", "a.?", "{"] {
            assert_eq!(Globs::parse(good.as_bytes()).is_ok(), good != "{", "{good}");
        }
    }

    #[test]
    fn a_list_of_names_is_read_out_of_a_regular_expression() {
        for (text, names) in [
            ("(^|/)(init|systemd|sshd)$", Some("init|systemd|sshd")),
            ("^(X|Xorg)$", Some("X|Xorg")),
            ("^sshd$", Some("sshd")),
            ("(^|/)sshd$", Some("sshd")),
            ("^a|b$", None),
            ("^(a|b)c$", None),
            ("^(a|(b))$", None),
            ("^(firefox)", None),
            ("sshd$", None),
            ("^python.*$", None),
            ("^a.b$", None),
            ("^$", None),
            ("^(a|)$", None),
        ] {
            assert_eq!(names_of_regular_expression(text.as_bytes()), names.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn names_end_after_15_bytes() {
        for good in [
            "abcdefghijklmno",
            "abcdefghijklmn*",
            "*abcdefghijklmno*",
            "[abcdefghij]*",
            "exe:/abcdefghijklmnop",
        ] {
            assert!(Globs::parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["abcdefghijklmnop", "????????????????", "abcdefghijklmnop*"] {
            assert_eq!(Globs::parse(bad.as_bytes()).err(), Some(GlobError::TooLong(bad.as_bytes())), "{bad}");
        }
        let second = Globs::parse(b"a|root:gnome-shell-calendar|b");
        assert_eq!(second.err(), Some(GlobError::TooLong(b"gnome-shell-calendar")));
    }

    #[test]
    fn a_path_begins_with_a_slash() {
        for bad in ["exe:sshd", "cgroup:system.slice", "x|any:cgroup:a*"] {
            assert_eq!(Globs::parse(bad.as_bytes()).err(), Some(GlobError::Relative), "{bad}");
        }
        for good in ["exe:*/sshd", "cgroup:/a", "cgroup:?a", "cgroup:[/]a", "cgroup:*"] {
            assert!(Globs::parse(good.as_bytes()).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_cgroup_is_matched_by_those_above_it() {
        for (glob, path, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/b/c", true),
            ("/a/", "/a/b", true),
            ("/a", "/ab", false),
            ("/a", "/", false),
            ("/a/b", "/a", false),
            ("a", "/a", false),
            ("*/b", "/a/b/c", true),
            ("*/b", "/a/bc", false),
            ("*/b", "/a/bc/b/d", true),
            ("/a/*", "/a", false),
            ("/a/*", "/a/b/c", true),
            ("/a*c", "/a/b/c/d", true),
            ("/a?b", "/a/b", true),
            ("*.service", "/s.slice/x.service/y", true),
            ("*.service", "/s.slice/x.services", false),
            ("*", "/", true),
            ("/a", "", false),
        ] {
            let text = std::format!("cgroup:{glob}");
            assert_eq!(Item::parse(text.as_bytes()).matches(path.as_bytes()), expected, "{glob} ~ {path}");
        }
    }

    #[test]
    fn items_may_say_whose_they_are() {
        use Trait::{Cgroup, Exe, Name};
        for (text, subject, about, glob) in [
            ("sshd", Subject::Unsaid, Name, "sshd"),
            ("tmux: server", Subject::Unsaid, Name, "tmux: server"),
            ("kworker/0:1", Subject::Unsaid, Name, "kworker/0:1"),
            (":x", Subject::Unsaid, Name, ":x"),
            ("root:sshd", Subject::Uid(0), Name, "sshd"),
            ("1000:a:b", Subject::Uid(1000), Name, "a:b"),
            ("any:sshd", Subject::Anybody, Name, "sshd"),
            ("exe:/bin/*", Subject::Unsaid, Exe, "/bin/*"),
            ("0:exe:/bin/*", Subject::Uid(0), Exe, "/bin/*"),
            ("cgroup:/a:b", Subject::Unsaid, Cgroup, "/a:b"),
            ("any:cgroup:/a/", Subject::Anybody, Cgroup, "/a"),
            ("4294967296:x", Subject::Unsaid, Name, "4294967296:x"),
        ] {
            let item = Item::parse(text.as_bytes());
            let found = (item.text, item.subject, item.about, item.glob);
            assert_eq!(found, (text.as_bytes(), subject, about, glob.as_bytes()));
        }
    }
}
