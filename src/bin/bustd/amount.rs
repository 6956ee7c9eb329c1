//! Limits as people write them.

use bustd::config::limits::{Amount, Pair};
use bustd::read::kfile::{parse_hundredths, parse_u64};
use bustd::read::psi::ShareBp;
use bustd::sys::line::named;
use core::ffi::CStr;

/// May both limits be zero?
#[derive(Clone, Copy, PartialEq)]
pub enum Zero {
    Allowed,
    Refused,
}

const SHAPE: &str = "not TERM[,KILL], each a percentage up to 100 or a size with K, M, G or T";

/// Of a number above 100 without a unit.
pub const NO_UNIT: &str = "not a percentage";

/// Reads `TERM[,KILL]`.
pub fn parse_pair(value: &'static CStr, zero: Zero) -> Result<Pair, &'static str> {
    let mut parts = value.to_bytes().split(|&byte| byte == b',');
    let mut next = || parts.next().map(parse_amount).transpose();
    let term = next()?.ok_or(SHAPE)?;
    let kill = next()?.unwrap_or(term.half());
    if next()?.is_some() {
        return Err(SHAPE);
    }
    if zero == Zero::Refused && matches!(term, Amount::Share(0) | Amount::Kib(0)) {
        return Err(named!("TERM must be above 0"));
    }
    match (term, kill) {
        (Amount::Share(term), Amount::Share(kill)) if kill > term => Err(named!("KILL is above TERM")),
        (Amount::Kib(term), Amount::Kib(kill)) if kill > term => Err(named!("KILL is above TERM")),
        (Amount::Share(_), Amount::Kib(_)) | (Amount::Kib(_), Amount::Share(_)) => {
            Err(named!("TERM and KILL must both be percentages or both be sizes"))
        }
        _ => Ok(Pair { term, kill }),
    }
}

fn parse_amount(text: &[u8]) -> Result<Amount, &'static str> {
    let end = text.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let Some((letter, rest)) = unit.split_first().filter(|(letter, _)| **letter != b'%') else {
        return match parse_share(number).filter(|_| unit.len() < 2) {
            Some(share_bp) => Ok(Amount::Share(share_bp)),
            None if unit.is_empty() && parse_u64(number).is_some() => Err(NO_UNIT),
            None => Err(SHAPE),
        };
    };
    let shift = match letter.to_ascii_uppercase() {
        b'K' => 0,
        b'M' => 10,
        b'G' => 20,
        b'T' => 30,
        _ => return Err(SHAPE),
    };
    // M, MB and MiB are the same.
    if !(rest.is_empty() || rest.eq_ignore_ascii_case(b"b") || rest.eq_ignore_ascii_case(b"ib")) {
        return Err(SHAPE);
    }
    // Past this every sum of sizes could overflow, and no machine is there.
    parse_shifted(number, shift).filter(|&kib| kib < 1 << 50).map(Amount::Kib).ok_or(SHAPE)
}

/// The most digits behind a point with which the product below still fits.
const MAX_DIGITS: usize = 9;

/// Parses `12` or `0.5`, and multiplies it by two so many times.
fn parse_shifted(number: &[u8], shift: u32) -> Option<u64> {
    let dot = number.iter().position(|&byte| byte == b'.');
    let whole = parse_u64(&number[..dot.unwrap_or(number.len())])?.checked_mul(1 << shift)?;
    let Some(dot) = dot else { return Some(whole) };
    let digits = &number[dot + 1..];
    let part = parse_u64(digits).filter(|_| digits.len() <= MAX_DIGITS)?;
    whole.checked_add((part << shift) / 10_u64.pow(digits.len() as u32))
}

fn parse_share(text: &[u8]) -> Option<ShareBp> {
    let share_bp = parse_hundredths(text)?;
    (share_bp <= 10_000).then_some(share_bp as ShareBp)
}

/// Reads a share of time.
pub fn parse_psi(text: &'static CStr) -> Result<ShareBp, &'static str> {
    let text = text.to_bytes();
    match parse_share(text.strip_suffix(b"%").unwrap_or(text)) {
        Some(share_bp) if share_bp > 0 => Ok(share_bp),
        // An option follows, as for a program to which -p is one without a value.
        _ if text.first() == Some(&b'-') && text.get(1).is_some_and(|next| !next.is_ascii_digit()) => {
            Err(named!("needs a value; what -p is to earlyoom is always done here"))
        }
        _ => Err(named!("not a percentage above 0 and up to 100")),
    }
}
