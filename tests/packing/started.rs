//! The file of `make static`, started. `make check-static` names it in
//! `BUSTD_STATIC`; without that, nothing is known of its age, and it is left alone.
//! Nothing here lets it kill: it answers questions, or guards with --dry-run.

use crate::harness::{eventually, exit_of, in_namespace, refuse, skip, unshare};
use std::ffi::c_long;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// The packed file, unless there is none.
fn packed() -> Option<PathBuf> {
    let Some(path) = std::env::var_os("BUSTD_STATIC").map(PathBuf::from) else {
        skip("no BUSTD_STATIC (make check-static)");
        return None;
    };
    if fs::read(&path).unwrap() == fs::read(plain(&path)).unwrap() {
        skip("the static file is not packed");
        return None;
    }
    Some(path)
}

/// The same program as it was linked.
fn plain(packed: &std::path::Path) -> PathBuf {
    packed.with_extension("plain")
}

/// Its answer to a question, after something was done to the process.
fn version(path: &std::path::Path, prepare: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(path);
    command.arg("--version").env_clear();
    prepare(&mut command);
    command.output().expect("it starts")
}

fn assert_answers(path: &std::path::Path, prepare: impl FnOnce(&mut Command)) {
    let output = version(path, prepare);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("bustd "), "{output:?}");
}

/// Has the process call this before it becomes the program.
fn before(command: &mut Command, call: impl Fn() -> i32 + Send + Sync + 'static) {
    let call = move || if call() == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: each makes one system call, on its own stack.
    unsafe { command.pre_exec(call) };
}

fn limit(resource: libc::__rlimit_resource_t, bytes: u64) -> i32 {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: a valid limit.
    unsafe { libc::setrlimit(resource, &limit) }
}

/// Has memfd_create(2) know no flag but that of Linux 3.17, MFD_CLOEXEC.
fn refuse_memfd_flags(command: &mut Command) {
    let install = || {
        const NUMBER: u32 = 0;
        const SECOND: u32 = 16 + 8 + if cfg!(target_endian = "big") { 4 } else { 0 };
        let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        let is_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let answer = libc::BPF_RET | libc::BPF_K;
        let mut steps = [
            step(load, 0, 0, NUMBER),
            step(is_equal, 0, 3, libc::SYS_memfd_create as u32),
            step(load, 0, 0, SECOND),
            step(is_equal, 1, 0, libc::MFD_CLOEXEC),
            step(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
            step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: a valid filter that outlives the calls.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        }
    };
    before(command, install);
}

/// A guard that kills nobody.
struct Guard(Child);

impl Guard {
    /// Returns once it watches.
    fn start(path: &std::path::Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let log =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("log.{:?}", std::thread::current().id()));
        let mut command = Command::new(path);
        command
            .args(["-n", "--dry-run", "--scope", "machine"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.stderr(fs::File::create(&log).unwrap());
        prepare(&mut command);
        let guard = Self(command.spawn().expect("it starts"));
        eventually("it watches", || fs::read_to_string(&log).unwrap().contains("watching"));
        // The line is written before the loop begins, which gives up start-up.
        eventually("start-up is given up", || !guard.mappings().iter().any(Mapping::is_of_loader));
        guard
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(format!("/proc/{}/{name}", self.0.id())).unwrap()
    }

    fn mappings(&self) -> Vec<Mapping> {
        let text = String::from_utf8(self.read("maps")).unwrap();
        text.lines().map(Mapping::parse).collect()
    }

    /// What it has in the range of the program and of its loader.
    fn rights(&self) -> Vec<String> {
        let of_program = |mapping: &Mapping| mapping.start < PROGRAM_END;
        self.mappings().into_iter().filter(of_program).map(|mapping| mapping.rights).collect()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Above this, machines of 64 bits map only what has no address of its own.
const PROGRAM_END: u64 = 1 << 28;

struct Mapping {
    start: u64,
    rights: String,
    file: String,
}

impl Mapping {
    fn parse(line: &str) -> Self {
        let mut fields = line.split_whitespace();
        let range = fields.next().unwrap();
        let start = u64::from_str_radix(range.split('-').next().unwrap(), 16).unwrap();
        let rights = fields.next().unwrap().to_owned();
        Self { start, rights, file: fields.nth(3).unwrap_or_default().to_owned() }
    }

    /// Is it of the file itself, of which nothing but the loader is mapped?
    fn is_of_loader(&self) -> bool {
        self.file.starts_with('/') && !self.file.starts_with("/memfd:")
    }
}

#[test]
fn it_answers_as_the_plain_file() {
    let Some(packed) = packed() else { return };
    for arguments in [&["--version"][..], &["--help"], &["--no-such-option"], &["--check", "--prefer", "a|b"]]
    {
        let answer = |path| {
            let Output { status, stdout, stderr } = Command::new(path).args(arguments).output().unwrap();
            (
                status,
                String::from_utf8_lossy(&stdout).into_owned(),
                String::from_utf8_lossy(&stderr).into_owned(),
            )
        };
        let (status, stdout, stderr) = answer(packed.clone());
        assert_eq!((status, &stderr), (answer(plain(&packed)).0, &answer(plain(&packed)).2), "{arguments:?}");
        assert_eq!(stdout.lines().next(), answer(plain(&packed)).1.lines().next(), "{arguments:?}");
    }
}

#[test]
fn it_is_found_by_its_name_and_leaves_nothing_of_the_loader() {
    let Some(packed) = packed() else { return };
    let guard = Guard::start(&packed, |_| {});
    assert_eq!(guard.read("comm"), b"bustd\n");
    assert_eq!(fs::read_link(format!("/proc/{}/exe", guard.0.id())).unwrap(), packed);
    let cmdline = [packed.as_os_str().as_encoded_bytes(), b"\0-n\0--dry-run\0--scope\0machine\0"].concat();
    assert_eq!(guard.read("cmdline"), cmdline);
    assert_eq!(guard.rights(), ["r-xp", "rw-p"]);
}

#[test]
fn it_starts_where_written_memory_may_not_be_executed() {
    let Some(packed) = packed() else { return };
    // As systemd's MemoryDenyWriteExecute does it, and SELinux and PaX by errno.
    for errno in [libc::EPERM, libc::EACCES] {
        let guard = Guard::start(&packed, |command| refuse(command, &[libc::SYS_mprotect], errno));
        assert_eq!(guard.rights(), ["r-xp", "rw-p"]);
        assert!(guard.mappings()[0].file.starts_with("/memfd:bustd"));
    }
}

#[test]
fn it_starts_where_the_kernel_itself_denies_it() {
    const PR_SET_MDWE: i32 = 65;
    const REFUSE_EXEC_GAIN: u64 = 1;
    // SAFETY: asks for the state, which changes nothing.
    if unsafe { libc::prctl(66, 0, 0, 0, 0) } < 0 {
        return skip("no PR_SET_MDWE before Linux 6.3");
    }
    let Some(packed) = packed() else { return };
    let guard = Guard::start(&packed, |command| {
        // SAFETY: changes a flag of this process.
        before(command, || unsafe { libc::prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) });
    });
    assert_eq!(guard.rights(), ["r-xp", "rw-p"]);
    assert!(guard.mappings()[0].file.starts_with("/memfd:bustd"));
}

#[test]
fn it_starts_where_files_in_memory_may_not_be_executed_either() {
    in_namespace(|| {
        let Some(packed) = packed() else { return };
        if fs::write("/proc/sys/vm/memfd_noexec", "2").is_err() {
            return skip("no vm.memfd_noexec before Linux 6.3, or it cannot be set");
        }
        let guard = Guard::start(&packed, |command| refuse(command, &[libc::SYS_mprotect], libc::EPERM));
        assert!(guard.mappings()[0].file.starts_with("/memfd:bustd"));
    });
}

/// Kernels refuse flags that they do not know.
#[test]
fn it_starts_where_the_kernel_is_older() {
    let Some(packed) = packed() else { return };
    let guard = Guard::start(&packed, |command| {
        refuse_memfd_flags(command);
        refuse(command, &[libc::SYS_mprotect], libc::EPERM);
    });
    assert!(guard.mappings()[0].file.starts_with("/memfd:bustd"));
}

#[test]
fn it_says_why_where_it_can_unpack_nowhere() {
    let Some(packed) = packed() else { return };
    const BOTH: &[c_long] = &[libc::SYS_mprotect, libc::SYS_memfd_create];
    for errno in [libc::EPERM, libc::ENOSYS] {
        let output = version(&packed, |command| refuse(command, BOTH, errno));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((text.lines().count(), output.stdout.len()), (1, 0), "{text}");
        assert!(text.starts_with("bustd: ") && text.contains("PACK=no"), "{text}");
    }
    // The plain file does neither.
    assert_answers(&plain(&packed), |command| refuse(command, BOTH, libc::EPERM));
}

#[test]
fn it_starts_with_little() {
    let Some(packed) = packed() else { return };
    // Four megabytes of it are for unpacking, and then two for reading the command line.
    assert_answers(&packed, |command| before(command, || limit(libc::RLIMIT_AS, 5 << 20)));
    assert_answers(&packed, |command| before(command, || limit(libc::RLIMIT_STACK, 64 << 10)));
    assert_answers(&packed, |command| before(command, || limit(libc::RLIMIT_STACK, libc::RLIM_INFINITY)));
    assert_answers(&packed, |command| before(command, || limit(libc::RLIMIT_MEMLOCK, 0)));
    assert_answers(&packed, |command| before(command, || limit(libc::RLIMIT_DATA, 5 << 20)));
    assert_answers(&packed, |command| before(command, || limit(libc::RLIMIT_NOFILE, 0)));
    // Addresses that are not random: the heap begins right behind the file.
    assert_answers(&packed, |command| {
        // SAFETY: changes a flag of this process.
        before(command, || i32::from(unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as _) } < 0));
    });
}

#[test]
fn it_starts_with_whatever_is_on_the_stack() {
    let Some(packed) = packed() else { return };
    assert_answers(&packed, |command| {
        command.env("LONG", "x".repeat(100_000)).env("", "no name");
    });
    for count in 0..9 {
        assert_answers(&packed, |command| {
            command.envs((0..count).map(|at| (format!("V{at}"), "value")));
        });
    }
}

/// Processor time so far.
fn processor_time(pid: i32) -> Duration {
    let mut clock = 0;
    // SAFETY: a clock and a time to be written to.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        if libc::clock_getcpuclockid(pid, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0 {
            return Duration::ZERO;
        }
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// Most of the time that it takes to start, the loader runs, and process 1 is sent nothing
/// that it has not blocked.
#[test]
fn process_1_loses_no_signal_while_it_is_unpacked() {
    in_namespace(|| {
        let Some(packed) = packed() else { return };
        let mut command = unshare();
        command.arg(&packed).args(["--dry-run", "--", "sleep", "1000"]);
        let mut namespace = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("it is being unpacked", || {
            let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", namespace.id()));
            let init = children.unwrap_or_default().trim().parse().unwrap_or(0);
            let is_it = fs::read(format!("/proc/{init}/comm")).is_ok_and(|comm| comm == b"bustd\n");
            let unpacks = is_it && processor_time(init) > Duration::from_millis(15);
            // SAFETY: takes numbers.
            unpacks && unsafe { libc::kill(init, libc::SIGTERM) } == 0
        });
        assert_eq!(exit_of(&mut namespace).code(), Some(143));
        // What it blocked is not blocked in the command.
        let mut command = unshare();
        command.arg(&packed).args(["--dry-run", "--"]);
        let told = command.args(["sed", "-n", "s/^SigBlk:.//p", "/proc/self/status"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&told.stdout), "0000000000000000\n");
    });
}
