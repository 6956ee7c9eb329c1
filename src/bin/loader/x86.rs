//! Reads code of x86 byte by byte, as far as it takes to know what the next byte is: an
//! opcode, what says where operands are, or the how-manieth byte of which operand. What
//! is no code is read as well; the reader is soon in step again with code behind it. It
//! need not know every instruction: one that it takes for another packs worse, no more.

/// What the next byte is.
const OPCODE: u32 = 0;
const SECOND_OPCODE: u32 = 1;
const MODRM: u32 = 2;
const SIB: u32 = 3;
const OPERAND: u32 = 4;

/// An opcode of two bytes.
const IS_SECOND: u32 = 1 << 8;
/// Prefixes: the operand has two bytes, or others of the old ones.
const SHORT: u32 = 1 << 9;
const OLD: u32 = 1 << 10;
/// REX, and its four bits, of which the highest means operands of eight bytes.
const REX: u32 = 1 << 13;
const REX_SHIFT: u32 = 14;
const WIDE: u32 = 8 << REX_SHIFT;
/// Without these four bits.
pub const PLAIN: u32 = (1 << REX_SHIFT) - 1;

/// What follows an opcode: a constant of a word, which prefixes make shorter or longer,
/// or of a byte; and what says where operands are.
const WORD: u8 = 4;
const BYTE: u8 = 1;
const CONSTANT: u8 = WORD | BYTE;
const HAS_MODRM: u8 = 8;

/// That of each opcode of one byte, two in a byte.
const TRAITS: [u8; 128] = {
    let mut traits = [0; 128];
    let mut opcode = 0;
    while opcode < 256 {
        let constant = match opcode {
            0x68 | 0x69 | 0x81 | 0xa9 | 0xc7 | 0xb8..=0xbf | 0xe8 | 0xe9 => WORD,
            0x6a | 0x6b | 0x70..=0x80 | 0x83 | 0xa8 | 0xb0..=0xb7 | 0xc0 | 0xc1 | 0xc6 | 0xeb => BYTE,
            0..=0x3f if opcode & 7 == 5 => WORD,
            0..=0x3f if opcode & 7 == 4 => BYTE,
            _ => 0,
        };
        let modrm = match opcode {
            0..=0x3f if opcode & 4 == 0 => HAS_MODRM,
            0x63 | 0x69 | 0x6b | 0x80..=0x8f | 0xc0 | 0xc1 | 0xc6 | 0xc7 => HAS_MODRM,
            0xd0..=0xd3 | 0xd8..=0xdf | 0xf6 | 0xf7 | 0xfe | 0xff => HAS_MODRM,
            _ => 0,
        };
        traits[opcode / 2] |= (constant | modrm) << (opcode % 2 * 4);
        opcode += 1;
    }
    traits
};

#[derive(Clone, Copy, Default)]
pub struct Instruction {
    next: u32,
    /// The opcode and its prefixes.
    pub opcode: u32,
    pub modrm: u32,
    pub sib: u32,
    /// How many bytes the address within the instruction has, and the constant.
    address_len: u32,
    constant_len: u32,
    /// The operand that is being read: how many bytes are left, and those before.
    left: u32,
    pub operand: u32,
}

impl Instruction {
    /// What the next byte is, below sixteen.
    pub fn place(&self) -> u32 {
        match self.next {
            OPERAND => (self.left & 3) + if self.address_len > 0 { 8 } else { 12 },
            next => next,
        }
    }

    /// Takes the next byte; returns whether it was the last of the instruction.
    #[inline(never)]
    pub fn take(&mut self, byte: u32, is_wide: bool) -> bool {
        match self.next {
            OPCODE => {
                if is_wide && byte & 0xf0 == 0x40 {
                    self.opcode |= REX | (byte & 15) << REX_SHIFT;
                    return false;
                }
                match byte {
                    0x66 => self.opcode |= SHORT,
                    0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => self.opcode |= OLD << (byte & 1),
                    0x0f => self.next = SECOND_OPCODE,
                    _ => {
                        let traits = TRAITS[byte as usize / 2] >> ((byte & 1) * 4);
                        self.constant_len = match traits & CONSTANT {
                            WORD if self.opcode & SHORT != 0 => 2,
                            WORD if self.opcode & WIDE != 0 && byte & 0xf8 == 0xb8 => 8,
                            WORD => 4,
                            short => short.into(),
                        };
                        self.opcode |= byte;
                        return self.go_on(traits & HAS_MODRM != 0);
                    }
                }
                return false;
            }
            SECOND_OPCODE => {
                self.constant_len = match byte {
                    0x80..=0x8f => 4,
                    0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => 1,
                    _ => 0,
                };
                self.opcode |= byte | IS_SECOND;
                return self.go_on(!matches!(byte, 0x05 | 0x0b | 0x31 | 0x80..=0x8f | 0xa2 | 0xc8..=0xcf));
            }
            MODRM => {
                self.modrm = byte;
                // test with a constant, among others without.
                if byte & 0x30 == 0 && self.opcode & (IS_SECOND | 0xfe) == 0xf6 {
                    self.constant_len = if self.opcode & 1 != 0 { 4 } else { 1 };
                }
                self.address_len = match byte >> 6 {
                    0 if byte & 7 == 5 => 4,
                    1 => 1,
                    2 => 4,
                    _ => 0,
                };
                if byte < 0xc0 && byte & 7 == 4 {
                    self.next = SIB;
                    return false;
                }
            }
            SIB => {
                self.sib = byte;
                if self.modrm < 0x40 && byte & 7 == 5 {
                    self.address_len = 4;
                }
            }
            _ => {
                self.operand = self.operand << 8 | byte;
                self.left -= 1;
                if self.left > 0 {
                    return false;
                }
                self.operand = 0;
                if self.address_len == 0 {
                    return true;
                }
                self.address_len = 0;
            }
        }
        self.next = OPERAND;
        self.left = if self.address_len > 0 { self.address_len } else { self.constant_len };
        self.left == 0
    }

    fn go_on(&mut self, has_modrm: bool) -> bool {
        self.next = if has_modrm { MODRM } else { OPERAND };
        self.left = self.constant_len;
        !has_modrm && self.left == 0
    }
}
