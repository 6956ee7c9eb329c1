use super::file::stdin;
use core::ffi::c_int;
use rustix::io::Errno;
use rustix::termios::tcgetpgrp;

/// Our process group; 0 where it is of another pid namespace, which rustix has no word for.
pub fn own_group() -> c_int {
    // SAFETY: takes and returns a number.
    unsafe { libc::getpgrp() }
}

/// Is `own` in the foreground of the terminal that is standard input?
pub fn is_in_foreground(own: c_int) -> bool {
    match tcgetpgrp(stdin()) {
        Ok(foreground) => foreground.as_raw_pid() == own,
        // One of another namespace.
        Err(Errno::OPNOTSUPP) => own == 0,
        Err(_) => false,
    }
}

/// The settings of the terminal that is standard input.
///
/// Through the C library: rustix reads the speed of the line out of them each time, with
/// more code than all of this.
pub struct Settings(libc::termios);

impl Settings {
    /// None where standard input is no terminal.
    pub fn read() -> Option<Self> {
        // SAFETY: all zero are valid settings, and the call writes to these alone.
        unsafe {
            let mut settings = core::mem::zeroed();
            (libc::tcgetattr(libc::STDIN_FILENO, &mut settings) == 0).then_some(Self(settings))
        }
    }

    /// The same, but that keys can be read at once and are not shown.
    #[must_use]
    pub fn key_by_key(&self) -> Self {
        let mut settings = self.0;
        settings.c_lflag &= !(libc::ICANON | libc::ECHO);
        Self(settings)
    }

    /// Has the terminal follow these; whether it does.
    pub fn apply(&self) -> bool {
        // SAFETY: valid settings, which are only read.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &self.0) == 0 }
    }
}
