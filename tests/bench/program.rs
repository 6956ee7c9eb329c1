//! The guards as programs: found, started and watched from outside. They are
//! started so that they kill nobody.

use crate::clock::{children_cpu_ns, median};
use crate::shortage::{self, Shortage, Taken};
use std::fs::read_to_string;
use std::io::{PipeReader, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Peers that packages install: name, arguments to guard without killing, and
/// arguments to find memory low at once and again and again.
const PEERS: [(&str, &[&str], &[&str]); 1] =
    [("earlyoom", &["--dryrun", "-r", "0"], &["--dryrun", "-r", "0", "-m", "99", "-s", "100"])];

/// What a peer writes once before each of its scans.
const PEER_SCANS: &[u8] = b"low memory!";

/// A guard that is installed.
pub struct Program {
    pub name: &'static str,
    pub path: PathBuf,
    guard: &'static [&'static str],
    decide: &'static [&'static str],
}

/// bustd as it ships if `make static` has been run, else as cargo built it.
pub fn find_bustd() -> Program {
    let shipped = below_target("static/bustd");
    let path = if shipped.exists() { shipped } else { env!("CARGO_BIN_EXE_bustd").into() };
    Program {
        name: "bustd",
        path,
        guard: &["--no-daemon", "--dry-run"],
        decide: &["--once", "--dry-run", "--mem", "100%", "--swap", "100%"],
    }
}

/// The peers there are, where `make setup` puts them or in PATH.
pub fn find_peers() -> Vec<Program> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> =
        std::iter::once(below_target("peers/usr/bin")).chain(std::env::split_paths(&path)).collect();
    let find = |(name, guard, decide)| {
        let path = dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists())?;
        Some(Program { name, path, guard, decide })
    };
    PEERS.into_iter().filter_map(find).collect()
}

fn below_target(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(path)
}

/// What a guard cost while nothing happened.
pub struct Idle {
    pub rss_kb: f64,
    pub locked: bool,
    pub cpu_ns: f64,
    pub wakeups: f64,
}

/// Watches all of `programs` guard over the same `span`, once they have started.
pub fn watch_idle(programs: &[&Program], span: Duration) -> Vec<Idle> {
    const SETTLE: Duration = Duration::from_secs(2);
    let guards: Vec<_> = programs.iter().map(|program| program.start(program.guard, Stdio::null())).collect();
    sleep(SETTLE);
    let before: Vec<_> = guards.iter().map(Running::usage).collect();
    sleep(span);
    let watched = guards.iter().zip(before).map(|(guard, (cpu_ns, wakeups))| {
        let now = guard.usage();
        Idle {
            rss_kb: guard.status("VmRSS"),
            locked: guard.status("VmLck") > 0.0,
            cpu_ns: now.0 - cpu_ns,
            wakeups: now.1 - wakeups,
        }
    });
    watched.collect()
}

/// A program as it lies on disk.
pub struct File {
    pub len: usize,
    pub needs_libc: bool,
}

impl Program {
    /// Its name and version as it says them itself.
    pub fn version(&self) -> String {
        let option = if self.name == "bustd" { "--version" } else { "-v" };
        let said = Command::new(&self.path).arg(option).output();
        let said = said.map(|said| [said.stdout, said.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().next().unwrap_or(self.name).to_owned()
    }

    /// Its size, and whether it names a dynamic linker.
    pub fn file(&self) -> File {
        let image = std::fs::read(&self.path).unwrap_or_default();
        let has = |text: &[u8]| image.windows(text.len()).any(|window| window == text);
        File { len: image.len(), needs_libc: has(b"/ld-linux") || has(b"/ld-musl") }
    }

    /// With no environment, as a service: it lies on the stack, in locked memory.
    fn start(&self, args: &[&str], log: impl Into<Stdio>) -> Running {
        let mut command = Command::new(&self.path);
        command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Running(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.path.display())))
    }

    /// Processor time bustd takes for one decision among everything in /proc: a
    /// run that decides, less one that finds nothing to decide. The median of
    /// `times`.
    pub fn decision_ns(&self, times: usize) -> f64 {
        const NOTHING: &[&str] = &["--once", "--dry-run", "--mem", "1K"];
        let run_ns = |args| self.start(args, Stdio::null()).wait_cpu_ns();
        median((0..times).map(|_| run_ns(self.decide) - run_ns(NOTHING)).collect())
    }

    /// The share of one processor that guarding takes, in per cent, while memory
    /// gets less all the time but never as little as the limit.
    pub fn watching_pct(&self, taken: Taken, span: Duration) -> f64 {
        // The start, and the first survey, which has nothing to compare with.
        const SETTLE: Duration = Duration::from_secs(3);
        let shortage = Shortage::begin(taken);
        let limit = ["--mem", shortage::LIMIT];
        let guard = self.start(&[self.guard, &limit].concat(), Stdio::null());
        let start = Instant::now();
        let last = |part| shortage.last(part, start, SETTLE + span);
        last(SETTLE);
        let (before_ns, since) = (guard.usage().0, Instant::now());
        last(span);
        (guard.usage().0 - before_ns) / since.elapsed().as_nanos() as f64 * 100.0
    }

    /// Processor time a peer takes for one decision: what it uses from the line
    /// it writes before one scan to the line before the next. The median of
    /// `times`, the first not counted, which finds the kernel's caches empty.
    /// NaN where it writes no such line, or finds memory plenty in spite of all.
    pub fn scan_ns(&self, times: usize) -> f64 {
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        let peer = self.start(self.decide, writer);
        let mut used_ns = Vec::new();
        while used_ns.len() < times + 2 && wait_for(PEER_SCANS, &mut reader) {
            used_ns.push(peer.usage().0);
        }
        median(used_ns.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect())
    }
}

/// Reads until `wanted` has been written, for 5 s at most between writes.
fn wait_for(wanted: &[u8], log: &mut PipeReader) -> bool {
    const PATIENCE_MS: i32 = 5000;
    let mut said = Vec::new();
    while !said.ends_with(wanted) {
        let mut byte = [0];
        let mut readable = libc::pollfd { fd: log.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        let count = unsafe { libc::poll(&mut readable, 1, PATIENCE_MS) };
        if count != 1 || !matches!(log.read(&mut byte), Ok(1)) {
            return false;
        }
        said.push(byte[0]);
    }
    true
}

/// A guard that runs; it is ended when this is dropped.
struct Running(Child);

impl Running {
    /// Processor time and voluntary context switches so far.
    fn usage(&self) -> (f64, f64) {
        let schedstat = read_to_string(format!("/proc/{}/schedstat", self.0.id())).unwrap_or_default();
        (first_number(&schedstat), self.status("voluntary_ctxt_switches"))
    }

    fn status(&self, key: &str) -> f64 {
        let status = read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.map_or(f64::NAN, first_number)
    }

    /// Waits for its end and returns all processor time it used.
    fn wait_cpu_ns(mut self) -> f64 {
        let before_ns = children_cpu_ns();
        let ended = self.0.wait();
        if ended.is_ok_and(|status| status.success()) { children_cpu_ns() - before_ns } else { f64::NAN }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}
