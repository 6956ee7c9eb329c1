//! What people and programs see of a question: tables, and the same as JSON. Whatever
//! is in them, a table has a line a row, and JSON tells what was put in.

#[path = "../../../src/bin/bustd/console.rs"]
#[allow(dead_code, reason = "how the program ends is not tried")]
mod console;

use bustd::sys::child::Environment;
use console::{Column, Console, Kind, Table, Value, column};
use serde_json::Value as Json;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

static COLUMNS: [Column; 6] = [
    column("count", Kind::Count),
    column("size", Kind::Size),
    column("share", Kind::Share),
    column("flag", Kind::Flag),
    column("comm", Kind::Name),
    column("why", Kind::Rest),
];
static ROWS: Table = Table { title: "rows", is_list: false, columns: &COLUMNS };
static LIST: Table = Table { title: "list", is_list: true, columns: &COLUMNS };

/// Standard output, which nobody else writes to.
fn output() -> &'static File {
    static OUTPUT: OnceLock<File> = OnceLock::new();
    OUTPUT.get_or_init(|| {
        // SAFETY: a C string; what it gives is a new file, and ours.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"output".as_ptr(), 0)) };
        // SAFETY: takes two numbers.
        assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), 1) }, 1, "dup2");
        file
    })
}

/// What `show` writes to standard output.
fn shown(is_json: bool, show: impl FnOnce(&mut Console)) -> Vec<u8> {
    let mut output = output();
    output.set_len(0).and_then(|()| output.seek(SeekFrom::Start(0))).expect("a memfd");
    let mut console = Console::new(is_json, Environment::default());
    show(&mut console);
    assert_eq!(console.finish(), 0);
    let len = output.metadata().expect("a memfd").len() as usize;
    let mut text = vec![0; len];
    output.read_exact_at(&mut text, 0).expect("a memfd");
    text
}

/// Rows of six values: what kind each is and eight bytes of number, or a text up to NUL.
pub fn tables(input: &[u8]) {
    let mut rest = input;
    let mut rows: Vec<[Value<'_>; 6]> = Vec::new();
    while !rest.is_empty() && rows.len() < 4 {
        rows.push([(); 6].map(|()| value(&mut rest)));
    }
    let show = |console: &mut Console| {
        for table in [&ROWS, &LIST] {
            console.begin(table);
            rows.iter().for_each(|row| console.row(table, "row", row));
        }
    };
    let plain = shown(false, show);
    assert!(plain.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{}", plain.escape_ascii());
    // Two headings, and a blank line between the tables.
    assert_eq!(plain.iter().filter(|&&byte| byte == b'\n').count(), 3 + 2 * rows.len());
    let json = shown(true, show);
    let told: Json = serde_json::from_slice(&json).expect("JSON");
    let list = told["list"].as_array().expect("a list");
    assert_eq!(list.len(), rows.len());
    let keys = ["count", "size_kib", "share_bp", "flag", "comm", "why"];
    for (row, told) in rows.iter().zip(list) {
        for (value, key) in row.iter().zip(keys) {
            assert_eq!(told[key], expected(value), "{key}");
        }
    }
}

fn value<'v>(rest: &mut &'v [u8]) -> Value<'v> {
    let Some((kind, after)) = rest.split_first() else { return Value::Unknown };
    *rest = after;
    match kind % 4 {
        0 => Value::Unknown,
        1 => Value::Flag(kind & 4 != 0),
        2 => {
            let (number, after) = rest.split_at(rest.len().min(8));
            *rest = after;
            let mut bytes = [0; 8];
            bytes[..number.len()].copy_from_slice(number);
            Value::Number(i64::from_le_bytes(bytes))
        }
        _ => {
            let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
            // What does not fit on a line is cut there: the program gives it what does.
            let text = &rest[..end.min(12)];
            *rest = rest.get(end + 1..).unwrap_or_default();
            Value::Text(text)
        }
    }
}

/// A byte that is no text becomes the character of that number.
fn expected(value: &Value<'_>) -> Json {
    match *value {
        Value::Unknown => Json::Null,
        Value::Number(number) => number.into(),
        Value::Flag(flag) => flag.into(),
        Value::Text(text) => text.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
    }
}
