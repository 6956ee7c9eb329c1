use rustix::event::{Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in microseconds.
pub fn now_us() -> u64 {
    clock_us(ClockId::Monotonic)
}

/// Seconds since 1970.
pub fn realtime_s() -> u64 {
    clock_us(ClockId::Realtime) / 1_000_000
}

/// Now, as `/proc/PID/stat` tells of the start of a process: in clock ticks of
/// a hundredth of a second since boot.
pub fn boottime_ticks() -> u64 {
    clock_us(ClockId::Boottime) / 10_000
}

fn clock_us(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    (now.tv_sec as u64).saturating_mul(1_000_000).saturating_add(now.tv_nsec as u64 / 1000)
}

/// Sleeps for less than a second, or until a signal.
pub fn pause(us: u64) {
    let time = Timespec { tv_sec: 0, tv_nsec: (us * 1000) as _ };
    let _ = poll(&mut [], Some(&time));
}
