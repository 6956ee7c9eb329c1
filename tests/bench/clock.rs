//! Processor time and medians.

/// Processor time this thread has used.
pub fn thread_cpu_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to; the clock exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Processor time of all children that have been waited for.
pub fn children_cpu_ns() -> f64 {
    // SAFETY: all zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid to write to.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
    let us = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    (us(usage.ru_utime) + us(usage.ru_stime)) * 1e3
}

/// Processor time one call takes: of many batches the median.
pub fn each_ns(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 2000;
    let mut batch = || {
        let start = thread_cpu_ns();
        (0..CALLS).for_each(|_| call());
        (thread_cpu_ns() - start) as f64 / f64::from(CALLS)
    };
    median((0..15).map(|_| batch()).collect())
}

/// The middle value; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
