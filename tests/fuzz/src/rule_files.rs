//! Rules: a whole file of them, what stands in their arguments, and what they read of
//! cgroups.

use bustd::config::rules::glob::segment_matches;
use bustd::config::rules::reader::Permits;
use bustd::config::rules::settings::{self, Devices};
use bustd::config::rules::teller::Severity;
use bustd::config::rules::value::Rest;
use bustd::config::rules::{json, parse, value};
use bustd::read::cgroup_values::{self, UNLIMITED};
use bustd::sys::block::with_room;
use serde_json::Value as Json;

/// It is read, or one line says why not; and all of what was read can be shown.
pub fn file(text: &[u8]) {
    let mut errors = 0;
    let permits = Permits { panic: true, ..Permits::default() };
    let parsed = parse::parse_rules(b"rules.json", text, permits, &mut |severity, line| {
        let shown = line.as_bytes();
        assert!(shown.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{}", shown.escape_ascii());
        errors += u32::from(severity == Severity::Error);
    });
    assert_eq!(errors, u32::from(parsed.is_none()));
    if let Some(block) = &parsed {
        assert!(!format!("{:?}", block.get()).is_empty());
    }
    // What is JSON is understood, but for NUL.
    let is_json =
        serde_json::from_slice::<Json>(text).is_ok() && !text.windows(5).any(|part| part == b"u0000");
    let is_read = with_room(text.len() * 40 + 4096, |mut room| {
        let text = room.bytes(text).expect("room");
        json::parse(text, &mut room).is_ok()
    });
    assert!(is_read.expect("memory") || !is_json);
}

/// The number at the start of a text, by a plain model: the longest part of it that the
/// standard library takes.
fn leading_i64(text: &[u8]) -> Option<i64> {
    let blanks = text.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let text = &text[blanks..];
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let digits = text[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(&text[..sign + digits]).expect("ASCII").parse().ok()
}

pub fn values(text: &[u8]) {
    let number = value::parse_int(text).map(|(number, _)| number);
    // The smallest has no positive counterpart, and is refused.
    if number.is_some() || leading_i64(text) != Some(i64::MIN) {
        assert_eq!(number, leading_i64(text));
    }
    let _ = (value::parse_wrapping(text), value::parse_bool(text), value::parse_resource(text));
    let written = str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    if let (Some((ratio, Rest::Nothing)), Some(real)) = (value::parse_ratio(text), written)
        && real >= 0.0
    {
        assert!((ratio.0 as f64 - real * 1e6).abs() <= 1.0 + real * 1e-6, "{} {real}", ratio.0);
    }
    if let (Some((pico, [])), Some(real)) = (value::parse_pico(text), written) {
        assert!((pico.0 as f64 - real * 1e12).abs() <= 1.0 + real * 1e3, "{} {real}", pico.0);
    }
    let _ = (value::parse_amount(text), settings::parse_coefficients(text));
    if let Some(devices) = Devices::parse(text) {
        let commas = text.iter().filter(|&&byte| byte == b',').count();
        assert_eq!(devices.list().len(), commas + 1);
    }
    let mut parts = text.splitn(2, |&byte| byte == b'\n');
    let (glob, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_plain = !glob.iter().any(|byte| b"*?[\\".contains(byte));
    assert!(!is_plain || segment_matches(glob, name) == (glob == name));
    if !name.starts_with(b".") {
        assert!(segment_matches(b"*", name));
    }
}

pub fn cgroup_files(text: &[u8]) {
    assert!(cgroup_values::parse_amount(text).is_none() || !text.is_empty());
    let stat = cgroup_values::parse_stat(text);
    let is_told = |key: &[u8]| text.windows(key.len()).any(|window| window == key);
    assert!(stat.anon.is_none() || is_told(b"anon"));
    assert!(stat.file == 0 || is_told(b"active_file"));
    let nothing = cgroup_values::parse_io_cost(text, &|_, _| None);
    let most = cgroup_values::parse_io_cost(text, &|_, _| Some([UNLIMITED; 6]));
    let some = cgroup_values::parse_io_cost(text, &|major, _| (major == 8).then_some([1; 6]));
    assert!(nothing == 0 && some <= most);
}
