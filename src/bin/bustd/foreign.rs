//! Options as earlyoom spells them, answered with ours, so that an old unit file
//! explains itself.

use bustd::read::kfile::parse_u64;
use bustd::sys::line::{Line, Word, named};

/// What becomes of the value that an option has there.
#[derive(Clone, Copy, PartialEq)]
enum Value {
    /// It has none.
    None,
    /// It is the same here.
    Same,
    /// Sizes in KiB without a unit.
    Sizes,
    /// Names, in a regular expression there.
    Names,
}

struct Spelling {
    theirs: Word,
    ours: Word,
    value: Value,
}

const fn spelling(theirs: &str, ours: &str, value: Value) -> Spelling {
    Spelling { theirs: Word::new(theirs), ours: Word::new(ours), value }
}

static SPELLINGS: [Spelling; 11] = [
    spelling("M", "--mem", Value::Sizes),
    spelling("S", "--swap", Value::Sizes),
    spelling("r", "--report", Value::Same),
    spelling("N", "--on-kill", Value::Same),
    spelling("P", "--before-kill", Value::Same),
    spelling("d", "--verbose", Value::None),
    spelling("v", "--version", Value::None),
    spelling("dryrun", "--dry-run", Value::None),
    spelling("ignore", "--unkillables", Value::Names),
    spelling("syslog", "--log syslog", Value::None),
    // Of the longest only as much as a word holds.
    spelling("ignore-root-use", "--unkillables", Value::None),
];

/// Appends how what `name` means to earlyoom is written here; `value` is what
/// comes behind it.
pub fn push_ours(line: &mut Line, name: &[u8], value: Option<&[u8]>) {
    let is_of = |spelling: &&Spelling| {
        let theirs = spelling.theirs.as_bytes();
        theirs == name || (theirs.len() == 15 && name.starts_with(theirs))
    };
    if name == b"sort-by-rss" || name == b"i" || name == b"k" {
        line.text(named!(", leave it out"));
        return;
    }
    let Some(found) = SPELLINGS.iter().find(is_of) else {
        line.text(named!(", see --help"));
        return;
    };
    line.text(named!(" (here: ")).bytes(found.ours.as_bytes());
    match (found.value, value) {
        (Value::Sizes, Some(value)) => push_sizes(line, value),
        (Value::Same, Some(value)) => {
            line.text(" ").escaped(&value[..value.len().min(64)]);
        }
        (Value::Names, _) => {
            line.text(named!(" 'NAME|NAME'"));
        }
        (Value::None, _) if name.starts_with(b"ignore") => {
            line.text(named!(" 'root:*'"));
        }
        _ => {}
    }
    line.text(")");
}

/// Sizes in KiB, two at most, with units.
fn push_sizes(line: &mut Line, value: &[u8]) {
    for (at, part) in value.split(|&byte| byte == b',').take(2).enumerate() {
        let Some(kib) = parse_u64(part) else { return };
        line.text(if at == 0 { " " } else { "," });
        if kib >= 1024 && kib % 1024 == 0 {
            line.number(kib / 1024).text("M");
        } else {
            line.number(kib).text("K");
        }
    }
}
