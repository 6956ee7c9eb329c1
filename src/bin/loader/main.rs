//! The loader of the packed program: what `make static` delivers begins here.
//!
//! The file holds this loader and the program, packed. The loader unpacks the program
//! to the addresses that it was linked for, gives each part the rights that its file
//! says, and enters it as the kernel would have done. It uses neither the standard
//! nor the C library, and lies behind the program, in a range of addresses that the
//! program unmaps when it has started, so that nothing of the loader stays in memory.
//!
//! `pack.rs` makes the file and says how the addresses are laid out. `.ci/static` has
//! it made; built in another way, this does nothing.
#![cfg_attr(packed, no_std)]
#![cfg_attr(packed, no_main)]
// So that no loop is made into a call of the C library's memcpy or memset.
#![cfg_attr(packed, no_builtins)]
#![cfg_attr(all(packed, target_arch = "mips"), feature(asm_experimental_arch))]

#[cfg(packed)]
mod branches;
#[cfg(packed)]
mod machine;
#[cfg(packed)]
mod model;
#[cfg(packed)]
mod unpack;
#[cfg(packed)]
mod x86;

#[cfg(not(packed))]
fn main() {}
