use rustix::event::{Timespec, poll};
use rustix::time::ClockId;

/// A millisecond in microseconds, the unit of all times here.
pub const MS: u64 = 1000;
/// A second in microseconds.
pub const SECOND: u64 = 1_000_000;

/// CLOCK_MONOTONIC in microseconds.
pub fn now_us() -> u64 {
    clock_us(ClockId::Monotonic)
}

/// Microseconds since 1970.
pub fn realtime_us() -> u64 {
    clock_us(ClockId::Realtime)
}

/// Seconds since 1970.
pub fn realtime_s() -> u64 {
    realtime_us() / SECOND
}

/// Now, as `/proc/PID/stat` tells of the start of a process: in clock ticks of
/// a hundredth of a second since boot.
pub fn boottime_ticks() -> u64 {
    clock_us(ClockId::Boottime) / 10_000
}

fn clock_us(clock: ClockId) -> u64 {
    let now = ask(clock);
    (now.tv_sec as u64).saturating_mul(SECOND).saturating_add(now.tv_nsec as u64 / 1000)
}

/// Asks the kernel. rustix asks the vDSO, which is quicker by less than a
/// microsecond, and takes a kilobyte and a half of code to find its way there.
#[cfg(target_pointer_width = "64")]
fn ask(clock: ClockId) -> Timespec {
    let mut now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, of the shape that the kernel has for all calls.
    let _ = unsafe { libc::syscall(libc::SYS_clock_gettime, clock as libc::c_long, &raw mut now) };
    now
}

/// Several calls and shapes of time are there, by kernel; rustix knows them.
#[cfg(target_pointer_width = "32")]
fn ask(clock: ClockId) -> Timespec {
    rustix::time::clock_gettime(clock)
}

/// So many microseconds, as poll(2) takes them.
pub fn timespec(us: u64) -> Timespec {
    Timespec { tv_sec: (us / SECOND) as _, tv_nsec: (us % SECOND * 1000) as _ }
}

/// Sleeps, or waits for a signal.
pub fn pause(us: u64) {
    let _ = poll(&mut [], Some(&timespec(us)));
}
