//! What must hold of any file of rules.

use bustd::config::rules::glob::segment_matches;
use bustd::config::rules::json::{Document, Kind, Value, parse};
use bustd::config::rules::parse::parse_rules;
use bustd::config::rules::reader::Permits;
use bustd::config::rules::teller::Severity;
use bustd::config::rules::unescape::Unescaped;
use bustd::sys::block::with_room;
use proptest::prelude::*;
use proptest::sample::select;
use std::ffi::CString;
use std::fs;

fn cases(cases: u32) -> ProptestConfig {
    let factor = std::env::var("FUZZ_FACTOR").map_or(1, |factor| factor.parse().expect("a number"));
    ProptestConfig { cases: cases * factor, failure_persistence: None, ..ProptestConfig::default() }
}

/// Reads a file; what was said of it, with whether it can be used.
fn read(text: &[u8]) -> (bool, Vec<String>) {
    let mut said = Vec::new();
    let permits = Permits { panic: true, ..Permits::default() };
    let parsed = parse_rules(b"r", text, permits, &mut |severity, line| {
        let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
        assert_eq!(
            line.contains("warning: "),
            severity == Severity::Warning || line.contains("found \"warning")
        );
        said.push(line);
    });
    if let Some(block) = &parsed {
        // All of it can be read.
        assert!(format!("{:?}", block.get()).len() > 10);
    }
    (parsed.is_some(), said)
}

fn samples() -> Vec<Vec<u8>> {
    super::files("files").iter().map(|file| fs::read(file).unwrap()).collect()
}

#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Put(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Double(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    const TOKENS: &[&str] = &[
        "{", "}", "[", "]", ",", ":", "\"", "\\", "//", "/*", "null", "1e9", "-", "\\u12", "{}", "[]", "\0",
    ];
    prop_oneof![
        at().prop_map(Damage::Cut),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Put(at, byte)),
        (at(), select(TOKENS)).prop_map(|(at, text)| Damage::Insert(at, text.into())),
        (at(), 1..40_usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        (at(), 1..200_usize).prop_map(|(at, len)| Damage::Double(at, len)),
    ]
}

fn damaged(mut text: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if text.is_empty() {
            break;
        }
        let end = |at: usize, len: usize| (at + len).min(text.len());
        match damage {
            Damage::Cut(at) => text.truncate(at.index(text.len())),
            Damage::Put(at, byte) => {
                let at = at.index(text.len());
                text[at] = *byte;
            }
            Damage::Insert(at, new) => {
                let at = at.index(text.len());
                text.splice(at..at, new.iter().copied());
            }
            Damage::Remove(at, len) => {
                let at = at.index(text.len());
                let end = end(at, *len);
                text.drain(at..end);
            }
            Damage::Double(at, len) => {
                let at = at.index(text.len());
                let again = text[at..end(at, *len)].to_vec();
                text.splice(at..at, again);
            }
        }
    }
    text
}

/// The same value as serde_json's.
fn is_same(value: Value<'_>, model: &serde_json::Value) -> bool {
    let bytes = |text: Unescaped<'_>| text.collect::<Vec<_>>();
    match model {
        serde_json::Value::Null => value.kind() == Kind::Null,
        serde_json::Value::Bool(flag) => value.source() == flag.to_string().as_bytes(),
        serde_json::Value::Number(number) => value.source() == number.to_string().as_bytes(),
        serde_json::Value::String(text) => {
            value.kind() == Kind::Text && bytes(value.text()) == text.as_bytes()
        }
        serde_json::Value::Array(items) => {
            value.kind() == Kind::Array
                && value.members().count() == items.len()
                && value.items().zip(items).all(|(item, model)| is_same(item, model))
        }
        serde_json::Value::Object(map) => {
            value.kind() == Kind::Object
                && value.items().count() == map.len()
                && map
                    .iter()
                    .all(|(key, model)| value.get(key.as_bytes()).is_some_and(|value| is_same(value, model)))
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        "[\\x00-\\x7f]{0,8}".prop_map(|text| text.replace('\0', "").into()),
    ];
    leaf.prop_map(without_nul).prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map("[^\\x00]{0,6}", inner, 0..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn without_nul(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::String(text) => text.replace('\0', "").into(),
        other => other,
    }
}

fn with_document<R>(text: &[u8], look: impl FnOnce(&Document<'_>) -> R) -> Result<R, String> {
    with_room(text.len() * 40 + 4096, |mut room| {
        let copy = room.bytes(text).unwrap();
        match parse(copy, &mut room) {
            Ok(doc) => Ok(look(&doc)),
            Err(fault) => Err(format!("{fault:?}")),
        }
    })
    .unwrap()
}

proptest! {
    #![proptest_config(cases(3000))]

    /// A file is read, or one line says why not.
    #[test]
    fn damaged_rules_are_read_or_refused(
        sample in select(samples()),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        let text = damaged(sample, &damages);
        let (is_read, said) = read(&text);
        let errors = said.iter().filter(|line| !line.contains(": warning: ")).count();
        prop_assert_eq!(errors, usize::from(!is_read), "{:?}", said);
    }

    /// So is anything else.
    #[test]
    fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let (is_read, said) = read(&text);
        prop_assert!(is_read || !said.is_empty());
    }

    /// What is JSON is read as what it is.
    #[test]
    fn json_is_json(value in json(), is_pretty in any::<bool>()) {
        let text = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let same = with_document(text.unwrap().as_bytes(), |doc| {
            doc.rest.is_none() && is_same(doc.root, &value)
        });
        prop_assert_eq!(same, Ok(true));
    }

    /// Names match as they do for fnmatch(3), but for what is told of backslashes and
    /// classes that are named.
    #[test]
    fn segments_match_as_in_the_c_library(
        glob in "([.ab*?]|\\[[ab!]?[ab]-?[ab]?\\]){0,6}",
        // The GNU C library takes some dots behind the first place for leading ones.
        name in "[.]?[ab]{1,6}",
    ) {
        let [c_glob, c_name] = [&glob, &name].map(|text| CString::new(text.as_bytes()).unwrap());
        // SAFETY: two C strings.
        let found = unsafe { libc::fnmatch(c_glob.as_ptr(), c_name.as_ptr(), libc::FNM_PERIOD) } == 0;
        prop_assert_eq!(segment_matches(glob.as_bytes(), name.as_bytes()), found);
    }
}
