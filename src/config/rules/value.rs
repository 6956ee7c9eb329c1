//! Arguments of plugins: texts that are read as oomd reads them, which is to say
//! as far as they go.

use super::model::{Amount, Millionths, Resource};
use crate::sys::line::Line;

/// A value, and whether all of the text was needed for it.
pub type Read<T> = Option<(T, Rest)>;

/// What became of the rest of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There was none.
    Nothing,
    /// It does not count.
    Ignored,
}

fn rest_of(text: &[u8]) -> Rest {
    if text.is_empty() { Rest::Nothing } else { Rest::Ignored }
}

/// Is it white space to C?
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&byte| is_blank(byte)).count();
    text.split_at(blanks).1
}

/// Is there a minus, and what comes behind the sign?
fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((sign @ (b'-' | b'+'), rest)) => (*sign == b'-', rest),
        _ => (false, text),
    }
}

/// The digits at the start, of which there must be some, and what comes behind.
fn split_digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| text.split_at(digits))
}

fn sum_digits(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0_u64, |number, &digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Blanks, a sign and digits, at least one: is it a minus, the number, and is there any
/// text behind it?
#[inline(never)]
fn split_int(text: &[u8]) -> Option<(bool, u64, Rest)> {
    let (is_negative, text) = split_sign(skip_blanks(text));
    let (digits, rest) = split_digits(text)?;
    Some((is_negative, sum_digits(digits)?, rest_of(rest)))
}

/// Blanks, a sign and digits, at least one, with any text behind them.
#[inline(never)]
pub fn parse_int(text: &[u8]) -> Read<i64> {
    let (is_negative, size, rest) = split_int(text)?;
    let size = i64::try_from(size).ok()?;
    Some((if is_negative { -size } else { size }, rest))
}

/// The same as 64 bits without sign, where −1 is the largest there is; told as
/// signed.
pub fn parse_wrapping(text: &[u8]) -> Read<i64> {
    let (is_negative, size, rest) = split_int(text)?;
    let size = size as i64;
    Some((if is_negative { size.wrapping_neg() } else { size }, rest))
}

/// One of the six words that there are for it.
pub fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"true" | b"True" | b"1" => Some(true),
        b"false" | b"False" | b"0" => Some(false),
        _ => None,
    }
}

/// `io` or `memory`.
pub fn parse_resource(text: &[u8]) -> Option<Resource> {
    match text {
        b"memory" => Some(Resource::Memory),
        b"io" => Some(Resource::Io),
        _ => None,
    }
}

/// Digits after the point that count.
const DECIMALS: i32 = 6;
const PICO_DECIMALS: i32 = 12;
const MILLION: u64 = 1_000_000;

/// A number without sign, in units of its last decimal that counts: of base 10 with point
/// and exponent, of base 16 without. Also what is behind it.
#[inline(never)]
fn split_number(text: &[u8], base: u32, decimals: i32) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    // By which power of ten that is to be multiplied.
    let mut power = decimals;
    let (mut has_digits, mut has_point, mut is_full) = (false, false, false);
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        if let Some(digit) = char::from(byte).to_digit(base) {
            has_digits = true;
            let longer = number.checked_mul(base.into()).and_then(|number| number.checked_add(digit.into()));
            match longer.filter(|_| !is_full) {
                Some(longer) => {
                    number = longer;
                    power -= i32::from(has_point);
                }
                // Further digits have no place, but before the point they count as zeros.
                None => {
                    is_full = true;
                    power += i32::from(!has_point);
                }
            }
        } else if byte == b'.' && !has_point && base == 10 {
            has_point = true;
        } else {
            break;
        }
        rest = behind;
    }
    if !has_digits {
        return None;
    }
    if let (10, Some((b'e' | b'E', behind))) = (base, rest.split_first()) {
        let (is_negative, behind) = split_sign(behind);
        // Without digits it is no exponent, but text behind the number.
        if let Some((digits, behind)) = split_digits(behind) {
            let size = sum_digits(digits).unwrap_or(u64::MAX).min(FAR) as i32;
            power += if is_negative { -size } else { size };
            rest = behind;
        }
    }
    if is_full && power > 0 {
        return None;
    }
    while power != 0 && number != 0 {
        if power > 0 {
            number = number.checked_mul(10)?;
            power -= 1;
        } else {
            number /= 10;
            power += 1;
        }
    }
    Some((number, rest))
}

/// An exponent of which every number of digits that a file can have comes to nothing.
const FAR: u64 = 1 << 24;

/// A real number at the start of the text. Below zero it is zero, which no ratio
/// that is compared with it is below either.
#[inline(never)]
pub fn parse_ratio(text: &[u8]) -> Read<Millionths> {
    let (is_negative, text) = split_sign(skip_blanks(text));
    let (number, rest) = split_number(text, 10, DECIMALS)?;
    Some((Millionths(if is_negative { 0 } else { number }), rest_of(rest)))
}

/// A real number in millionths of millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pico(pub u64);

/// A real number, not below zero, and what is behind it.
pub fn parse_pico(text: &[u8]) -> Option<(Pico, &[u8])> {
    split_number(text, 10, PICO_DECIMALS).map(|(number, rest)| (Pico(number), rest))
}

/// `60%`, `1536` (mebibytes), or sizes with suffixes: `1.5G`, `1G 128M`.
#[inline(never)]
pub fn parse_amount(text: &[u8]) -> Read<Amount> {
    if let Some(number) = text.strip_suffix(b"%") {
        let (percent, rest) = parse_int(number)?;
        return Some((Amount::Percent(u8::try_from(percent).ok().filter(|&pct| pct <= 100)?), rest));
    }
    let (number, rest) = parse_int(text)?;
    let bytes = match rest {
        Rest::Nothing => number.checked_mul(1 << 20)?,
        Rest::Ignored => sum_sizes(text)?,
    };
    Some((Amount::Bytes(bytes), Rest::Nothing))
}

/// The longest sum of sizes.
const MAX_SIZES: usize = 64;

/// Numbers with suffixes, of which the last may have none and is bytes. Blanks do
/// not count, not even between digits.
#[inline(never)]
fn sum_sizes(text: &[u8]) -> Option<i64> {
    let mut buf = [0; MAX_SIZES];
    let mut len = 0;
    for &byte in text.iter().filter(|&&byte| !is_blank(byte)) {
        *buf.get_mut(len)? = byte;
        len += 1;
    }
    let (is_negative, mut text) = split_sign(buf.get(..len)?);
    let mut sum = 0_u64;
    while !text.is_empty() {
        let (base, digits) = match text {
            [b'0', b'x' | b'X', digits @ ..] => (16, digits),
            _ => (10, text),
        };
        let (number, rest) = split_number(digits, base, DECIMALS)?;
        let suffix = rest.first().map_or(b' ', u8::to_ascii_lowercase);
        // 1024 to the power of the suffix's place.
        let unit = 1_u64 << (10 * b" kmgt".iter().position(|&known| known == suffix)?);
        text = rest.get(1..).unwrap_or_default();
        let fraction = number % MILLION * unit / MILLION;
        sum = sum.checked_add((number / MILLION).checked_mul(unit)?.checked_add(fraction)?)?;
    }
    let sum = i64::try_from(sum).ok()?;
    Some(if is_negative { -sum } else { sum })
}

/// Appends a JSON number with point or exponent as oomd hands it on: `1e3` as `1000.0`.
/// `None` for one that is too large to be meant.
#[inline(never)]
pub fn plain_decimal<'b>(source: &[u8], line: &'b mut Line) -> Option<&'b [u8]> {
    let (is_negative, text) = split_sign(source);
    let (number, _) = split_number(text, 10, DECIMALS)?;
    line.bytes(if is_negative { b"-" } else { b"" }).number(number / MILLION).bytes(b".");
    // At least one digit, and no zeros at the end.
    let mut fraction = number % MILLION * 10;
    loop {
        line.number(fraction / MILLION);
        fraction = fraction % MILLION * 10;
        if fraction == 0 {
            return Some(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<i64> {
        match parse_amount(text.as_bytes())? {
            (Amount::Bytes(bytes), Rest::Nothing) => Some(bytes),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, number) in [
            ("10", (10, Rest::Nothing)),
            ("10%", (10, Rest::Ignored)),
            ("10.5", (10, Rest::Ignored)),
            (" 10", (10, Rest::Nothing)),
            ("\t\n+7 x", (7, Rest::Ignored)),
            ("-3", (-3, Rest::Nothing)),
            ("007", (7, Rest::Nothing)),
            ("9223372036854775807", (i64::MAX, Rest::Nothing)),
        ] {
            assert_eq!(parse_int(text.as_bytes()), Some(number), "{text}");
        }
        for text in ["", " ", "x10", "-", "+-1", ".5", "9223372036854775808", "99999999999999999999999"] {
            assert_eq!(parse_int(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_wrapping(b"-1"), Some((-1, Rest::Nothing)));
        assert_eq!(parse_wrapping(b"18446744073709551615"), Some((-1, Rest::Nothing)));
        assert_eq!(parse_wrapping(b"18446744073709551616"), None);
        assert_eq!(parse_wrapping(b"1048576"), Some((1 << 20, Rest::Nothing)));
    }

    #[test]
    fn there_are_six_words_for_yes_and_no() {
        for (text, flag) in [("true", true), ("True", true), ("1", true), ("false", false), ("False", false)]
        {
            assert_eq!(parse_bool(text.as_bytes()), Some(flag));
        }
        assert_eq!(parse_bool(b"0"), Some(false));
        for text in ["yes", "TRUE", "on", "", " true", "true ", "10"] {
            assert_eq!(parse_bool(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_resource(b"memory"), Some(Resource::Memory));
        assert_eq!(parse_resource(b"io"), Some(Resource::Io));
        assert!([&b"Memory"[..], b"IO", b"cpu", b""].into_iter().all(|text| parse_resource(text).is_none()));
    }

    #[test]
    fn ratios_are_real_numbers() {
        for (text, millionths) in [
            ("1.25", 1_250_000),
            ("0.85", 850_000),
            ("2", 2_000_000),
            (".5", 500_000),
            ("5.", 5_000_000),
            (" 1.5x", 1_500_000),
            ("1e3", 1_000_000_000),
            ("1.5e-3", 1500),
            ("25e-1", 2_500_000),
            ("1e", 1_000_000),
            ("0.0000019", 1),
            ("1e-9", 0),
            ("-1", 0),
            ("0e999999999999999999999", 0),
            ("0", 0),
        ] {
            assert_eq!(parse_ratio(text.as_bytes()).map(|read| read.0.0), Some(millionths), "{text}");
        }
        for text in ["", "x", ".", "e3", "1e300", "99999999999999999999"] {
            assert_eq!(parse_ratio(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn amounts_are_what_was_measured() {
        for (text, expected) in [
            ("1536", 1_610_612_736),
            ("1536M", 1_610_612_736),
            ("1.5G", 1_610_612_736),
            ("1G 128M", 1_207_959_552),
            ("1.5M 32K 512", 1_606_144),
            ("1t", 1_099_511_627_776),
            ("2K3", 2051),
            ("1e3", 1000),
            ("1e3K", 1_024_000),
            ("0x10", 16),
            ("1.5", 1),
            ("5 ", 5),
            (" 5", 5 << 20),
            ("1536.0", 1536),
            ("-5", -5_242_880),
            ("-5K", -5120),
            ("+5", 5_242_880),
            ("1 K", 1024),
            ("1 2 3", 123),
            ("1.5 m\t32k", 1_605_632),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in ["", "5MB", "1.5MK", "??", ".5G", "K", "1x", "1G-1M", "0x", "8888888T", "9999999999999"] {
            assert_eq!(parse_amount(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn percentages_are_whole_and_up_to_100() {
        let percent = |text: &str| parse_amount(text.as_bytes());
        assert_eq!(percent("0%"), Some((Amount::Percent(0), Rest::Nothing)));
        assert_eq!(percent("100%"), Some((Amount::Percent(100), Rest::Nothing)));
        assert_eq!(percent("10.5%"), Some((Amount::Percent(10), Rest::Ignored)));
        assert!(["101%", "-1%", "%", "x%", "256%"].into_iter().all(|text| percent(text).is_none()));
    }

    #[test]
    fn real_numbers_become_plain() {
        for (source, plain) in [
            ("10.0", "10.0"),
            ("10.", "10.0"),
            ("0.1", "0.1"),
            ("1e3", "1000.0"),
            ("-1.25e1", "-12.5"),
            ("1536.0", "1536.0"),
            ("0.000001", "0.000001"),
            ("1.000000e-6", "0.000001"),
            ("100.00010", "100.0001"),
            ("0.0", "0.0"),
        ] {
            let mut buf = Line::default();
            let text = plain_decimal(source.as_bytes(), &mut buf).unwrap();
            assert_eq!(core::str::from_utf8(text), Ok(plain), "{source}");
        }
        assert_eq!(plain_decimal(b"1e300", &mut Line::default()), None);
    }
}
