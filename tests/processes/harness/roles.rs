//! The test executable in other parts: started with a role in its environment
//! it plays that, and never gets to its tests.

use super::eater::{Leader, OnTerm, Plan};
use super::namespace::REPORT;
use std::ffi::CString;
use std::fmt::{Debug, Write as _};
use std::hint::black_box;
use std::io::Write as _;
use std::process::{Command, exit};
use std::{env, fs, mem, ptr, thread};

/// A part to play.
pub enum Role<'a> {
    /// Holds memory until it is killed.
    Eater(&'a Plan),
    /// Holds so many MiB and runs a command as its child, whose exit status it
    /// takes over.
    Ancestor(usize, &'a [&'a str]),
    /// Writes to [`REPORT`] how it was started.
    Reporter,
}

/// The environment variable a role stands in, its words [`BETWEEN`] them.
pub const ROLE: &str = "TEST_BUSTD_ROLE";
const BETWEEN: &str = "\x1f";

impl Role<'_> {
    /// What [`ROLE`] holds.
    pub fn script(&self) -> String {
        match self {
            Self::Eater(plan) => {
                let on_term = match plan.on_term {
                    OnTerm::Die => "die",
                    OnTerm::Report => "report",
                    OnTerm::Ignore => "ignore",
                };
                let leader = if plan.leader == Leader::Exits { "exits" } else { "stays" };
                let uid = plan.uid.map(|uid| uid.to_string()).unwrap_or_default();
                ["eater", &plan.mib.to_string(), on_term, leader, &uid, &plan.name].join(BETWEEN)
            }
            Self::Ancestor(mib, command) => {
                ["ancestor", &mib.to_string(), &command.join(BETWEEN)].join(BETWEEN)
            }
            Self::Reporter => "reporter".to_owned(),
        }
    }

    /// Our own executable in that part.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env::current_exe().expect("a test executable"));
        command.env(ROLE, self.script());
        command
    }
}

/// Runs before main, and so before the test harness parses its arguments.
#[used]
#[unsafe(link_section = ".init_array")]
static STAGE_DOOR: extern "C" fn() = stage_door;

extern "C" fn stage_door() {
    let Ok(script) = env::var(ROLE) else { return };
    let words: Vec<&str> = script.split(BETWEEN).collect();
    match words[..] {
        ["eater", mib, on_term, leader, uid, name] => eat(mib, on_term, leader, uid, name),
        ["ancestor", mib, program, ref args @ ..] => beget(mib, program, args),
        ["reporter"] => report(),
        _ => exit(2),
    }
}

fn hold(mib: &str) -> Vec<u8> {
    let mib: usize = mib.parse().expect("a number");
    black_box(vec![1; mib << 20])
}

fn eat(mib: &str, on_term: &str, leader: &str, uid: &str, name: &str) -> ! {
    let _memory = hold(mib);
    let heeded = heeded(on_term);
    // SAFETY: plain system calls on data that outlives them.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, CString::new(name).expect("no NUL").as_ptr());
        libc::sigprocmask(libc::SIG_BLOCK, &heeded, ptr::null_mut());
        if let Ok(uid) = uid.parse() {
            assert_eq!(libc::setresgid(uid, uid, uid), 0, "setresgid");
            assert_eq!(libc::setresuid(uid, uid, uid), 0, "setresuid");
            // As for a program that user has started.
            libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        }
    }
    if leader == "exits" {
        let (on_term, name) = (on_term.to_owned(), name.to_owned());
        thread::spawn(move || {
            let stat = || fs::read_to_string("/proc/self/stat").unwrap_or_default();
            while !stat().contains(") Z ") {
                thread::yield_now();
            }
            serve(&on_term, &name)
        });
        // SAFETY: ends this thread only; what it owns is never freed.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    serve(on_term, name)
}

/// Says that it is ready, then waits for the end.
fn serve(on_term: &str, name: &str) -> ! {
    println!("ready");
    let heeded = heeded(on_term);
    loop {
        let mut signal = 0;
        // SAFETY: an initialised signal set and an integer to write to. Of
        // several signals the lowest comes first, and so SIGTERM.
        unsafe { libc::sigwait(&heeded, &mut signal) };
        let heard = if signal == libc::SIGTERM { "SIGTERM" } else { "unharmed" };
        // One write: lines of several processes must not mix.
        let _ = std::io::stderr().write_all(format!("{name}: {heard}\n").as_bytes());
        if signal == libc::SIGTERM && on_term == "report" {
            // SAFETY: an initialised signal set.
            unsafe {
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &heeded, ptr::null_mut());
                libc::raise(signal);
            }
        }
    }
}

/// The signals an eater does something about itself.
fn heeded(on_term: &str) -> libc::sigset_t {
    // SAFETY: sigemptyset makes it an empty set.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGWINCH);
        if on_term != "die" {
            libc::sigaddset(&mut set, libc::SIGTERM);
        }
        set
    }
}

fn beget(mib: &str, program: &str, args: &[&str]) -> ! {
    let _memory = hold(mib);
    let status = Command::new(program).args(args).env_remove(ROLE).status().expect("a child");
    exit(status.code().unwrap_or(1))
}

/// How this process was started, a `key=value` a line.
fn report() -> ! {
    let mut out = String::new();
    let mut put = |key: &str, value: &dyn Debug| writeln!(out, "{key}={value:?}").expect("a string");
    let read = |path: &str| fs::read_to_string(path).expect("/proc");
    for (key, _) in env::vars_os() {
        // What a program sees that asks for it, if there are two.
        put(&key.to_string_lossy(), &env::var_os(&key));
    }
    let status = read("/proc/self/status");
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"));
    put("blocked", &blocked.expect("a mask"));
    put("oom_score_adj", &read("/proc/self/oom_score_adj").trim());
    // SAFETY: plain system calls without pointers.
    let (nice, session, pid) =
        unsafe { (libc::getpriority(libc::PRIO_PROCESS, 0), libc::getsid(0), libc::getpid()) };
    put("nice", &nice);
    put("leads its session", &(session == pid));
    put("stdin", &fs::read_link("/proc/self/fd/0").expect("stdin"));
    let open = fs::read_dir("/proc/self/fd").expect("/proc").map(|entry| entry.expect("/proc").path());
    // The directory being read is one of them, and gone afterwards.
    let open: Vec<_> = open.filter_map(|path| fs::read_link(&path).ok().map(|link| (path, link))).collect();
    put("open", &open.iter().filter(|(_, link)| !link.starts_with("/proc")).count());
    fs::write(REPORT, out).expect("a report");
    exit(0)
}
