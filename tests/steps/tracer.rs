//! A guard that is stopped at each look at memory, and what it did since the one
//! before. Only the calls that are looks or waits stop it, so that it is hardly slower.

use crate::harness::{Journal, bustd};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::Error;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const LOOKS: [i64; 2] = [libc::SYS_sysinfo, libc::SYS_pread64];
const WAIT: i64 = libc::SYS_ppoll;
/// Made only by the call that renews the stack, right before the loop begins.
const RENEWAL: i64 = libc::SYS_mlock2;
/// The loop waits for so many things; who waits for fewer does so within a step.
const SOURCES: u64 = 3;

/// The longest times between two looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    pub looks: u32,
    /// Time of the guard's own: on a processor, or in pauses that it asked for. What
    /// else the machine does is not counted.
    pub own: Duration,
    /// By the clock, without what the loop slept, and without waiting for a processor,
    /// be it the guard or its tracer that did.
    pub clock: Duration,
    /// So far below the frame of the loop's wait the stack was written to, in bytes.
    pub stack: usize,
}

pub struct Traced {
    pid: Pid,
    is_counting: Arc<AtomicBool>,
    tracer: JoinHandle<Steps>,
}

impl Traced {
    /// Starts a guard, waits until it watches and has looked at everybody, and counts
    /// from then on.
    pub fn watching(journal: &mut Journal, options: &[&[&str]]) -> Self {
        let mut command = bustd(journal, options);
        // SAFETY: system calls only.
        unsafe { command.pre_exec(let_be_traced) };
        let is_counting = Arc::new(AtomicBool::new(false));
        let counts = Arc::clone(&is_counting);
        let (told, pid) = std::sync::mpsc::channel();
        // Whoever forks it is who traces it, and a thread of its own can wait for it.
        #[allow(clippy::zombie_processes, reason = "its tracer waits for it, below")]
        let tracer = thread::spawn(move || {
            let child = command.spawn().expect("the guard starts");
            told.send(child.id()).expect("the test waits");
            trace(child.id() as i32, &counts)
        });
        let pid = Pid::from_raw(pid.recv().expect("the tracer lives") as i32).expect("not 0");
        let guard = Self { pid, is_counting, tracer };
        journal.expect("watching");
        guard.look(journal);
        guard.is_counting.store(true, Ordering::Release);
        guard
    }

    /// See [`Guard::look`](crate::harness::Guard::look).
    pub fn look(&self, journal: &mut Journal) {
        kill_process(self.pid, Signal::USR1).expect("the guard can be signalled");
        journal.expect("status: ");
    }

    pub fn end(self) -> Steps {
        kill_process(self.pid, Signal::TERM).expect("the guard can be signalled");
        self.tracer.join().expect("the tracer")
    }
}

/// In the child: from now on its looks and waits are its tracer's to see.
fn let_be_traced() -> Result<(), Error> {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let [load, equal, answer] = [
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    ];
    let mut steps = [
        step(load, 0, 0, 0),
        step(equal, 4, 0, WAIT as u32),
        step(equal, 3, 0, RENEWAL as u32),
        step(equal, 2, 0, LOOKS[0] as u32),
        step(equal, 1, 0, LOOKS[1] as u32),
        step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(answer, 0, 0, libc::SECCOMP_RET_TRACE),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: a program that outlives the call; otherwise integers and null pointers.
    let is_done = unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, null::<u8>(), null::<u8>()) == 0
            && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if is_done { Ok(()) } else { Err(Error::last_os_error()) }
}

/// A call that stopped the guard.
struct Call {
    stack: u64,
    number: i64,
    args: [u64; 6],
}

fn call_of(pid: i32) -> Call {
    // From linux/ptrace.h, Linux 5.3.
    const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;
    // What and where it is, in three words; number; arguments; what the filter said.
    let mut info = [0_u64; 11];
    // SAFETY: writes no more than it is told there is.
    let len = unsafe { libc::ptrace(PTRACE_GET_SYSCALL_INFO, pid, size_of_val(&info), &raw mut info) };
    assert!(len >= 80, "PTRACE_GET_SYSCALL_INFO: {}", Error::last_os_error());
    let [_, _, stack, number, a, b, c, d, e, f, _] = info;
    Call { stack, number: number as i64, args: [a, b, c, d, e, f] }
}

/// On a processor, and waiting for one.
fn times_of(process: &str) -> [Duration; 2] {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat")).expect("it is there");
    let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a number"));
    [(); 2].map(|()| Duration::from_nanos(numbers.next().expect("two numbers")))
}

fn is_meminfo(pid: i32, fd: u64) -> bool {
    let file = fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    file.is_ok_and(|file| file.ends_with("meminfo"))
}

/// How long `ppoll` was asked to wait, at most.
fn asked(pid: i32, timespec: u64) -> Duration {
    let mut words = [0; 16];
    let memory = File::open(format!("/proc/{pid}/mem")).expect("it is ours to trace");
    if timespec == 0 || memory.read_exact_at(&mut words, timespec).is_err() {
        return Duration::MAX;
    }
    let word = |at: usize| u64::from_ne_bytes(words[at..at + 8].try_into().expect("eight"));
    Duration::new(word(0), word(8) as u32)
}

/// As much as the loop makes resident of the stack before it begins.
pub fn touched(has_rules: bool) -> usize {
    let (file, name) = match has_rules {
        false => ("monitor.rs", "const STEP_STACK: usize = "),
        true => ("monitor/rules.rs", "const RULES_STACK: usize = "),
    };
    let source =
        fs::read_to_string(format!("{}/src/{file}", env!("CARGO_MANIFEST_DIR"))).expect("the source");
    let value = source.lines().find_map(|line| Some(line.split_once(name)?.1)).expect("it is there");
    value.trim_end_matches(';').replace('_', "").parse().expect("a number")
}

/// A guard's stack, and where it began to be looked at.
struct Stack {
    lowest: u64,
    bytes: Vec<u8>,
}

impl Stack {
    const REACH: u64 = 32 << 10;

    fn below(pid: i32, top: u64) -> Self {
        let (lowest, mut bytes) = (top - Self::REACH, vec![0; Self::REACH as usize]);
        let memory = File::open(format!("/proc/{pid}/mem")).expect("it is ours to trace");
        memory.read_exact_at(&mut bytes, lowest).expect("the stack");
        Self { lowest, bytes }
    }

    /// How far below `top` anything is other than here by now.
    fn depth(&self, pid: i32, top: u64) -> usize {
        let now = Self::below(pid, self.lowest + Self::REACH);
        let changed = self.bytes.iter().zip(&now.bytes).position(|(before, after)| before != after);
        changed.map_or(0, |at| top.saturating_sub(self.lowest + at as u64) as usize)
    }
}

/// When memory was looked at last, and what has happened since.
struct Look {
    at: Instant,
    times: [Duration; 2],
    tracer_waited: Duration,
    /// Pauses within the step, no longer than what it asked for.
    paused: Duration,
    slept: Duration,
}

/// Follows the guard to its end.
fn trace(guard: i32, is_counting: &AtomicBool) -> Steps {
    let mut steps = Steps::default();
    let mut last: Option<Look> = None;
    // What it waits for, since when.
    let mut waits: Option<(Call, Instant)> = None;
    // As the loop found it.
    let (mut is_renewed, mut stack) = (false, None);
    loop {
        let mut status = 0;
        // Whoever else is this process's child is not this thread's.
        // SAFETY: `status` is valid to write to.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
        assert!(pid > 0, "waitpid: {}", Error::last_os_error());
        if !libc::WIFSTOPPED(status) {
            if pid == guard {
                assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the guard: {status:#x}");
                return steps;
            }
            continue;
        }
        let now = Instant::now();
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let (mut how, mut passed_on) = (libc::PTRACE_CONT, 0);
        if event == libc::PTRACE_EVENT_SECCOMP {
            let call = call_of(pid);
            if pid == guard && is_renewed && stack.is_none() && call.number != RENEWAL {
                stack = Some(Stack::below(pid, call.stack));
            }
            if pid != guard {
                // A child of the guard's: it only must not be stopped.
            } else if call.number == RENEWAL {
                is_renewed = true;
            } else if call.number == WAIT {
                if call.args[1] >= SOURCES
                    && let Some(stack) = &stack
                {
                    steps.stack = steps.stack.max(stack.depth(pid, call.stack));
                }
                waits = Some((call, now));
                how = libc::PTRACE_SYSCALL;
            } else if call.number == LOOKS[0] || is_meminfo(pid, call.args[0]) {
                let times = times_of(&pid.to_string());
                let tracer_waited = times_of("thread-self")[1];
                if let Some(last) = last.filter(|_| is_counting.load(Ordering::Acquire)) {
                    let [ran, waited] = [0, 1].map(|at| times[at] - last.times[at]);
                    let not_ours = last.slept + waited + (tracer_waited - last.tracer_waited);
                    steps.looks += 1;
                    steps.own = steps.own.max(ran + last.paused);
                    steps.clock = steps.clock.max((now - last.at).saturating_sub(not_ours));
                }
                let nothing = Duration::ZERO;
                last =
                    Some(Look { at: Instant::now(), times, tracer_waited, paused: nothing, slept: nothing });
            }
        } else if signal == libc::SIGTRAP | 0x80 {
            if let (Some((call, since)), Some(last)) = (waits.take(), &mut last) {
                let took = now - since;
                if call.args[1] < SOURCES {
                    last.paused += took.min(asked(pid, call.args[2]));
                } else {
                    last.slept += took;
                }
            }
        } else if signal == libc::SIGTRAP && event == 0 && pid == guard {
            // It has become the guard.
            let options = libc::PTRACE_O_TRACESECCOMP
                | libc::PTRACE_O_TRACESYSGOOD
                | libc::PTRACE_O_TRACEFORK
                | libc::PTRACE_O_TRACECLONE
                | libc::PTRACE_O_EXITKILL;
            // SAFETY: takes integers.
            unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, null_mut::<u8>(), options as usize) };
        } else if event == 0 && signal != libc::SIGSTOP {
            passed_on = signal;
        }
        // Fails for one that was killed meanwhile, which is seen next.
        // SAFETY: takes integers.
        unsafe { libc::ptrace(how, pid, null_mut::<u8>(), passed_on as usize) };
    }
}
