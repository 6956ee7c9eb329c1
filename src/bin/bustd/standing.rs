//! `--status` of the rules that a guard runs: which file they are of, and what each rule set
//! has done so far. The guard's command line says where both are told, or the file of options
//! that the guard reads as we do.

use crate::cli::Options;
use crate::conf;
use crate::console::{Column, Console, Kind, Table, Value, column};
use bustd::read::kfile::{Pieces, Tree, lines, parse_u64, read_start};
use bustd::sys::line::{Line, named};
use bustd::sys::time::realtime_s;
use rustix::fd::AsFd;

static RULES_COLUMNS: [Column; 5] = [
    column("fired", Kind::Count),
    column("acted", Kind::Count),
    column("ago_s", Kind::Count),
    column("drop_in", Kind::Name),
    column("ruleset", Kind::Rest),
];

static RULES: Table = Table { title: "rules", is_list: true, columns: &RULES_COLUMNS };

/// What the names of their lines in the statistics begin with.
const FIRED: &[u8] = b"bustd_ruleset_fired_total";
const ACTED: &[u8] = b"bustd_ruleset_actions_total";
const LAST: &[u8] = b"bustd_ruleset_last_action_timestamp_seconds";

/// Tells of the rules of the guard that runs, if it has any.
// Out of line, as is all that a question alone asks.
#[inline(never)]
pub fn put(console: &mut Console, options: &Options, tree: &Tree, pid: i32) {
    let (mut path, mut buf) = (Line::default(), [0; 4096]);
    path.signed(pid.into()).text("/cmdline");
    let arguments = read_start(tree.proc.as_fd(), path.as_cstr(), &mut buf).unwrap_or_default();
    let ours = options.rules.as_ref().map(|settings| settings.file.to_bytes());
    let Some(file) = argument(arguments, b"--rules").or(ours) else { return };
    let stats = argument(arguments, b"--stats").or(options.config.stats.map(|path| path.to_bytes()));
    let mut line = Line::default();
    line.text(named!("\nthe guard's rules are those of ")).escaped(file);
    let hint = named!("; with --stats FILE it would tell what they did");
    line.text(if stats.is_some() { "" } else { hint }).end_line();
    console.note(line.as_bytes());
    let Some(stats) = stats else { return };
    let text = conf::read(Line::default().bytes(stats).as_cstr()).unwrap_or_default();
    console.begin(&RULES);
    // Each kind of line is there once for each set, in their order.
    let of = |name: &'static [u8]| Samples { lines: lines(&text), name };
    for ((fired, acted), last) in of(FIRED).zip(of(ACTED)).zip(of(LAST)) {
        let (set, tag) = names(fired.0);
        let ago_s = (last.1 > 0).then(|| realtime_s().saturating_sub(last.1));
        let tag = tag.map_or(Value::Unknown, Value::Text);
        let values = [fired.1.into(), acted.1.into(), ago_s.into(), tag, Value::Text(set)];
        console.row(&RULES, "", &values);
    }
}

/// The value of an option among arguments that each end with a NUL, the last one that counts.
fn argument<'t>(arguments: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let mut value = None;
    let mut rest = arguments.split(|&byte| byte == 0);
    while let Some(argument) = rest.next().filter(|&argument| argument != b"--") {
        let Some(behind) = argument.strip_prefix(name) else { continue };
        match behind.split_first() {
            None => value = rest.next(),
            Some((b'=', behind)) => value = Some(behind),
            Some(_) => {}
        }
    }
    value
}

/// The lines of statistics of one name: their labels and numbers.
struct Samples<'t> {
    lines: Pieces<'t>,
    name: &'static [u8],
}

impl<'t> Iterator for Samples<'t> {
    type Item = (&'t [u8], u64);

    // Out of line, for there are three.
    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(rest) = self.lines.next()?.strip_prefix(self.name) else { continue };
            let (labels, number) = rest.split_at(rest.iter().rposition(|&byte| byte == b' ')?);
            return Some((labels, parse_u64(&number[1..])?));
        }
    }
}

/// The name of a rule set and, behind that, of the file that was dropped in for it, as they
/// are written in labels. A quotation mark in either has a backslash before it.
fn names(labels: &[u8]) -> (&[u8], Option<&[u8]>) {
    const BETWEEN: &[u8] = b"\",drop_in=\"";
    let labels = labels.strip_prefix(b"{ruleset=\"").unwrap_or(labels);
    let labels = labels.strip_suffix(b"\"}").unwrap_or(labels);
    match labels.windows(BETWEEN.len()).position(|part| part == BETWEEN) {
        Some(at) => (&labels[..at], Some(&labels[at + BETWEEN.len()..])),
        None => (labels, None),
    }
}
