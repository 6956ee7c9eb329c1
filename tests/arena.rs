//! The arena as a global allocator: what it hands out, and what an allocation
//! does once it is sealed. A program of its own, without a test harness: that
//! has threads and asks for memory whenever it likes.

use bustd::sys::arena::Arena;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

#[global_allocator]
static ARENA: Arena = Arena::new();

/// What this program does when it is started with the name of it.
const ROLES: [(&str, fn()); 3] =
    [("allocate-sealed", allocate_sealed), ("fork-sealed", fork_sealed), ("exhaust", exhaust)];

fn main() {
    let role = env::args().nth(1).and_then(|arg| ROLES.iter().find(|(name, _)| *name == arg));
    if let Some((_, act)) = role {
        return act();
    }
    // As `cargo test NAME` and `cargo test -- --list` have it.
    if env::args().any(|arg| arg == "--list") {
        return;
    }
    blocks_are_apart_and_aligned();
    the_last_block_grows_in_place();
    an_allocation_after_the_seal_aborts();
    a_child_that_aborts_ends_alone();
    exhaustion_is_said();
    println!("arena: ok");
}

fn blocks_are_apart_and_aligned() {
    let mut blocks: Vec<Vec<u64>> = (0..50).map(|number| vec![number; number as usize + 1]).collect();
    let bytes: Vec<Box<u8>> = (0..50).map(Box::new).collect();
    for block in &mut blocks {
        // Moves, for another stands behind it.
        let number = block[0];
        block.extend([number; 100]);
    }
    for (number, block) in (0..).zip(&blocks) {
        assert!(block.as_ptr().is_aligned() && block.iter().all(|&held| held == number));
    }
    assert!((0..).zip(&bytes).all(|(number, held)| **held == number));
}

fn the_last_block_grows_in_place() {
    // Far more than there is, if each were another block.
    let mut growing: Vec<u8> = Vec::new();
    for round in 0..1000 {
        growing.resize(round * 100, 1);
        growing.reserve_exact(100);
    }
}

fn run(role: &str) -> (Output, String) {
    let output = Command::new(env::current_exe().unwrap()).arg(role).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

const SEALED: &str = "bustd: allocation after start-up\n";

fn an_allocation_after_the_seal_aborts() {
    let (output, said) = run("allocate-sealed");
    assert_eq!((output.status.signal(), &*said), (Some(libc::SIGABRT), SEALED));
}

fn a_child_that_aborts_ends_alone() {
    let (output, said) = run("fork-sealed");
    assert_eq!((output.status.code(), &*said), (Some(0), SEALED), "{output:?}");
}

fn exhaustion_is_said() {
    let (output, said) = run("exhaust");
    assert_eq!((output.status.code(), &*said), (Some(2), "bustd: the command line is too long\n"));
}

fn allocate_sealed() {
    // SAFETY: one thread, and from here on nothing that is on the heap is used.
    unsafe { ARENA.seal() };
    std::hint::black_box(Box::new(1_u8));
    unreachable!();
}

/// A child made by the bare system call allocates after the seal: we live.
fn fork_sealed() {
    // SAFETY: one thread, and from here on nothing that is on the heap is used.
    unsafe { ARENA.seal() };
    // SAFETY: one thread; neither side signals itself through the C library.
    match unsafe { bustd::sys::child::fork() } {
        Ok(bustd::sys::child::Forked::Child) => {
            std::hint::black_box(Box::new(1_u8));
        }
        Ok(bustd::sys::child::Forked::Parent(pid)) => {
            let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            let signal = status.ok().flatten().and_then(|(_, status)| status.terminating_signal());
            bustd::sys::child::exit_now(i32::from(signal != Some(libc::SIGABRT)));
        }
        Err(_) => bustd::sys::child::exit_now(3),
    }
}

fn exhaust() {
    std::hint::black_box(vec![1_u8; 3 << 20]);
}
