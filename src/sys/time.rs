use rustix::event::{Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

/// A millisecond in microseconds, the unit of all times here.
pub const MS: u64 = 1000;
/// A second in microseconds.
pub const SECOND: u64 = 1_000_000;

/// CLOCK_MONOTONIC in microseconds.
pub fn now_us() -> u64 {
    clock_us(ClockId::Monotonic)
}

/// Seconds since 1970.
pub fn realtime_s() -> u64 {
    clock_us(ClockId::Realtime) / SECOND
}

/// Now, as `/proc/PID/stat` tells of the start of a process: in clock ticks of
/// a hundredth of a second since boot.
pub fn boottime_ticks() -> u64 {
    clock_us(ClockId::Boottime) / 10_000
}

fn clock_us(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    (now.tv_sec as u64).saturating_mul(SECOND).saturating_add(now.tv_nsec as u64 / 1000)
}

/// So many microseconds, as poll(2) takes them.
pub fn timespec(us: u64) -> Timespec {
    Timespec { tv_sec: (us / SECOND) as _, tv_nsec: (us % SECOND * 1000) as _ }
}

/// Sleeps, or waits for a signal.
pub fn pause(us: u64) {
    let _ = poll(&mut [], Some(&timespec(us)));
}
