//! Packs and unpacks by guessing each bit from those before.
//!
//! Each bit is coded with a probability, and costs the less the better that was guessed;
//! the arithmetic of that is the [`Decoder`]'s and the packer's. Seven contexts guess: each
//! has seen what followed the last bytes, or the last parts of instructions, before. How
//! far each is believed is learned as well: a mixer adds up the guesses with weights, and
//! the weights are changed towards those that would have been right. Five mixers know
//! different things about the place, and a last one mixes these.
//!
//! Guesses are mixed as ln(p / (1 − p)), in 256ths, between −8 and 8. All is done with
//! whole numbers, so that each kind of machine guesses the same.

use super::x86::{Instruction, PLAIN};

/// Whose code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the loader knows one of them")]
pub enum Code {
    X86,
    X86Wide,
    /// Instructions are, or may be, words of four bytes.
    Words,
}

/// Who reads or writes the stream.
pub trait Bits {
    /// Codes a bit, which is 1 with this probability in 65536ths. `known` is the bit
    /// for who writes. Returns it.
    fn code(&mut self, probability: u32, known: u32) -> u32;
}

const CONTEXTS: usize = 7;
/// One of each context, one of the copy, and a constant.
const GUESSES: usize = CONTEXTS + 2;
const MIXERS: usize = 5;
/// Mixers are chosen by the bits of the byte and whether there is a copy, by the place
/// in an instruction, by each of the last two bytes, and by which contexts have often been seen:
/// where the sets of each begin.
const PLACES: usize = 16 * 8;
const BY_PLACE: usize = 2 * 256;
const BY_LAST: usize = BY_PLACE + PLACES;
const BY_LAST_BUT_ONE: usize = BY_LAST + 256;
const BY_OFTEN: usize = BY_LAST_BUT_ONE + 256;
const WEIGHT_SETS: usize = BY_OFTEN + (1 << CONTEXTS);
/// More often than this.
const OFTEN: u32 = 4;
/// What the constant guess is: the larger, the faster its weight follows.
const CONSTANT: i32 = 768;
/// How fast weights follow.
const MIXER_RATE: i32 = 8;
const LAST_MIXER_RATE: i32 = 2;

/// What a context has seen before a bit, in one number: the probability (16 bits), how
/// often (5), and whose it is (11).
type Slot = u32;
const COUNT_SHIFT: u32 = 11;
const COUNT_MASK: u32 = 31;
const MAX_COUNT: u32 = 20;
const OWNER_MASK: u32 = (1 << COUNT_SHIFT) - 1;
const NEW: Slot = 1 << 31;
/// Four MiB. Half of that makes the file larger by a 200th, and a quarter by a 60th.
const SLOTS_LOG2: u32 = 20;
/// Slots that a context may have, side by side. With two the file is larger by a 130th.
const WAYS: usize = 8;

/// A copy is looked for by its last bytes.
const COPY_BYTES: u64 = 3;
const COPIES: usize = 1 << 14;
const COPY_LENGTHS: usize = 32;

const HALF: u32 = 1 << 15;
const ONE: i32 = (1 << 16) - 1;
/// The probability of a bit at the least and, from one, at the most.
const LEAST: i32 = 24;

/// What is learned, little more than the slots. Nothing of it need be initialised.
#[repr(C)]
pub struct Memory {
    slots: [Slot; 1 << SLOTS_LOG2],
    /// Where bytes with this sum have ended.
    copies: [u32; COPIES],
    weights: [[i32; GUESSES]; WEIGHT_SETS],
    /// By the place in an instruction and the bits of the byte.
    last_weights: [[i32; MIXERS]; PLACES / 8 * 256],
    /// That the byte of a copy of this length goes on.
    lengths: [u16; COPY_LENGTHS],
    /// ln(p / (1 − p)) by the probability in 4096ths, and the other way round.
    logits: [i16; 4096],
    probabilities: [u16; 4096],
}

const _: () = assert!(size_of::<Memory>() <= 17 << 18);

/// How far a probability moves by the number of bits it has seen: 1/(1.2 + n).
const RATES: [u16; 32] = {
    let mut rates = [0; 32];
    let mut at = 0;
    while at < 32 {
        rates[at] = (5 * 65_536 / (5 * at + 6)) as u16;
        at += 1;
    }
    rates
};

impl Memory {
    #[inline(never)]
    fn clear(&mut self) {
        self.slots.fill(NEW);
        self.copies.fill(0);
        for set in &mut self.weights {
            set.fill(65_536 * 12 / 10 / GUESSES as i32);
        }
        for set in &mut self.last_weights {
            set.fill(65_536 / MIXERS as i32);
        }
        self.lengths.fill(HALF as u16);
        // The slope of p is p (1 − p), so that steps of a 256th lead from 1/2 upwards.
        let mut probability = 1 << 23;
        for at in 0..2048 {
            let rounded = (probability >> 8) as u16;
            self.probabilities[2048 + at] = rounded;
            self.probabilities[2048 - at] = rounded.wrapping_neg();
            // Of 16 bits each, which 32 hold.
            let (high, rest) = (probability >> 8, ((1 << 24) - probability) >> 8);
            probability += ((high * rest) >> 16).max(1);
        }
        self.probabilities[0] = self.probabilities[1];
        let mut filled = 0;
        for (at, &probability) in self.probabilities.iter().enumerate() {
            while filled <= usize::from(probability >> 4) {
                self.logits[filled & 4095] = at as i16 - 2048;
                filled += 1;
            }
        }
        while filled < 4096 {
            self.logits[filled] = 2047;
            filled += 1;
        }
    }

    fn logit(&self, probability: u32) -> i32 {
        i32::from(self.logits[probability as usize >> 4 & 4095])
    }

    fn probability(&self, logit: i32) -> i32 {
        i32::from(self.probabilities[(logit + 2048) as usize & 4095])
    }

    /// The slot of a context before a bit: the context's own, or else the one of several
    /// that has seen least, which is made its own.
    #[inline(never)]
    fn find(&mut self, sum: u32) -> usize {
        let sum = sum.wrapping_mul(0x85eb_ca6b);
        let sum = sum ^ sum >> 15;
        let owner = sum & OWNER_MASK;
        let first = (sum.wrapping_mul(0x9e37_79b1) >> (32 - SLOTS_LOG2)) as usize;
        let mut least = first;
        for at in (0..WAYS).map(|way| first ^ way) {
            if self.slots[at] & OWNER_MASK == owner {
                return at;
            }
            if count(self.slots[at]) < count(self.slots[least]) {
                least = at;
            }
        }
        self.slots[least] = NEW | owner;
        least
    }
}

/// Moves the probability of a copy towards whether that was right.
#[inline(never)]
fn learn_copy(probability: &mut u16, is_right: bool) {
    let target = if is_right { ONE } else { 0 };
    *probability = (i32::from(*probability) + ((target - i32::from(*probability)) >> 6)) as u16;
}

fn count(slot: Slot) -> u32 {
    slot >> COUNT_SHIFT & COUNT_MASK
}

fn learn_slot(slot: Slot, bit: u32) -> Slot {
    let count = count(slot);
    let probability = (slot >> 16) as i32;
    let target = -(bit as i32) & ONE;
    // The product of 17 and 16 bits with their sign.
    let rate = i32::from(RATES[count as usize]) >> 2;
    let moved = probability + (((target - probability) / 2 * rate) >> 13);
    (moved as u32) << 16 | (count + u32::from(count < MAX_COUNT)) << COUNT_SHIFT | slot & OWNER_MASK
}

#[inline(never)]
fn hash(first: u32, second: u32) -> u32 {
    (first.wrapping_mul(0x2c1b_3c6d) ^ second.wrapping_add(0x7feb_352d))
        .wrapping_mul(0x297a_2d39)
        .rotate_left(13)
        ^ first
}

/// What came before a byte.
#[derive(Default)]
struct Past {
    /// The last eight bytes, the last of all lowest.
    bytes: u64,
    /// A sum of the letters since there was something else.
    word: u32,
    instruction: Instruction,
    /// The opcodes of the last instructions, a byte each, and what operands the last had.
    opcodes: u32,
    last: u32,
}

impl Past {
    fn take(&mut self, byte: u8, code: Code) {
        self.bytes = self.bytes << 8 | u64::from(byte);
        let letters = self.word.wrapping_add(byte.into()).wrapping_mul(0x2f0b_4c47);
        self.word = if byte.is_ascii_alphabetic() { letters } else { 0 };
        if code == Code::Words {
            return;
        }
        if self.instruction.take(u32::from(byte), code == Code::X86Wide) {
            let Instruction { opcode, modrm, .. } = self.instruction;
            self.opcodes = self.opcodes << 8 | opcode & 0xff;
            self.last = opcode & 0x1ff | modrm << 16;
            self.instruction = Instruction::default();
        }
    }

    fn place(&self, at: usize, code: Code) -> u32 {
        if code == Code::Words { at as u32 & 3 } else { self.instruction.place() }
    }

    #[inline(never)]
    fn contexts(&self, at: usize, code: Code) -> [u32; CONTEXTS] {
        let low = self.bytes as u32;
        let place = self.place(at, code);
        let [a, b, c, d, e] = if code == Code::Words {
            // What the word has so far, with the words before.
            let word = hash(place, low & ((1 << (8 * place)) - 1));
            let before = (self.bytes >> (8 * place)) as u32;
            [
                word,
                hash(word, before),
                hash(word, before & 0xffff_0000),
                hash(word, before & 0xffff),
                hash(place, low & 0x00ff_ff00),
            ]
        } else {
            let Instruction { opcode, modrm, sib, operand, .. } = self.instruction;
            let whole = hash(hash(opcode, modrm << 8 | sib << 16 | place), operand);
            [
                hash(place, opcode & PLAIN),
                hash(whole, self.opcodes & 0xffff),
                hash(whole, self.last),
                hash(place, low & 0xff),
                hash(hash(place, operand), self.last & 0x1ff),
            ]
        };
        // Sentences: no code has as many letters in a row.
        let is_text = self.bytes.to_ne_bytes().iter().all(|byte| (b' '..=b'~').contains(byte));
        let mut contexts = if is_text {
            [low & 0xffff, self.word, low & 0x00ff_ffff, low, b, low & 0xff, 0]
        } else {
            [low & 0xffff, place, a, b, c, d, e]
        };
        let mut salt = 0u32;
        for context in &mut contexts {
            salt = salt.wrapping_add(0x9e37_79b1);
            *context = hash(*context, salt);
        }
        contexts
    }
}

/// Goes through all of the image, which who writes has and who reads fills.
#[inline(never)]
pub fn code(image: &mut [u8], bits: &mut impl Bits, memory: &mut Memory, code: Code) {
    memory.clear();
    let mut past = Past::default();
    // Where the copy goes on, and how long it is so far, none at 0.
    let (mut source, mut length) = (0, 0);
    for at in 0..image.len() {
        let contexts = past.contexts(at, code);
        let place = past.place(at, code) as usize;
        let byte_at = |at: usize| image.get(at).copied().unwrap_or(0);
        // The end of the last bytes.
        let sum = (past.bytes << (64 - 8 * COPY_BYTES)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
        let copy = &mut memory.copies[sum as usize % COPIES];
        if length == 0 {
            source = *copy as usize;
            while length < COPY_LENGTHS
                && length < source
                && byte_at(source - 1 - length) == byte_at(at - 1 - length)
            {
                length += 1;
            }
            if length < COPY_BYTES as usize {
                length = 0;
            }
        }
        *copy = at as u32;
        let copied = u32::from(byte_at(source)) | 256;
        let known = u32::from(byte_at(at));
        let mut node = 1;
        for bit_at in (0..8).rev() {
            // The copy counts as long as it has foretold the byte.
            let is_copy = length > 0 && copied >> (bit_at + 1) == node;
            let length_known = length.min(COPY_LENGTHS - 1);
            let expected = copied >> bit_at & 1;
            let mut guesses = [0; GUESSES];
            let mut found = [0; CONTEXTS];
            let mut often = 0;
            for which in 0..CONTEXTS {
                let slot_at = memory.find(contexts[which].wrapping_add(node.wrapping_mul(0x9e37_79b1)));
                found[which] = slot_at;
                let slot = memory.slots[slot_at];
                guesses[which] = memory.logit(slot >> 16);
                often = often << 1 | usize::from(count(slot) > OFTEN);
            }
            if is_copy {
                let sign = 2 * expected as i32 - 1;
                guesses[CONTEXTS] = memory.logit(memory.lengths[length_known].into()) * sign;
            }
            guesses[CONTEXTS + 1] = CONSTANT;
            let sets = [
                node as usize | usize::from(is_copy) << 8,
                BY_PLACE + place * 8 + bit_at,
                BY_LAST + (past.bytes as usize & 255),
                BY_LAST_BUT_ONE + (past.bytes as usize >> 8 & 255),
                BY_OFTEN + often,
            ];
            let mut mixed = [0; MIXERS];
            for (mixed, set) in mixed.iter_mut().zip(sets) {
                *mixed = mix(&memory.weights[set], &guesses);
            }
            let last = mix(&memory.last_weights[place * 256 + node as usize], &mixed);
            let probability = memory.probability(last);
            let bit = bits.code(probability.clamp(LEAST, ONE - LEAST) as u32, known >> bit_at & 1);

            let target = (bit as i32) << 16;
            for (&mixed, set) in mixed.iter().zip(sets) {
                let error = target - memory.probability(mixed);
                follow(&mut memory.weights[set], &guesses, error * MIXER_RATE, 16);
            }
            let error = target - probability;
            follow(
                &mut memory.last_weights[place * 256 + node as usize],
                &mixed,
                error * LAST_MIXER_RATE,
                18,
            );
            for slot_at in found {
                let slot = &mut memory.slots[slot_at];
                *slot = learn_slot(*slot, bit);
            }
            if is_copy {
                learn_copy(&mut memory.lengths[length_known], bit == expected);
            }
            node = node << 1 | bit;
        }
        let byte = node as u8;
        if let Some(place) = image.get_mut(at) {
            *place = byte;
        }
        past.take(byte, code);
        if length > 0 {
            length = if copied as u8 == byte { length + 1 } else { 0 };
            source += 1;
        }
    }
}

/// The sum of the guesses with these weights, of 65536ths.
fn mix(weights: &[i32], guesses: &[i32]) -> i32 {
    let mut sum = 0;
    for (&weight, &guess) in weights.iter().zip(guesses) {
        sum += i64::from(weight) * i64::from(guess);
    }
    (sum >> 16).clamp(-2047, 2047) as i32
}

fn follow(weights: &mut [i32], guesses: &[i32], error: i32, shift: u32) {
    for (weight, &guess) in weights.iter_mut().zip(guesses) {
        *weight = weight.wrapping_add((guess * error + (1 << 15)) >> shift);
    }
}

/// The stream is a number, of which each bit tells in which part of a range it lies. Both
/// ends are included, and where they agree in their highest byte, that is done with.
pub struct Decoder<'a> {
    stream: &'a [u8],
    low: u32,
    high: u32,
    number: u32,
}

/// Where 1 ends and 0 begins behind it.
pub fn divide(low: u32, high: u32, probability: u32) -> u32 {
    let range = high - low;
    low + (range >> 16) * probability + (((range & 0xffff) * probability) >> 16)
}

impl<'a> Decoder<'a> {
    fn new(stream: &'a [u8]) -> Self {
        let mut decoder = Self { stream, low: 0, high: u32::MAX, number: 0 };
        for _ in 0..4 {
            decoder.read();
        }
        decoder
    }

    /// Behind the stream are zeros.
    fn read(&mut self) {
        let mut byte = 0;
        if let [first, rest @ ..] = self.stream {
            byte = *first;
            self.stream = rest;
        }
        self.number = self.number << 8 | u32::from(byte);
    }
}

impl Bits for Decoder<'_> {
    fn code(&mut self, probability: u32, _: u32) -> u32 {
        let end = divide(self.low, self.high, probability);
        let bit = u32::from(self.number <= end);
        if bit == 1 {
            self.high = end;
        } else {
            self.low = end + 1;
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
            self.read();
        }
        bit
    }
}

/// Fills the image from the stream, whatever that is, and writes nowhere else.
pub fn decode(stream: &[u8], image: &mut [u8], memory: &mut Memory, whose: Code) {
    code(image, &mut Decoder::new(stream), memory, whose);
}
