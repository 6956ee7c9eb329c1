//! `--watch`: a question asked again and again, in place on a terminal.

use crate::console::{EXIT_FAILURE, fail, print};
use bustd::sys::file::stdin;
use bustd::sys::line::named;
use bustd::sys::signals::{Notice, open_signals, take_signal};
use bustd::sys::terminal::{Settings, is_in_foreground, own_group};
use bustd::sys::time::{SECOND, timespec};
use core::ffi::c_int;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};

/// Shows it with `show` every so many seconds, of which that takes `shown_us`, until it
/// fails or somebody has seen enough: by q, Ctrl-C, or a signal to end. With
/// `has_screen`, each is shown over the one before. The exit status.
pub fn repeat(every_s: u32, shown_us: u64, has_screen: bool, show: &mut dyn FnMut() -> c_int) -> c_int {
    let signals = open_signals(false)
        .unwrap_or_else(|_| fail(EXIT_FAILURE, named!("cannot receive signals (signalfd)")));
    let keys = Keys::open();
    let mut status = if has_screen { print(b"\x1b[H\x1b[J") } else { 0 };
    loop {
        status |= show();
        // What an earlier one has left below.
        status |= print(if has_screen { b"\x1b[J" } else { b"\n" });
        let rest_us = u64::from(every_s) * SECOND - shown_us;
        if status != 0 || is_enough(signals.as_fd(), keys.as_ref(), rest_us) {
            break;
        }
        status |= if has_screen { print(b"\x1b[H") } else { 0 };
    }
    if let Some(keys) = keys {
        keys.close();
    }
    status
}

/// A terminal whose keys are read one by one, with the settings that it had before.
struct Keys(Settings);

impl Keys {
    /// None where standard input is no terminal, or another's.
    fn open() -> Option<Self> {
        let before = Settings::read()?;
        let is_ours = is_in_foreground(own_group());
        (is_ours && before.key_by_key().apply()).then_some(Self(before))
    }

    fn close(self) {
        let _ = self.0.apply();
    }
}

/// Waits so long, or until somebody wants it to end.
fn is_enough(signals: &OwnedFd, keys: Option<&Keys>, us: u64) -> bool {
    let input = stdin();
    let mut polled = [PollFd::new(signals, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
    let count = if keys.is_some() { 2 } else { 1 };
    if !poll(&mut polled[..count], Some(&timespec(us))).is_ok_and(|ready| ready > 0) {
        return false;
    }
    if let Some(signal) = take_signal(signals.as_fd()) {
        return matches!(signal.notice(None), Notice::End | Notice::Reread);
    }
    let mut key = [0];
    // The end of the terminal is the end.
    !matches!(rustix::io::read(input, &mut key), Ok(1..)) || matches!(key, [b'q' | b'Q'])
}
