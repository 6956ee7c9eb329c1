//! The command line: its reader either refuses it with a line, or what it read is
//! in bounds.

use crate::cli::{self, Options};
use crate::console::Refused;
use crate::reader::Argv;
use bustd::config::limits::{Amount, Pair};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

fn is_ordered(Pair { term, kill }: Pair) -> bool {
    match (term, kill) {
        (Amount::Share(term), Amount::Share(kill)) => kill <= term && term <= 10_000,
        (Amount::Kib(term), Amount::Kib(kill)) => kill <= term && term < 1 << 50,
        _ => false,
    }
}

/// Arguments are separated by newlines.
pub fn parse(input: &[u8]) {
    let mut text = b"bustd\0".to_vec();
    text.extend(input.iter().map(|&byte| if byte == b'\n' { 0 } else { byte }));
    text.push(0);
    parse_words(&text);
}

/// The same of what stands in a file.
pub fn config(input: &[u8]) {
    static FILE: OnceLock<File> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        // SAFETY: a C string; what it gives is a new file, and ours.
        unsafe { File::from_raw_fd(libc::memfd_create(c"config".as_ptr(), 0)) }
    });
    file.set_len(0).and_then(|()| file.write_all_at(input, 0)).expect("a memfd");
    parse_words(format!("bustd\0--config\0/proc/self/fd/{}\0", file.as_raw_fd()).as_bytes());
}

/// Words with a NUL behind each.
fn parse_words(text: &[u8]) {
    // SAFETY: nothing that was read from the arguments lives longer than `text`.
    let kept: &'static [u8] = unsafe { &*std::ptr::from_ref(text) };
    let words = kept.split_inclusive(|&byte| byte == 0);
    let argv = Argv::new(words.map(|word| CStr::from_bytes_with_nul(word).expect("no NUL within")));
    let mut options = Options::default();
    match catch_unwind(AssertUnwindSafe(|| cli::parse(&argv, &mut options))) {
        Ok(_) => {
            let limits = options.config.limits;
            assert!(limits.mem.is_none_or(is_ordered) && is_ordered(limits.swap));
            assert!((1..=10_000).contains(&limits.psi_bp));
            assert!(options.config.grace_us <= 60_000_000);
        }
        Err(why) => assert!(why.is::<Refused>(), "a panic"),
    }
}
