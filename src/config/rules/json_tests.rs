use super::json::*;
use super::unescape::Unescaped;
use crate::sys::block::with_room;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Reads `text` and shows what was read, keys and texts unescaped.
fn read(text: &[u8]) -> Result<String, Fault> {
    with_room(text.len() * 40 + 4096, |mut room| {
        let copy = room.bytes(text).unwrap();
        parse(copy, &mut room).map(|doc| show(doc.root))
    })
    .unwrap()
}

fn lossy(bytes: Unescaped<'_>) -> String {
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}

fn show(value: Value<'_>) -> String {
    let list = |values: Vec<String>| values.join(",");
    match value.kind() {
        Kind::Array => format!("[{}]", list(value.members().map(show).collect())),
        Kind::Object => {
            format!("{{{}}}", list(value.items().map(|v| lossy(v.key()) + ":" + &show(v)).collect()))
        }
        Kind::Text => format!("'{}'", lossy(value.text())),
        _ => String::from_utf8_lossy(value.source()).into_owned(),
    }
}

#[test]
fn what_oomd_reads_is_read() {
    for (text, shown) in [
        ("null", "null"),
        (" true ", "true"),
        ("[]", "[]"),
        ("{ }", "{}"),
        ("[1,-2,3.5,1e3,+4,01,5.]", "[1,-2,3.5,1e3,+4,01,5.]"),
        ("\u{feff}[1]", "[1]"),
        ("[1,]", "[1]"),
        ("{\"a\":1,}", "{a:1}"),
        ("// x\n/* [ */ [ /**/ 1 /* , */ , // ]\n 2 ] // end", "[1,2]"),
        ("[\"// no comment\"]", "['// no comment']"),
        ("{} and so on", "{}"),
        ("[[[1],[2]],{\"a\":[{}]}]", "[[[1],[2]],{a:[{}]}]"),
        ("{\"a\":1,\"b\":2,\"a\":3}", "{a:3,b:2}"),
        // By key: an object that stands for a list.
        ("{\"c\":1,\"a\":2,\"b\":3,\"\":4}", "{:4,a:2,b:3,c:1}"),
        (r#"["\"\\\/\b\f\n\r\t"]"#, "['\"\\/\u{8}\u{c}\n\r\t']"),
        (r#"["\u0041\u00e9\u20AC\ud83d\ude00é€😀"]"#, "['Aé€😀é€😀']"),
        ("[\"line\nbreak\"]", "['line\nbreak']"),
        (r#"{"\u0061":1,"a":2}"#, "{a:2}"),
    ] {
        assert_eq!(read(text.as_bytes()).as_deref(), Ok(shown), "{text}");
    }
    // Half a character that comes last, and bytes that are no UTF-8, as they are.
    assert_eq!(read(br#"["\udc00"]"#).unwrap(), "['\u{fffd}\u{fffd}\u{fffd}']");
    assert_eq!(read(b"[\"\xff\"]").unwrap(), "['\u{fffd}']");
}

#[test]
fn what_is_wrong_is_found_where_it_is() {
    for (text, at, allowed) in [
        ("", 0, "a text in double quotes"),
        ("  ", 2, "a text"),
        ("[1 2]", 3, "a comma or ]"),
        ("[1,,2]", 3, "a text"),
        ("[,]", 1, "a text"),
        ("[1}", 2, "a comma or ]"),
        ("{\"a\":1]", 6, "a comma or }"),
        ("{a:1}", 1, "a key"),
        ("{1:1}", 1, "a key"),
        ("{,}", 1, "a key"),
        ("{\"a\" 1}", 5, "a colon"),
        ("{\"a\":}", 5, "a text"),
        ("[1", 2, "a comma or ]"),
        ("[", 1, "a text"),
        ("{", 1, "a key"),
        ("[tru]", 1, "a text"),
        ("[truex]", 5, "a comma"),
        ("[NaN]", 1, "a text"),
        ("['a']", 1, "a text"),
        ("[-]", 1, "a text"),
        ("[.5]", 1, "a text"),
        ("[1e]", 3, "digits"),
        ("[1x]", 2, "a comma"),
        ("# x\n[]", 0, "a text"),
        ("[] /", 9, ""),
        ("[/* x ]", 1, "a comment"),
        ("[/]", 1, "a text"),
        ("[\"abc]", 1, "a text that ends"),
        (r#"["\q"]"#, 2, "\\\""),
        (r#"["\u12g4"]"#, 2, "\\\""),
        (r#"["\ud800"]"#, 2, "\\\""),
        (r#"["\ud800\u0041"]"#, 2, "\\\""),
        (r#"["\u0000"]"#, 2, "\\\""),
        ("[\"a\0\"]", 3, "a text without"),
        ("[\"\\", 2, "\\\""),
    ] {
        match read(text.as_bytes()) {
            Err(fault) => {
                assert!(fault.at == at && fault.allowed.starts_with(allowed.as_bytes()), "{text}: {fault:?}")
            }
            Ok(shown) => assert_eq!((at, allowed, &*shown), (9, "", "[]"), "{text}"),
        }
    }
}

#[test]
fn there_is_an_end_to_nesting_and_to_keys() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read(nested(1000).as_bytes()).is_ok());
    assert_eq!(read(nested(1001).as_bytes()).unwrap_err().at, 1000);
    let keys =
        |count: usize| format!("{{{}}}", (0..count).map(|n| format!("\"{n}\":0,")).collect::<String>());
    assert!(read(keys(256).as_bytes()).is_ok());
    assert_eq!(read(keys(257).as_bytes()).unwrap_err().allowed, b"at most 256 keys in an object");
}

#[test]
fn a_key_that_comes_again_is_overridden() {
    with_room(4096, |mut room| {
        let doc = parse(br#"{"a":1,"b":2,"\u0061":[3]}"#, &mut room).unwrap();
        let flags: Vec<_> = doc.root.members().map(|member| member.is_overridden()).collect();
        assert_eq!(flags, [true, false, false]);
        assert_eq!(doc.root.get(b"a").unwrap().kind(), Kind::Array);
        assert!(doc.root.get(b"c").is_none());
    })
    .unwrap();
}

#[test]
fn what_is_cut_or_damaged_ends_in_a_fault_or_not_but_it_ends() {
    let whole = br#"// x
    {"rulesets": [{"name": "a\u00e9", "detectors": [["g", {"name": "x", "args": {"a": 1.5e3}}]], "b": null}]}"#;
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "{end}");
        for byte in [0, b'"', b'\\', b'{', b']', b',', 0xff] {
            let mut damaged = whole.to_vec();
            damaged[end] = byte;
            let _ = read(&damaged);
        }
    }
}
