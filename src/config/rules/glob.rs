//! Patterns of cgroups, segment by segment as in glob(3): `*`, `?` and `[…]`
//! within a name, which do not match a dot at its start.
//!
//! A backslash makes the next of `* ? [ ] \` mean itself, and before anything else
//! means itself: systemd writes `a-b` as `a\x2db`, and both `a\x2db` and `a\\x2db`
//! are that name.

use crate::config::pattern::matches_from;
use crate::read::kfile::{Pieces, pieces};

/// The longest name that a segment can mean.
pub const MAX_NAME: usize = 255;

/// The segments of a pattern or a path; the root has none.
pub fn segments(path: &[u8]) -> Pieces<'_> {
    pieces(path, b'/')
}

/// What the escape at the start of a segment stands for, and its length.
fn escape(segment: &[u8]) -> Option<(u8, usize)> {
    match *segment {
        [b'\\', byte @ (b'*' | b'?' | b'[' | b']' | b'\\'), ..] => Some((byte, 2)),
        _ => None,
    }
}

/// The characters of a segment, each with whether it is escaped.
fn characters(segment: &[u8]) -> impl Iterator<Item = (u8, bool)> {
    let mut rest = segment;
    core::iter::from_fn(move || {
        let (&first, behind) = rest.split_first()?;
        match escape(rest) {
            Some((byte, len)) => {
                rest = rest.get(len..).unwrap_or_default();
                Some((byte, true))
            }
            None => {
                rest = behind;
                Some((first, false))
            }
        }
    })
}

/// Can a segment match more than one name?
pub fn is_wild(segment: &[u8]) -> bool {
    characters(segment).any(|(byte, is_escaped)| !is_escaped && matches!(byte, b'*' | b'?' | b'['))
}

/// The name that a segment means that is not wild: no need to look for it.
pub fn literal<'n>(segment: &[u8], buf: &'n mut [u8; MAX_NAME]) -> &'n [u8] {
    let mut len = 0;
    for (slot, (byte, _)) in buf.iter_mut().zip(characters(segment)) {
        *slot = byte;
        len += 1;
    }
    buf.get(..len).unwrap_or_default()
}

/// Does a segment of a pattern match the name of a cgroup?
pub fn segment_matches(segment: &[u8], name: &[u8]) -> bool {
    let is_hidden = name.first() == Some(&b'.');
    let shows_hidden = characters(segment).next().is_some_and(|(byte, _)| byte == b'.');
    (!is_hidden || shows_hidden) && matches_from(segment, name, false, &escape)
}

/// Does a pattern match the path of a cgroup below the root?
pub fn path_matches(pattern: &[u8], path: &[u8]) -> bool {
    let mut names = segments(path);
    let is_prefix =
        segments(pattern).all(|segment| names.next().is_some_and(|name| segment_matches(segment, name)));
    is_prefix && names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_match_names() {
        for (segment, name, expected) in [
            ("user-*.slice", "user-1000.slice", true),
            ("user-*.slice", "user-.slice", true),
            ("user-*.slice", "user.slice", false),
            ("*", "a", true),
            ("**", "a", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("?a", ".a", false),
            ("[.]a", ".a", false),
            ("a*", "a.b", true),
            ("[ab]c", "bc", true),
            ("[!ab]c", "bc", false),
            ("a[", "a[", true),
            ("a[", "ab", false),
            (r"a\x2db", r"a\x2db", true),
            (r"a\\x2db", r"a\x2db", true),
            (r"a\x2d*", r"a\x2dbc", true),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            (r"\.a", ".a", false),
            (r"a\", r"a\", true),
            (r"\[a]", "[a]", true),
            ("{a,b}", "a", false),
            ("", "", true),
        ] {
            assert_eq!(segment_matches(segment.as_bytes(), name.as_bytes()), expected, "{segment} {name}");
        }
    }

    #[test]
    fn a_name_that_is_meant_literally_is_known() {
        let mut buf = [0; MAX_NAME];
        for (segment, name) in [("a.b", "a.b"), (r"a\x2db", r"a\x2db"), (r"a\\x2db", r"a\x2db"), (r"\*", "*")]
        {
            assert!(!is_wild(segment.as_bytes()), "{segment}");
            assert_eq!(literal(segment.as_bytes(), &mut buf), name.as_bytes());
            assert!(segment_matches(segment.as_bytes(), name.as_bytes()));
        }
        assert!(["*", "a?", "[a]", r"\\*"].into_iter().all(|segment| is_wild(segment.as_bytes())));
        assert_eq!(literal(&[b'a'; 300], &mut buf).len(), MAX_NAME);
    }

    #[test]
    fn patterns_match_paths() {
        for (pattern, path, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("a/*", "a/b", true),
            ("a/*", "a", false),
            ("a/*", "a/b/c", false),
            ("*/*/x", "a/b/x", true),
        ] {
            assert_eq!(path_matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
        }
    }
}
