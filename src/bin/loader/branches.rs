//! Code of x86 says how far its calls and jumps go, so that two calls of one function
//! differ. Before the program is packed, they are made to say where they go instead,
//! which is the same for both and packs better, by a twentieth.

/// Distances count from behind the operand. All of a small program is within sixteen
/// MiB, so that the highest byte of an operand is 0 or, backwards, 255; the sum is
/// taken of the 25 bits below, and the highest byte stays one of the two.
const SIGN_BITS: u32 = 32 - 25;
const OPERAND_LEN: usize = 4;

/// Has calls and jumps say where they go, from the beginning of the image.
#[allow(dead_code, reason = "the build script's half")]
pub fn make_absolute(image: &mut [u8]) {
    change_operands(image, i32::wrapping_add);
}

/// Has them say how far they go.
pub fn make_relative(image: &mut [u8]) {
    change_operands(image, i32::wrapping_sub);
}

/// Changes what looks like the operand of a call, a jump or a conditional jump. What
/// is none is changed as well, and changed back: both directions find the same ones,
/// since an operand is never looked at as anything else, whether it is changed or not.
fn change_operands(image: &mut [u8], change: fn(i32, i32) -> i32) {
    let mut at = 0;
    while at + 2 + OPERAND_LEN <= image.len() {
        let opcode_len = match (image[at], image[at + 1]) {
            (0xe8 | 0xe9, _) => 1,
            (0x0f, 0x80..=0x8f) => 2,
            _ => 0,
        };
        at += opcode_len;
        if opcode_len == 0 {
            at += 1;
            continue;
        }
        let end = at + OPERAND_LEN;
        let bytes = [image[at], image[at + 1], image[at + 2], image[at + 3]];
        if matches!(bytes[3], 0 | 0xff) {
            let changed = change(i32::from_le_bytes(bytes), end as i32) << SIGN_BITS >> SIGN_BITS;
            image[at..end].copy_from_slice(&changed.to_le_bytes());
        }
        at = end;
    }
}
