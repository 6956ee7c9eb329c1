//! The loader's decoder and its filter.

use crate::harness::skip;
use crate::pack::model::{Code, decode};
use crate::pack::{branches, encode, memory};
use proptest::collection::vec;
use proptest::prelude::*;

const CODES: [Code; 3] = [Code::X86, Code::X86Wide, Code::Words];

/// Packs, and unpacks with the loader's decoder, into memory that is not clean.
fn assert_survives(plain: &[u8], code: Code) -> usize {
    let stream = encode(plain, code);
    let mut unpacked = vec![0xaa; plain.len()];
    let mut memory = memory();
    decode(b"something else", &mut [0; 99], &mut memory, code);
    decode(&stream, &mut unpacked, &mut memory, code);
    assert!(unpacked == plain, "{} bytes of {code:?} unpack to others", plain.len());
    stream.len()
}

/// Numbers that look random and are the same each time.
fn noise(len: usize, mut seed: u32) -> Vec<u8> {
    let step = |_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    (0..len).map(step).collect()
}

#[test]
fn decodes_what_is_packed() {
    let block = noise(2000, 1);
    let far = |distance: usize| [&block[..], &vec![7; distance], &block[..]].concat();
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let code_at = program.len() / 2;
    let samples = [
        vec![],
        vec![0],
        vec![255; 2],
        vec![0; 30_000],
        vec![255; 5_000],
        block.clone(),
        far(1),
        far(3000),
        (0..9_000_u32).map(|at| if at % 97 == 0 { (at >> 3) as u8 } else { (at % 23) as u8 }).collect(),
        (0..9_000_u32).map(|at| block[(at % 1000 + at / 1000 % 3 * 7) as usize]).collect(),
        program[..60_000].to_vec(),
        program[code_at..code_at + 60_000].to_vec(),
    ];
    for sample in &samples {
        for code in CODES {
            let packed = assert_survives(sample, code);
            // What cannot be packed grows by little.
            assert!(packed <= sample.len() + sample.len() / 32 + 8, "{packed} of {}", sample.len());
        }
    }
    // What repeats is all but free.
    assert!(encode(&samples[3], Code::Words).len() < 100);
    assert!(encode(&far(1), Code::Words).len() < block.len() + block.len() / 16);
}

/// The program itself, of which each byte counts.
#[test]
fn decodes_the_static_file() {
    let Some(path) = std::env::var_os("BUSTD_STATIC").map(std::path::PathBuf::from) else {
        return skip("no BUSTD_STATIC (make check-static)");
    };
    let plain = std::fs::read(path.with_extension("plain")).unwrap();
    for code in CODES {
        assert!(assert_survives(&plain, code) < plain.len() / 2);
    }
}

#[test]
fn a_damaged_stream_fills_the_image_and_no_more() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let plain = &program[..4000];
    let stream = encode(plain, Code::X86Wide);
    let mut memory = memory();
    let mut damaged = vec![Vec::new(), vec![0; 100], vec![255; 5000], noise(5000, 2), stream[..99].to_vec()];
    for at in (0..stream.len()).step_by(97) {
        let mut other = stream.clone();
        other[at] ^= 1 << (at % 8);
        damaged.push(other);
    }
    for stream in damaged {
        let mut all = vec![0x55; plain.len() + 200];
        let end = plain.len() + 100;
        decode(&stream, &mut all[100..end], &mut memory, Code::X86Wide);
        assert!(all[..100].iter().chain(&all[end..]).all(|&byte| byte == 0x55));
    }
}

/// A piece of a file: noise, one byte again and again, or a copy of what was before.
#[derive(Clone, Debug)]
enum Piece {
    Noise(u32, usize),
    Run(u8, usize),
    Copy(usize, usize),
}

fn build(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match *piece {
            Piece::Noise(seed, len) => bytes.extend(noise(len, seed)),
            Piece::Run(byte, len) => bytes.extend(vec![byte; len]),
            Piece::Copy(back, len) => {
                let back = 1 + back % bytes.len().max(1);
                for _ in 0..len {
                    bytes.push(bytes.len().checked_sub(back).map_or(0, |at| bytes[at]));
                }
            }
        }
    }
    bytes
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        (any::<u32>(), 1..40_usize).prop_map(|(seed, len)| Piece::Noise(seed, len)),
        (any::<u8>(), 1..400_usize).prop_map(|(byte, len)| Piece::Run(byte, len)),
        (0..20_000_usize, 1..400_usize).prop_map(|(back, len)| Piece::Copy(back, len)),
        (0..5_usize, 1..6_usize).prop_map(|(back, len)| Piece::Copy(back, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decodes_whatever_is_packed(pieces in vec(piece(), 0..100)) {
        assert_survives(&build(&pieces), CODES[pieces.len() % 3]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of bytes that are often opcodes and highest bytes of operands.
    #[test]
    fn branches_come_back(
        bytes in vec(prop_oneof![
            Just(0xe8), Just(0xe9), Just(0x0f), Just(0x85), Just(0), Just(0xff), any::<u8>(),
        ], 0..200),
    ) {
        let mut changed = bytes.clone();
        branches::make_absolute(&mut changed);
        branches::make_relative(&mut changed);
        prop_assert_eq!(changed, bytes);
    }
}

#[test]
fn calls_of_one_function_become_the_same() {
    // call 100; nop; jne 100; jmp 100; and, out of reach, a call that stays.
    let mut code = Vec::from([0xe8, 95, 0, 0, 0, 0x90, 0x0f, 0x85, 88, 0, 0, 0, 0xe9, 83, 0, 0, 0]);
    code.extend([0xe8, 1, 2, 3, 4, 0x90, 0x90]);
    branches::make_absolute(&mut code);
    assert_eq!(code[1..5], [100, 0, 0, 0]);
    assert_eq!(code[8..12], [100, 0, 0, 0]);
    assert_eq!(code[13..17], [100, 0, 0, 0]);
    assert_eq!(code[18..22], [1, 2, 3, 4]);
}
