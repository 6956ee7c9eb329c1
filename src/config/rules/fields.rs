//! What the keys of an object say: read by the one table of [`words`](super::words).

use super::json::{Kind, Value};
use super::model::{Amount, Cgroups};
use super::reader::{Parser, items};
use super::teller::{List, push_key};
use super::value::{self, Rest};
use super::words::{Form, KEY_COUNT, Key, Name, usual};
use crate::sys::line::lit;

/// What stands in an object.
pub struct Fields<'d, 'b> {
    /// Each by the place of its key: numbers, millionths of them, yes (1) or no, memory (0)
    /// or io.
    pub numbers: [i64; KEY_COUNT],
    /// Which were given, a bit for each.
    pub given: u64,
    /// What is read elsewhere, by the place of its key.
    parts: [Option<Value<'d>>; KEY_COUNT],
    pub cgroups: Cgroups<'b>,
    /// A program with its arguments, or a unit.
    pub words: &'b [&'b [u8]],
    pub name: &'d [u8],
    pub xattr: &'d [u8],
}

impl<'d> Fields<'d, '_> {
    /// Nothing, and so the usual numbers.
    #[inline(never)]
    pub fn new() -> Self {
        Self {
            numbers: usual(),
            given: 0,
            parts: [None; KEY_COUNT],
            cgroups: Cgroups { cgroup: &[], ruleset_cgroup: &[] },
            words: &[],
            name: b"",
            xattr: b"",
        }
    }

    pub fn number(&self, key: Key) -> i64 {
        self.numbers[key as usize]
    }

    pub fn is_given(&self, key: Key) -> bool {
        self.given >> key as u32 & 1 == 1
    }

    /// The value of a key.
    pub fn part(&self, key: Key) -> Option<Value<'d>> {
        self.parts[key as usize]
    }
}

/// How a number is read, from where to where it may go, and what that is called.
struct Numbers {
    parse: fn(&[u8]) -> value::Read<i64>,
    least: i64,
    most: i64,
    allowed: &'static [u8],
}

const INT: Numbers = Numbers {
    parse: value::parse_int,
    least: i32::MIN as i64,
    most: i32::MAX as i64,
    allowed: lit!("a whole number"),
};
const ANY: Numbers = Numbers { least: i64::MIN, most: i64::MAX, ..INT };

/// By form, from [`Form::Int`] on.
static NUMBERS: [Numbers; 12] = [
    INT,
    Numbers { least: 0, allowed: lit!("a whole number, 0 or more"), ..INT },
    Numbers { least: 0, allowed: lit!("a whole number of seconds, 0 or more"), ..INT },
    Numbers { least: 0, most: 99, allowed: lit!("a whole number from 0 to 99"), ..INT },
    Numbers { parse: value::parse_wrapping, ..ANY },
    Numbers { parse: parse_bool, allowed: lit!("true, True, 1, false, False or 0"), ..ANY },
    Numbers { parse: parse_flag, allowed: lit!("true or false"), ..ANY },
    Numbers { parse: parse_resource, allowed: lit!("io or memory"), ..ANY },
    Numbers {
        parse: parse_amount,
        allowed: lit!("a percentage up to 100%, a number of mebibytes, or sizes with K, M, G or T"),
        ..ANY
    },
    // What does not fit comes below zero, where no ratio is.
    Numbers { parse: parse_millionths, least: 0, allowed: lit!("a number"), ..ANY },
    Numbers {
        parse: parse_millionths,
        least: 1000,
        most: 3_600_000_000,
        allowed: lit!("seconds from 0.001 to 3600"),
    },
    Numbers { parse: parse_silence, allowed: lit!("engine, plugins, or both with a comma"), ..ANY },
];

fn parse_bool(text: &[u8]) -> value::Read<i64> {
    value::parse_bool(text).map(|flag| (flag.into(), Rest::Nothing))
}

/// Of JSON: any number but 0 is yes.
fn parse_flag(text: &[u8]) -> value::Read<i64> {
    let flag = text == b"true" || text.iter().any(|byte| (b'1'..=b'9').contains(byte));
    Some((flag.into(), Rest::Nothing))
}

fn parse_resource(text: &[u8]) -> value::Read<i64> {
    value::parse_resource(text).map(|resource| (resource as i64, Rest::Nothing))
}

fn parse_amount(text: &[u8]) -> value::Read<i64> {
    value::parse_amount(text).map(|(amount, rest)| (amount.number(), rest))
}

fn parse_millionths(text: &[u8]) -> value::Read<i64> {
    value::parse_ratio(text).map(|(ratio, rest)| (ratio.0 as i64, rest))
}

/// The engine is the first bit, plugins are the second.
fn parse_silence(text: &[u8]) -> value::Read<i64> {
    let mut silent = 0;
    for item in items(text) {
        silent |= match item.trim_ascii() {
            b"engine" => 1,
            b"plugins" => 2,
            _ => return None,
        };
    }
    Some((silent, Rest::Nothing))
}

/// A terabyte: in bytes or kilobytes it would be an ordinary size.
const VERY_LARGE: i64 = 1 << 40;
const MIB: i64 = 1 << 20;

impl<'d, 'b> Parser<'_, 'd, 'b> {
    /// Reads the keys of `object` that `name` takes into `fields`, of which there are none
    /// yet. What is lacking is lacking at `value`.
    #[inline(never)]
    pub fn fields(
        &mut self,
        name: Name,
        value: Value<'d>,
        object: Option<Value<'d>>,
        fields: &mut Fields<'d, 'b>,
    ) {
        for member in object.map(|object| object.members()).unwrap_or_default() {
            let warning = match name.key(&mut |word| member.is_called(word)) {
                None if name.is_lenient() => lit!("key @ is ignored"),
                None => return self.refuse_unknown(member, name),
                Some(_) if member.is_overridden() => lit!("key @ comes again below, and that counts"),
                // Not even looked at where the other is given.
                Some(Key::ThresholdAmount)
                    if object.is_some_and(|object| object.get(lit!("threshold_anon")).is_some()) =>
                {
                    lit!("key @ is ignored beside \"threshold_anon\"")
                }
                Some(key) => {
                    self.field(name, member, key, fields);
                    continue;
                }
            };
            self.teller.warn_of(member, warning);
        }
        let lacks_amount = name == Name::MemoryAbove
            && !(fields.is_given(Key::ThresholdAmount) || fields.is_given(Key::ThresholdAnon));
        if let Some(key) = name.lacks(fields.given).or(lacks_amount.then_some(Key::ThresholdAmount)) {
            self.refuse_lack(value, name, key);
        }
    }

    #[inline(never)]
    fn refuse_unknown(&mut self, member: Value<'d>, name: Name) {
        let mut line = self.teller.about(member.key_source());
        line.bytes(lit!("found the argument "));
        push_key(&mut line, member);
        line.bytes(lit!(" of ")).bytes(name.word());
        let mut list = List::new(&mut line);
        name.key(&mut |word| {
            list.push(word);
            false
        });
        if name.takes() == 0 {
            list.push(lit!("none"));
        }
        self.teller.refuse(&line);
    }

    /// Tells that there is no such key where there has to be.
    #[inline(never)]
    pub fn refuse_lack(&mut self, value: Value<'d>, name: Name, key: Key) {
        let mut line = self.teller.about(value.source());
        line.bytes(lit!("found ")).bytes(name.word()).bytes(lit!(" without \"")).bytes(key.word());
        self.teller.refuse(line.bytes(lit!("\", which has to be there and not to be empty")));
    }

    #[inline(never)]
    fn field(&mut self, name: Name, member: Value<'d>, key: Key, fields: &mut Fields<'d, 'b>) {
        let form = key.form();
        if name.is_lenient() && member.kind() == Kind::Null && form != Form::Part {
            return;
        }
        fields.parts[key as usize] = Some(member);
        if form == Form::Part {
            return;
        }
        if matches!(form, Form::Command | Form::Unit) {
            fields.given |= 1 << key as u32;
            fields.words = self.words(member, form);
            return;
        }
        let is_odd_flag = form == Form::Flag && member.kind() == Kind::Text;
        let text = self.scalar(member);
        if name.is_lenient() && text.is_empty() && !is_odd_flag {
            return;
        }
        fields.given |= 1 << key as u32;
        match form {
            Form::Cgroups => {
                let patterns = self.patterns(member, text);
                match key {
                    Key::Cgroup => fields.cgroups.cgroup = patterns,
                    _ => fields.cgroups.ruleset_cgroup = patterns,
                }
            }
            Form::Xattr => {
                if !(text.is_empty() || text.starts_with(b"user.") || text.starts_with(b"trusted.")) {
                    let what = lit!("@ begins neither with user. nor with trusted., and matches nothing");
                    self.teller.warn_of(member, what);
                }
                fields.xattr = text;
            }
            Form::Text => fields.name = text,
            Form::Ignored => self.teller.warn_of(member, lit!("key @ is ignored")),
            _ => {
                let row = (form as usize).saturating_sub(Form::Int as usize);
                let Some(numbers) = NUMBERS.get(row) else { return };
                let read = (numbers.parse)(text)
                    .filter(|(number, _)| (numbers.least..=numbers.most).contains(number) && !is_odd_flag);
                match read {
                    Some((number, rest)) => {
                        fields.numbers[key as usize] = number;
                        self.warn_of_number(member, key, text, number, rest);
                    }
                    None => self.teller.refuse_value(member, numbers.allowed),
                }
            }
        }
    }

    /// Warns of a number that is hardly what is meant.
    #[inline(never)]
    fn warn_of_number(&mut self, member: Value<'d>, key: Key, text: &[u8], number: i64, rest: Rest) {
        let has_rest = rest == Rest::Ignored;
        let is_ratio = matches!(key.form(), Form::Ratio | Form::Timeout);
        let is_amount = key.form() == Form::Amount;
        if has_rest && !is_ratio && !is_amount {
            let mut line = self.teller.about_value(member);
            self.teller.warn(line.bytes(lit!(" is read as ")).signed(number));
        }
        let odd = match key {
            _ if is_amount => return self.warn_of_amount(member, Amount::of(number), text, has_rest),
            _ if is_ratio && has_rest => lit!("@: what stands behind the number does not count"),
            Key::Threshold if number >= 100 => lit!("@: no pressure is above 100"),
            Key::Threshold | Key::ThresholdPct | Key::Duration if number < 0 => lit!("@ is below 0"),
            Key::ThresholdPct | Key::SizeThreshold if number > 100 => lit!("@ is above 100 per cent"),
            Key::Duration | Key::PostActionDelay | Key::PrekillHookTimeout if number > 3600 => {
                lit!("@ is more than an hour: it is in seconds")
            }
            Key::LogKmemalloc if number != 0 => lit!("@: log_kmemalloc_prekill is ignored"),
            _ => return,
        };
        self.teller.warn_of(member, odd);
    }

    fn warn_of_amount(&mut self, member: Value<'d>, amount: Amount, text: &[u8], has_rest: bool) {
        let mut line = self.teller.about_value(member);
        line.bytes(lit!(" is read as "));
        match amount {
            Amount::Percent(percent) if has_rest => line.number(percent.into()).bytes(lit!("%")),
            Amount::Bytes(bytes) if bytes < MIB && bytes != 0 => {
                line.signed(bytes).bytes(if bytes == 1 { lit!(" byte") } else { lit!(" bytes") });
                line.bytes(if bytes < 0 { lit!(", and everything is above that") } else { b"" })
            }
            Amount::Bytes(bytes) if bytes >= VERY_LARGE && text.last().is_some_and(u8::is_ascii_digit) => {
                line.size(bytes.unsigned_abs() >> 10).bytes(lit!(": a number without suffix is mebibytes"))
            }
            _ => return,
        };
        self.teller.warn(&line);
    }

    /// A program and its arguments, or a unit, each with its ending NUL: a text is a
    /// program without arguments.
    #[inline(never)]
    fn words(&mut self, member: Value<'d>, form: Form) -> &'b [&'b [u8]] {
        let is_list = form == Form::Command && member.kind() == Kind::Array;
        let first = if is_list { member.members().next() } else { Some(member) };
        let list = self.keep_slice(if is_list { member.members().count() } else { 1 }, &b""[..]);
        let mut next = first;
        for slot in list.iter_mut() {
            let Some(value) = next else { break };
            let text = self.scalar(value);
            let kept = self.keep_slice(text.len() + 1, 0_u8);
            kept.iter_mut().zip(text).for_each(|(slot, &byte)| *slot = byte);
            *slot = kept;
            next = value.next();
        }
        let (is_good, shape) = match (form, list.first()) {
            // It is handed to a program.
            (Form::Unit, word) => (!matches!(word, None | Some([0 | b'-', ..])), lit!("the name of a unit")),
            (_, program) => (
                matches!(program, Some([b'/', ..])),
                lit!("the absolute path of a program, or an array of that and its arguments"),
            ),
        };
        if !is_good {
            self.teller.refuse_value(first.unwrap_or(member), shape);
        }
        list
    }
}
