//! Packs the program, as a part of the build script: what [`main.rs`](../main.rs)
//! is compiled with, and where the linker puts it. Addresses, upwards:
//!
//! | what | mapped from | afterwards |
//! |---|---|---|
//! | the program, as its file says | memory, which the loader fills | stays |
//! | … its section of start-up, the last | the same | unmapped |
//! | what the decoder learns in, 4 MiB | memory | unmapped |
//! | the loader and the packed program | the file | unmapped |
//!
//! The program unmaps all of it from its section of start-up on when its loop begins.
//! The loader tells it where that ends.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

#[path = "branches.rs"]
pub mod branches;
#[path = "model.rs"]
pub mod model;
#[path = "x86.rs"]
pub mod x86;

use model::{Bits, Code, Memory};

/// Writes `packed.rs` and `loader.ld` to `out` for the program in this file.
pub fn prepare(out: &Path, program: &Path, code: Code) -> Result<(), String> {
    let file = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let program = Program::parse(&file).ok_or("not a program that can be packed")?;
    let stream = pack(&program.image, code)?;
    fs::write(out.join("packed.stream"), &stream).map_err(|error| error.to_string())?;
    fs::write(out.join("packed.rs"), program.source(stream.len())).map_err(|error| error.to_string())?;
    fs::write(out.join("loader.ld"), program.linker_script()).map_err(|error| error.to_string())
}

/// A program's file as far as the kernel reads it.
pub struct Program {
    pub entry: u64,
    /// Where the file's table of segments comes to lie, and how many it has.
    pub headers: u64,
    pub header_count: u64,
    pub segments: Vec<Segment>,
    /// Of its segments, in bytes.
    alignment: u64,
    /// Its memory from the first byte to the last that is not zero.
    pub image: Vec<u8>,
}

pub struct Segment {
    pub start: u64,
    pub end: u64,
    pub rights: u64,
}

const PT_LOAD: u64 = 1;
const ET_EXEC: u64 = 2;

impl Program {
    /// Reads elf(5) of either size and byte order.
    pub fn parse(file: &[u8]) -> Option<Self> {
        let is_wide = *file.get(4)? == 2;
        let is_big = *file.get(5)? == 2;
        let number = |at: u64, len: usize| -> Option<u64> {
            let at = usize::try_from(at).ok()?;
            let bytes = file.get(at..at + len)?;
            let push = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
            Some(if is_big { bytes.iter().fold(0, push) } else { bytes.iter().rev().fold(0, push) })
        };
        let word = if is_wide { 8 } else { 4 };
        if file.get(..4)? != b"\x7fELF" || number(16, 2)? != ET_EXEC {
            return None;
        }
        let headers_offset = number(24 + word as u64, word)?;
        let (header_len, header_count) =
            if is_wide { (number(54, 2)?, number(56, 2)?) } else { (number(42, 2)?, number(44, 2)?) };
        // Where a header has rights, offset, address, length in the file, length
        // in memory, alignment.
        let fields: [u64; 6] = if is_wide { [4, 8, 16, 32, 40, 48] } else { [24, 4, 8, 16, 20, 28] };
        let mut program = Self {
            entry: number(24, word)?,
            headers: 0,
            header_count,
            segments: Vec::new(),
            alignment: 0,
            image: Vec::new(),
        };
        for header in (0..header_count).map(|at| headers_offset + at * header_len) {
            if number(header, 4)? != PT_LOAD {
                continue;
            }
            let field = |at: usize, len| number(header + fields[at], len);
            let (rights, offset, start) = (field(0, 4)?, field(1, word)?, field(2, word)?);
            let (file_len, len, alignment) = (field(3, word)?, field(4, word)?, field(5, word)?);
            if (offset..offset + file_len).contains(&headers_offset) {
                program.headers = start + headers_offset - offset;
            }
            // PF_X, PF_W and PF_R are PROT_EXEC, PROT_WRITE and PROT_READ the other way round.
            let rights = rights >> 2 & 1 | rights & 2 | (rights & 1) << 2;
            program.segments.push(Segment { start, end: start + len, rights });
            program.alignment = program.alignment.max(alignment);
            let at = usize::try_from(start.checked_sub(program.start())?).ok()?;
            let bytes = file.get(usize::try_from(offset).ok()?..usize::try_from(offset + file_len).ok()?)?;
            if at < program.image.len() {
                return None;
            }
            program.image.resize(at, 0);
            program.image.extend(bytes);
        }
        // Rights are given by whole pages, and the loader gives none to write only.
        let is_plain = |segment: &Segment| segment.rights != 2 && segment.rights & 6 != 6;
        let is_packable = program.headers != 0
            && program.start().is_multiple_of(program.alignment)
            && program.segments.iter().all(is_plain)
            && program
                .segments
                .windows(2)
                .all(|pair| pair[0].end <= pair[1].start / program.alignment * program.alignment);
        is_packable.then_some(program)
    }

    /// The first address.
    fn start(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.start)
    }

    /// Where the loader has its memory.
    pub fn memory(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end).next_multiple_of(self.alignment)
    }

    /// Rust source for the loader.
    pub fn source(&self, stream_len: usize) -> String {
        let Self { entry, headers, header_count, .. } = self;
        let (start, len, count) = (self.start(), self.image.len(), self.segments.len());
        let (memory, memory_len) = (self.memory(), size_of::<Memory>());
        let mut source = format!(
            "/// The last of the loader's file.
#[unsafe(link_section = \".stream\")]
pub static STREAM: [u8; {stream_len}] = *include_bytes!(\"packed.stream\");
/// Where the program goes, and how many bytes it has.
pub const START: usize = {start:#x};
pub const LEN: usize = {len};
/// What the decoder learns in.
pub const MEMORY: usize = {memory:#x};
pub const MEMORY_LEN: usize = {memory_len};
pub const ENTRY: usize = {entry:#x};
/// Where its table of segments comes to lie.
pub const HEADERS: usize = {headers:#x};
pub const HEADER_COUNT: usize = {header_count};
pub const SEGMENTS: [Segment; {count}] = [
"
        );
        for Segment { start, end, rights } in &self.segments {
            let _ = writeln!(source, "    Segment {{ start: {start:#x}, end: {end:#x}, rights: {rights} }},");
        }
        source + "];\n"
    }

    /// Where the linker puts the loader: behind what it fills, without a gap between, and
    /// in the file from the first byte on. Nothing is linked but what is named.
    pub fn linker_script(&self) -> String {
        let (start, alignment) = (self.start(), self.alignment);
        let filled = self.memory() - start + size_of::<Memory>() as u64;
        format!(
            "ENTRY(load)
PHDRS {{
  program PT_LOAD FLAGS(6);
  loader PT_LOAD FLAGS(5);
  stack PT_GNU_STACK FLAGS(6);
}}
SECTIONS {{
  . = {start:#x};
  .program (NOLOAD) : {{ . += {filled}; . = ALIGN({alignment}); }} :program
  . += SIZEOF_HEADERS;
  .loader : {{ *(.text.load) *(.text .text.*) *(.rodata .rodata.*) *(.stream) }} :loader
  /DISCARD/ : {{ *(*) }}
}}
"
        )
    }
}

/// The image as the loader can unpack it, which is tried.
fn pack(image: &[u8], code: Code) -> Result<Vec<u8>, String> {
    let mut changed = image.to_vec();
    if code != Code::Words {
        branches::make_absolute(&mut changed);
    }
    let stream = encode(&changed, code);
    let mut unpacked = vec![0; image.len()];
    model::decode(&stream, &mut unpacked, &mut memory(), code);
    if code != Code::Words {
        branches::make_relative(&mut unpacked);
    }
    if unpacked != image {
        return Err("what was packed unpacks to something else".to_owned());
    }
    Ok(stream)
}

/// What the model learns in.
pub fn memory() -> Box<Memory> {
    let mut memory = Box::<Memory>::new_uninit();
    // SAFETY: it consists of numbers, which may be zero.
    unsafe {
        memory.as_mut_ptr().write_bytes(0, 1);
        memory.assume_init()
    }
}

/// The stream of which the loader makes these bytes.
pub fn encode(bytes: &[u8], code: Code) -> Vec<u8> {
    let mut encoder = Encoder { stream: Vec::new(), low: 0, high: u32::MAX };
    model::code(&mut bytes.to_vec(), &mut encoder, &mut memory(), code);
    encoder.finish()
}

/// Writes what the loader's decoder reads.
struct Encoder {
    stream: Vec<u8>,
    low: u32,
    high: u32,
}

impl Bits for Encoder {
    fn code(&mut self, probability: u32, known: u32) -> u32 {
        let end = model::divide(self.low, self.high, probability);
        if known == 1 {
            self.high = end;
        } else {
            self.low = end + 1;
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.stream.push((self.low >> 24) as u8);
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
        known
    }
}

impl Encoder {
    /// The shortest number within what is left of the range: zeros follow by themselves.
    fn finish(mut self) -> Vec<u8> {
        if self.low > 0 {
            // Not above the other end, which differs in this byte.
            self.stream.push((self.low >> 24) as u8 + 1);
        }
        while self.stream.last() == Some(&0) {
            self.stream.pop();
        }
        self.stream
    }
}
