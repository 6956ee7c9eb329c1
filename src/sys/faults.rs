use super::lock::SYS_FCNTL;
use super::result_of;
use core::ffi::{c_int, c_long};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::ioctl::{NoArg, ioctl, opcode};

/// Processors watched for page faults; with more there is more memory, too.
const MAX_FAULT_CPUS: usize = 16;

/// Counters of page faults, one a processor, that raise SIGIO each time so many
/// have happened (perf_event_open(2), Linux 2.6.31, with CAP_PERFMON or
/// perf_event_paranoid at 0): whoever fills memory wakes us, and nobody else
/// does. Huge pages count once, so a leak of those is found by the timer.
#[derive(Debug, Default)]
pub struct Faults {
    counters: [Option<OwnedFd>; MAX_FAULT_CPUS],
}

/// `struct perf_event_attr` as far as its first version went.
#[repr(C)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    /// Sample and read format, flags, wake-up, breakpoint: all none.
    rest: [u64; 5],
}

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_PAGE_FAULTS: u64 = 2;
const PERF_FLAG_FD_CLOEXEC: c_long = 8;

type Enable = NoArg<{ opcode::none(b'$', 0) }>;
type Disable = NoArg<{ opcode::none(b'$', 1) }>;

impl Faults {
    /// Opens the counters, not counting yet. `None` where the kernel does not
    /// let us, or where there are too many processors.
    pub fn open(every_pages: u64) -> Option<Self> {
        let mut faults = Self::default();
        let attr = PerfEventAttr {
            kind: PERF_TYPE_SOFTWARE,
            size: size_of::<PerfEventAttr>() as u32,
            config: PERF_COUNT_SW_PAGE_FAULTS,
            sample_period: every_pages.max(1),
            rest: [0; 5],
        };
        let own = rustix::process::getpid().as_raw_pid();
        for cpu in 0..=MAX_FAULT_CPUS {
            let counter = match open_counter(&attr, cpu as c_int) {
                Ok(counter) => counter,
                Err(Errno::NODEV) => continue,
                // There is no such processor.
                Err(Errno::INVAL) if cpu > 0 => return Some(faults),
                Err(_) => return None,
            };
            // SAFETY: takes no argument.
            let _ = unsafe { ioctl(&counter, Disable::new()) };
            // SAFETY: takes an integer. rustix does not wrap F_SETOWN, and the C
            // library's own function is a large one.
            let answer = unsafe { libc::syscall(SYS_FCNTL, counter.as_raw_fd(), libc::F_SETOWN, own) };
            result_of(answer).ok()?;
            let is_async = OFlags::from_bits_retain(libc::O_ASYNC as _);
            rustix::fs::fcntl_setfl(&counter, is_async).ok()?;
            *faults.counters.get_mut(cpu)? = Some(counter);
        }
        None
    }

    /// Starts or stops counting.
    pub fn count(&self, on: bool) {
        for counter in self.counters.iter().flatten() {
            // SAFETY: neither takes an argument.
            let _ = unsafe {
                if on {
                    ioctl(counter.as_fd(), Enable::new())
                } else {
                    ioctl(counter.as_fd(), Disable::new())
                }
            };
        }
    }
}

/// A counter of every process's faults on processor `cpu`.
fn open_counter(attr: &PerfEventAttr, cpu: c_int) -> Result<OwnedFd, Errno> {
    let (any_pid, no_group): (c_int, c_int) = (-1, -1);
    // SAFETY: reads one perf_event_attr of the size it says.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const *attr,
            any_pid,
            cpu,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    let fd = result_of(answer)?;
    // SAFETY: a descriptor just made and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}
