//! Unpacks the program and hands over to it.

use crate::machine::call;
use crate::model::{Code, Memory, decode};
use crate::{branches, machine};

/// The packed program, and what the loader has to know of it.
mod packed {
    use super::Segment;
    include!(concat!(env!("OUT_DIR"), "/packed.rs"));
}

/// A part of the program, which the kernel would map in one piece.
struct Segment {
    start: usize,
    end: usize,
    /// As mprotect(2) takes them.
    rights: usize,
}

const CODE: Code = if cfg!(target_arch = "x86_64") {
    Code::X86Wide
} else if cfg!(target_arch = "x86") {
    Code::X86
} else {
    Code::Words
};

const READ: usize = 1;
const EXECUTE: usize = 4;
/// MAP_PRIVATE and MAP_FIXED.
const IN_PLACE: usize = 0x02 | 0x10;
const CLOSE_ON_EXEC: usize = 1;
/// SIG_BLOCK, and the length of a set of signals.
const BLOCK: usize = if cfg!(target_arch = "mips") { 1 } else { 0 };
const SIGNALS_LEN: usize = if cfg!(target_arch = "mips") { 16 } else { 8 };
/// No program is to be started from it, which `vm.memfd_noexec` may ask for, and which
/// is not about mapping code. Kernels before 6.3 do not know it.
const NO_PROGRAM: usize = 8;

/// Kinds of entries that the kernel puts on the stack behind arguments and environment,
/// as getauxval(3) knows them.
const AT_NULL: usize = 0;
const AT_PHDR: usize = 3;
const AT_PHNUM: usize = 5;
const AT_PAGESZ: usize = 6;
const AT_BASE: usize = 7;
/// Of which there are none on any of these machines.
const AT_FLAGS: usize = 8;
const AT_ENTRY: usize = 9;

const COMPLAINT: &[u8] =
    b"bustd: this system lets no program unpack itself; use one that is built with PACK=no make static\n";

/// Unpacks the program and returns where it is to be entered.
///
/// # Safety
/// To be called once, first of all. `stack` points to what the kernel has put there:
/// the number of arguments, pointers to these, a null pointer, pointers to the
/// environment, a null pointer, and pairs of a kind and a value, the last of which is of
/// kind 0.
pub unsafe extern "C" fn unpack(stack: *mut usize) -> usize {
    // SAFETY: the file reserves both ranges, for reading and writing, and nobody else
    // knows of them. Any number is valid in the memory.
    let (image, memory) = unsafe {
        (
            core::slice::from_raw_parts_mut(packed::START as *mut u8, packed::LEN),
            &mut *(packed::MEMORY as *mut Memory),
        )
    };
    let held = hold_signals();
    decode(&packed::STREAM, image, memory, CODE);
    if CODE != Code::Words {
        branches::make_relative(image);
    }
    // SAFETY: the caller's.
    let page = unsafe { change_auxiliary_vector(stack, held) };
    let mut free = packed::START;
    for segment in &packed::SEGMENTS {
        let start = segment.start & !(page - 1);
        if free < start {
            // SAFETY: zeros between two segments.
            unsafe { call(machine::MUNMAP, free, start - free, 0) };
        }
        if segment.rights & EXECUTE != 0 {
            // SAFETY: nobody has pointers into the segment.
            unsafe { make_executable(start, segment.end - start) };
        }
        free = (segment.end + page - 1) & !(page - 1);
    }
    // SAFETY: nobody refers to it any more. It is the largest part, and not to be there
    // together with what the program takes.
    unsafe { call(machine::MUNMAP, packed::MEMORY, packed::MEMORY_LEN & !(page - 1), 0) };
    packed::ENTRY
}

/// Blocks for process 1, to which nothing that arrives meanwhile is to be lost, as many
/// signals as a number can tell of, and returns which of them were not blocked before.
/// Nobody else needs that: until the program begins, they are to end it.
fn hold_signals() -> usize {
    // What the kernel writes to it was blocked before; all of them, if it is not asked.
    let mut mask = [0; SIGNALS_LEN / size_of::<usize>()];
    mask[0] = usize::MAX;
    let address = mask.as_mut_ptr().expose_provenance();
    let arguments = [BLOCK, address, address, SIGNALS_LEN, 0, 0];
    // SAFETY: the first changes nothing, and the second has read the set before it
    // writes to it.
    unsafe {
        if call(machine::GETPID, 0, 0, 0) == 1 {
            machine::system_call(machine::RT_SIGPROCMASK, &arguments);
        }
    }
    // SAFETY: as above; written to behind the compiler's back.
    !unsafe { mask.as_ptr().read_volatile() }
}

/// Has these entries tell of the program where they tell of the loader, of the loader's
/// end where they would tell of a dynamic linker, so that the program can unmap the
/// loader, and of the signals that it is to unblock. Returns the size of a page.
///
/// # Safety
/// That of [`unpack`].
unsafe fn change_auxiliary_vector(stack: *mut usize, held: usize) -> usize {
    let mut page = 4096;
    // SAFETY: the caller's.
    unsafe {
        let mut entry = stack.add(1 + *stack + 1);
        while *entry != 0 {
            entry = entry.add(1);
        }
        entry = entry.add(1);
        loop {
            let value = entry.add(1);
            match *entry {
                AT_NULL => return page,
                AT_PHDR => *value = packed::HEADERS,
                AT_PHNUM => *value = packed::HEADER_COUNT,
                AT_ENTRY => *value = packed::ENTRY,
                AT_PAGESZ => page = *value,
                AT_FLAGS => *value |= held,
                AT_BASE => *value = packed::STREAM.as_ptr_range().end.addr(),
                _ => {}
            }
            entry = entry.add(2);
        }
    }
}

/// Takes the right to write to these pages and gives the one to execute them. Where
/// that is refused of memory that was written to, because of systemd's
/// MemoryDenyWriteExecute or of SELinux, a file in memory takes its place, which
/// each of them allows. Ends the program where neither is possible.
///
/// # Safety
/// `start` begins a page, and the pages hold code that nobody is executing.
unsafe fn make_executable(start: usize, len: usize) {
    // SAFETY: the caller's.
    unsafe {
        let rights = READ | EXECUTE;
        if call(machine::MPROTECT, start, len, rights) != 0 {
            let name = c"bustd".as_ptr().addr();
            let mut file = call(machine::MEMFD_CREATE, name, CLOSE_ON_EXEC | NO_PROGRAM, 0);
            if file < 0 {
                file = call(machine::MEMFD_CREATE, name, CLOSE_ON_EXEC, 0);
            }
            let file = file as usize;
            // A file in memory takes all at once, or there is no memory.
            if call(machine::WRITE, file, start, len) != len as isize
                || machine::map(start, len, rights, IN_PLACE, file) != start as isize
            {
                fail();
            }
            call(machine::CLOSE, file, 0, 0);
        }
        machine::make_visible(start, start + len);
    }
}

fn fail() -> ! {
    loop {
        // SAFETY: writes a constant, and ends this process.
        unsafe {
            call(machine::WRITE, 2, COMPLAINT.as_ptr().addr(), COMPLAINT.len());
            call(machine::EXIT_GROUP, 1, 0, 0);
        }
    }
}

/// memset(3), which a compiler may call wherever something is set to zero.
///
/// # Safety
/// There are so many bytes, and they are the caller's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(start: *mut u8, byte: i32, len: usize) -> *mut u8 {
    for at in 0..len {
        // SAFETY: the caller's.
        unsafe { *start.add(at) = byte as u8 };
    }
    start
}

/// memcpy(3), the same of a copy.
///
/// # Safety
/// There are so many bytes at both, and the first are the caller's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    for at in 0..len {
        // SAFETY: the caller's.
        unsafe { *to.add(at) = *from.add(at) };
    }
    to
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail()
}
