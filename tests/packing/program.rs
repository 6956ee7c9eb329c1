//! What the packer makes of a program's file.

use crate::pack::model::{Code, Memory, decode};
use crate::pack::{Program, branches, memory, prepare};
use std::fs;
use std::path::PathBuf;

/// A header of a segment as the file has it: type, rights, offset, address, length in
/// the file, in memory.
struct Header(u32, u32, u64, u64, u64, u64);

/// A file with these segments, all of whose bytes are 1, for a machine of this kind.
fn file_of(is_wide: bool, is_big: bool, kind: u16, headers: &[Header]) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(is_wide), 1 + u8::from(is_big), 1];
    file.resize(16, 0);
    let number = |file: &mut Vec<u8>, value: u64, len: usize| {
        let bytes = value.to_le_bytes();
        if is_big { file.extend(bytes[..len].iter().rev()) } else { file.extend(&bytes[..len]) }
    };
    let word = if is_wide { 8 } else { 4 };
    let header_len = if is_wide { 64 } else { 52 };
    for (value, len) in [(kind.into(), 2), (62, 2), (1, 4), (0x40_1234, word), (header_len, word), (0, word)]
    {
        number(&mut file, value, len);
    }
    let segment_len = if is_wide { 56 } else { 32 };
    for (value, len) in
        [(0, 4), (header_len, 2), (segment_len, 2), (headers.len() as u64, 2), (0, 2), (0, 2), (0, 2)]
    {
        number(&mut file, value, len);
    }
    for &Header(kind, rights, offset, start, file_len, len) in headers {
        number(&mut file, kind.into(), 4);
        if is_wide {
            number(&mut file, rights.into(), 4);
        }
        for value in [offset, start, start, file_len, len] {
            number(&mut file, value, word);
        }
        if !is_wide {
            number(&mut file, rights.into(), 4);
        }
        number(&mut file, 0x1000, word);
    }
    file.resize(4096, 1);
    file
}

const PT_LOAD: u32 = 1;
const PT_GNU_STACK: u32 = 0x6474_e551;
const ET_EXEC: u16 = 2;

fn three_segments() -> [Header; 4] {
    [
        Header(PT_LOAD, 5, 0, 0x40_0000, 0x300, 0x300),
        Header(PT_LOAD, 6, 0x300, 0x40_1300, 0x10, 0x80),
        Header(PT_LOAD, 5, 0x310, 0x40_2310, 0x100, 0x100),
        Header(PT_GNU_STACK, 6, 0, 0, 0, 0),
    ]
}

#[test]
fn reads_files_of_all_kinds_of_machines() {
    for (is_wide, is_big) in [(false, false), (false, true), (true, false), (true, true)] {
        let file = file_of(is_wide, is_big, ET_EXEC, &three_segments());
        let program = Program::parse(&file).expect("a program");
        assert_eq!((program.entry, program.header_count), (0x40_1234, 4));
        assert_eq!(program.headers, 0x40_0000 + if is_wide { 64 } else { 52 });
        let segments: Vec<_> =
            program.segments.iter().map(|segment| (segment.start, segment.end, segment.rights)).collect();
        // PROT_READ | PROT_EXEC and PROT_READ | PROT_WRITE.
        assert_eq!(
            segments,
            [(0x40_0000, 0x40_0300, 5), (0x40_1300, 0x40_1380, 3), (0x40_2310, 0x40_2410, 5)]
        );
        assert_eq!(program.image.len(), 0x2410);
        assert_eq!(program.image[..0x300], file[..0x300]);
        assert_eq!(program.image[0x300..0x1300], [0; 0x1000]);
        assert_eq!(program.image[0x1300..0x1310], file[0x300..0x310]);
        assert_eq!(program.image[0x1310..0x2310], [0; 0x1000]);
        assert_eq!(program.image[0x2310..], file[0x310..0x410]);
        assert_eq!(program.memory(), 0x40_3000);
    }
}

#[test]
fn refuses_what_it_cannot_lay_out() {
    let parse = |kind, headers: &[Header]| Program::parse(&file_of(true, false, kind, headers)).is_some();
    assert!(parse(ET_EXEC, &three_segments()));
    assert!(!parse(3, &three_segments()), "one that the kernel places where it likes");
    let with = |at: usize, header| {
        let mut headers = three_segments();
        headers[at] = header;
        headers
    };
    let both = Header(PT_LOAD, 7, 0x300, 0x40_1300, 0x10, 0x80);
    assert!(!parse(ET_EXEC, &with(1, both)), "writable and executable");
    let same_page = Header(PT_LOAD, 6, 0x300, 0x40_0300, 0x10, 0x80);
    assert!(!parse(ET_EXEC, &with(1, same_page)), "two segments on a page");
    let beyond = Header(PT_LOAD, 5, 0x310, 0x40_2310, 0x1000, 0x1000);
    assert!(!parse(ET_EXEC, &with(2, beyond)), "a segment longer than the file");
    let backwards = Header(PT_LOAD, 5, 0x310, 0x30_2310, 0x100, 0x100);
    assert!(!parse(ET_EXEC, &with(2, backwards)), "segments out of order");
    assert!(!parse(ET_EXEC, &[]), "no segments");
    assert!(Program::parse(b"\x7fELF").is_none());
    assert!(Program::parse(b"#!/bin/sh\n").is_none());
}

#[test]
fn the_memory_lies_behind_the_program() {
    let program = Program::parse(&file_of(true, false, ET_EXEC, &three_segments())).unwrap();
    let script = program.linker_script();
    let filled = 0x3000 + size_of::<Memory>();
    assert!(script.contains(&format!(". += {filled};")), "{script}");
    assert!(program.source(77).contains("STREAM: [u8; 77]"));
}

#[test]
fn what_is_packed_unpacks_to_the_image() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("packed");
    fs::create_dir_all(&dir).unwrap();
    let mut file = file_of(true, false, ET_EXEC, &three_segments());
    // A call, which is changed only for machines that have it.
    file[0x200..0x205].copy_from_slice(&[0xe8, 1, 0, 0, 0]);
    fs::write(dir.join("program"), &file).unwrap();
    let image = Program::parse(&file).unwrap().image;
    for code in [Code::Words, Code::X86, Code::X86Wide] {
        let is_x86 = code != Code::Words;
        prepare(&dir, &dir.join("program"), code).unwrap();
        let stream = fs::read(dir.join("packed.stream")).unwrap();
        let mut unpacked = vec![0; image.len()];
        decode(&stream, &mut unpacked, &mut memory(), code);
        assert_eq!(unpacked[0x200..0x205] == file[0x200..0x205], !is_x86);
        if is_x86 {
            branches::make_relative(&mut unpacked);
        }
        assert!(unpacked == image);
    }
    fs::write(dir.join("program"), "no program").unwrap();
    assert!(prepare(&dir, &dir.join("program"), Code::X86).is_err());
    assert!(prepare(&dir, &dir.join("none"), Code::X86).is_err());
}
