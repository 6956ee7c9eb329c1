//! Pressure stall information: `/proc/pressure/memory` (Linux 4.20, masked by
//! `psi=0`), its triggers, and the share of time stalled over our own window.
//! See the kernel's Documentation/accounting/psi.rst.

use crate::read::kfile::{self, ReadError};
use crate::read::window::Window;
use core::ffi::CStr;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// The file, below /proc.
pub const MEMORY_PRESSURE: &CStr = c"pressure/memory";

/// A share of wall time in basis points (hundredths of a per cent), 0 to 10,000.
pub type ShareBp = u32;

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureLine {
    /// Exponential average over 10 s, updated every 2 s.
    pub avg10_bp: ShareBp,
    /// Exponential average over 60 s.
    pub avg60_bp: ShareBp,
    /// Exponential average over 300 s.
    pub avg300_bp: ShareBp,
    /// Time stalled since boot, in microseconds. 64-bit on every kernel: 32
    /// bits would overflow after 71.6 minutes of stall.
    pub total_us: u64,
}

/// A pressure file: time in which at least one task (`some`), or all runnable
/// tasks (`full`), waited for the resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// At least one task stalled.
    pub some: PressureLine,
    /// All tasks stalled at once.
    pub full: PressureLine,
}

/// Parses a pressure file. `None` unless there is a sound `some` line; a
/// missing or malformed `full` line reads as no full stall.
pub fn parse_pressure(text: &[u8]) -> Option<Pressure> {
    let line_of =
        |kind: &[u8]| kfile::lines(text).find_map(|line| parse_pressure_line(line.strip_prefix(kind)?));
    Some(Pressure { some: line_of(b"some ")?, full: line_of(b"full ").unwrap_or_default() })
}

/// The value of the field `key=value`.
fn field<'t>(mut fields: impl Iterator<Item = &'t [u8]>, key: &str) -> Option<&'t [u8]> {
    fields.find_map(|field| field.strip_prefix(key.as_bytes()))
}

fn parse_pressure_line(line: &[u8]) -> Option<PressureLine> {
    let share_bp = |key| {
        let share_bp = kfile::parse_hundredths(field(kfile::fields(line), key)?)?;
        Some(share_bp.min(10_000) as ShareBp)
    };
    Some(PressureLine {
        avg10_bp: share_bp("avg10=")?,
        avg60_bp: share_bp("avg60=")?,
        avg300_bp: share_bp("avg300=")?,
        total_us: kfile::parse_u64(field(kfile::fields(line), "total=")?)?,
    })
}

/// The open memory pressure file.
#[derive(Debug)]
pub struct PressureFile(OwnedFd);

impl PressureFile {
    /// The file, if it can be read: with PSI compiled in but off, it opens and cannot
    /// be.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub fn of(file: OwnedFd) -> Result<Self, ReadError> {
        let file = Self(file);
        file.read()?;
        Ok(file)
    }

    /// Reads the file from its start.
    ///
    /// # Errors
    /// Those of pread(2) (EOPNOTSUPP where PSI is compiled in but off), and
    /// [`ReadError::Malformed`].
    pub fn read(&self) -> Result<Pressure, ReadError> {
        let mut buf = [0; 256];
        let len = rustix::io::pread(&self.0, &mut buf, 0)?;
        parse_pressure(&buf[..len]).ok_or(ReadError::Malformed)
    }
}

/// An armed pressure trigger: its fd polls POLLPRI at most once per window.
#[derive(Debug)]
pub struct Trigger {
    /// Poll this for POLLPRI; POLLERR means the source is gone.
    pub fd: OwnedFd,
    /// The window the kernel accepted.
    pub window_ms: u32,
}

/// Arms a trigger on memory `some`, on the file that `open` opens: 1 s window where we
/// may (CAP_SYS_RESOURCE), else 2 s, the shortest unprivileged one (Linux 6.4; EPERM
/// before).
///
/// # Errors
/// The second attempt's: the caller polls by timer instead.
pub fn arm_trigger(open: &dyn Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<Trigger, Errno> {
    // 7 % of the window is what Android's lmkd wakes at; below 5 % ordinary
    // kswapd work does. The kernel wants the trailing NUL: without it, EINVAL
    // or a lost digit.
    let attempts: [(u32, &[u8]); 2] = [(1000, b"some 70000 1000000\0"), (2000, b"some 140000 2000000\0")];
    let mut last = Errno::INVAL;
    for (window_ms, request) in attempts {
        // One trigger per open file: a second write would be EBUSY.
        let armed = open(OFlags::RDWR).and_then(|fd| rustix::io::write(fd.as_fd(), request).map(|_| fd));
        match armed {
            Ok(fd) => return Ok(Trigger { fd, window_ms }),
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

/// Shares of time stalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// At least one task stalled.
    pub some_bp: ShareBp,
    /// All tasks stalled at once.
    pub full_bp: ShareBp,
}

/// Share of time stalled over the last `span`, from differences of `total=`.
/// The kernel's avg10 lags by seconds and stays high after a kill, which is
/// how peers come to kill twice.
#[derive(Clone, Debug)]
pub struct StallWindow(Window);

impl StallWindow {
    /// An empty window over `span_us`.
    pub const fn new(span_us: u64) -> Self {
        Self(Window::new(span_us))
    }

    /// Forgets everything, as after a kill.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// Takes a reading made at `now_us` and returns the shares over the span
    /// that ends there. Time before the first sample counts as unstalled.
    pub fn push(&mut self, now_us: u64, pressure: &Pressure) -> Stall {
        let growth = self.0.push(now_us, [pressure.some.total_us, pressure.full.total_us]);
        let share = |stalled_us: u64| {
            let share_bp = stalled_us.saturating_mul(10_000) / growth.elapsed_us;
            share_bp.min(10_000) as ShareBp
        };
        Stall { some_bp: share(growth.counters[0]), full_bp: share(growth.counters[1]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"some avg10=1.53 avg60=0.40 avg300=100.00 total=13245678901\n\
                          full avg10=0.02 avg60=0.00 avg300=0.00 total=77\n";

    #[test]
    fn parses_the_documented_shape() {
        let pressure = parse_pressure(TEXT).unwrap();
        assert_eq!(pressure.some.avg10_bp, 153);
        assert_eq!(pressure.some.avg300_bp, 10_000);
        assert_eq!(pressure.some.total_us, 13_245_678_901);
        assert_eq!(pressure.full.avg10_bp, 2);
        assert_eq!(pressure.full.total_us, 77);
    }

    #[test]
    fn survives_oddities() {
        // No full line (cpu before 5.13), unknown keys, reordered keys.
        // Cut in the middle, as by a short read.
        assert_eq!(parse_pressure(b"some avg10=1.00 avg60=1.00 avg300=1.00 tot"), None);
        let odd = parse_pressure(b"some total=5 avg300=0.00 avg60=0.00 avg10=2.00 new=9\n").unwrap();
        assert_eq!((odd.some.total_us, odd.some.avg10_bp), (5, 200));
        assert_eq!(odd.full, PressureLine::default());
        for bad in [
            &b""[..],
            b"some",
            b"some avg10=0.00",
            b"some avg10=x total=1",
            b"some total=-1",
            b"full avg10=0.00 avg60=0.00 avg300=0.00 total=1",
            b"some avg10 total=1",
            b"something avg10=0.00 avg60=0.00 avg300=0.00 total=1",
        ] {
            assert_eq!(parse_pressure(bad), None, "{bad:?}");
        }
    }

    fn at(total_ms: u64) -> Pressure {
        let line = PressureLine { total_us: total_ms * 1000, ..PressureLine::default() };
        Pressure { some: line, full: line }
    }

    #[test]
    fn share_is_of_the_whole_span_even_when_young() {
        let mut window = StallWindow::new(10_000_000);
        assert_eq!(window.push(0, &at(500)).some_bp, 0);
        // One second old, stalled throughout: a tenth of the span.
        assert_eq!(window.push(1_000_000, &at(1500)).some_bp, 1000);
        // 2.5 s of stall reach 25 %.
        assert_eq!(window.push(3_000_000, &at(3000)).some_bp, 2500);
    }

    #[test]
    fn restart_forgets() {
        let mut window = StallWindow::new(10_000_000);
        let _ = window.push(0, &at(0));
        assert_eq!(window.push(5_000_000, &at(5000)).full_bp, 5000);
        window.restart();
        assert_eq!(window.push(6_000_000, &at(6000)).full_bp, 0);
    }
}
