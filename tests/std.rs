//! With the feature `std`, the library's descriptors are the standard library's:
//! `cargo test --features std --test std`.
#![cfg(feature = "std")]

use bustd::read::kfile::Tree;
use bustd::read::process::{Pid, read_stat};
use std::fs::File;
use std::os::fd::AsFd;

#[test]
fn a_file_of_the_standard_library_is_a_directory_to_read_below() {
    let proc = File::open("/proc").unwrap();
    let own = Pid::from_raw(std::process::id() as i32).unwrap();
    let stat = read_stat(proc.as_fd(), own).unwrap();
    let tree = Tree::open_live().unwrap();
    let same: std::os::fd::BorrowedFd<'_> = tree.proc.as_fd();
    assert_eq!(read_stat(same, own).unwrap().starttime, stat.starttime);
}
