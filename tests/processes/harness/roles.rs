//! The test executable in other parts: started with a role in its environment
//! it plays that, and never gets to its tests.

use super::eater::{Leader, OnTerm, Plan, WRITTEN_MIB, Writes};
use super::namespace::{REPORT, SCRATCH};
use std::ffi::{CString, c_int};
use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Seek, Write as _, stderr};
use std::process::{Command, exit, id};
use std::time::Duration;
use std::{env, fs, io, mem, ptr, thread};

/// A part to play.
pub enum Role<'a> {
    /// Holds memory until it is killed.
    Eater(&'a Plan),
    /// Holds so many MiB and runs a command as its child, whose exit status it
    /// takes over.
    Ancestor(usize, &'a [&'a str]),
    /// Has children called so: first those that end at once and are never
    /// reaped, then those that live until they are killed, of which it writes
    /// to standard error how many died of what.
    Breeder { comm: &'a str, zombies: usize, living: usize },
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
                let writes = match plan.writes {
                    Writes::Nothing => "nothing",
                    Writes::Once => "once",
                    Writes::On => "on",
                    Writes::Small => "small",
                    Writes::ToPipe => "to pipe",
                    Writes::AsProxy => "as proxy",
                };
                let (mib, growth_mib) = (plan.mib.to_string(), plan.growth_mib.to_string());
                let comm = plan.comm_or_name();
                ["eater", &mib, &growth_mib, writes, on_term, leader, &uid, comm, &plan.name].join(BETWEEN)
            }
            Self::Ancestor(mib, command) => {
                ["ancestor", &mib.to_string(), &command.join(BETWEEN)].join(BETWEEN)
            }
            Self::Breeder { comm, zombies, living } => {
                ["breeder", comm, &zombies.to_string(), &living.to_string()].join(BETWEEN)
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
        ["eater", mib, growth_mib, writes, on_term, leader, uid, comm, name] => {
            let part = Part { on_term, growth_mib, name };
            eat(mib, writes, leader, uid, comm, part)
        }
        ["breeder", comm, zombies, living] => breed(comm, number(zombies), number(living)),
        ["ancestor", mib, program, ref args @ ..] => beget(mib, program, args),
        ["reporter"] => report(),
        _ => exit(2),
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn hold(mib: &str) -> Vec<u8> {
    black_box(vec![1; number(mib) << 20])
}

fn set_comm(comm: &str) {
    // SAFETY: a C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, CString::new(comm).expect("no NUL").as_ptr()) };
}

/// What an eater does when it holds all its memory.
#[derive(Clone, Copy)]
struct Part<'a> {
    on_term: &'a str,
    growth_mib: &'a str,
    name: &'a str,
}

fn eat(mib: &str, writes: &str, leader: &str, uid: &str, comm: &str, part: Part<'_>) -> ! {
    let _memory = hold(mib);
    let heeded = heeded(part.on_term);
    set_comm(comm);
    // SAFETY: plain system calls on data that outlives them.
    unsafe {
        libc::sigprocmask(libc::SIG_BLOCK, &heeded, ptr::null_mut());
        if let Ok(uid) = uid.parse() {
            assert_eq!(libc::setresgid(uid, uid, uid), 0, "setresgid");
            assert_eq!(libc::setresuid(uid, uid, uid), 0, "setresuid");
            // As for a program that user has started.
            libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        }
    }
    match writes {
        "once" | "on" => write_file(writes == "on"),
        "small" => write_small_files(),
        "to pipe" => write_pipe(format!("{}\n", id()).as_bytes()),
        "as proxy" => write_pipe(&WRITE[..LOG]),
        _ => {}
    }
    if leader == "exits" {
        let script = [part.on_term, part.growth_mib, part.name].map(str::to_owned);
        thread::spawn(move || {
            let stat = || fs::read_to_string("/proc/self/stat").unwrap_or_default();
            while !stat().contains(") Z ") {
                thread::yield_now();
            }
            let [on_term, growth_mib, name] = &script;
            serve(Part { on_term, growth_mib, name })
        });
        // SAFETY: ends this thread only; what it owns is never freed.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    serve(part)
}

/// What one write(2) writes, and how long it rests then when it goes on.
static WRITE: [u8; 32 << 10] = [1; 32 << 10];
const WRITE_REST: Duration = Duration::from_millis(2);

/// Writes [`WRITTEN_MIB`], and goes on in a thread of its own if it is to.
fn write_first(goes_on: bool, mut write: impl FnMut() + Send + 'static) {
    (0..(WRITTEN_MIB as usize) << 20).step_by(WRITE.len()).for_each(|_| write());
    let go_on = move || {
        // Who writes is to write between any two looks of a guard, which is of
        // the highest priority, on a busy machine too.
        // SAFETY: no pointers; it goes on where this is refused.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
        loop {
            if goes_on {
                write();
            }
            thread::sleep(WRITE_REST);
        }
    };
    thread::spawn(go_on);
}

fn write_file(goes_on: bool) {
    const MOST: u64 = 4 << 20;
    let mut file = File::create(format!("{SCRATCH}/file.{}", id())).expect("a file in scratch");
    write_first(goes_on, move || {
        // Again and again the same few pages.
        if file.stream_position().expect("a position") >= MOST {
            file.rewind().expect("a seek");
        }
        file.write_all(&WRITE).expect("room");
    });
}

/// Each is open until the next one is there, and gone a little later.
fn write_small_files() {
    const SMALL: usize = 600;
    const KEPT: usize = 64;
    let path = |number: usize| format!("{SCRATCH}/small.{}.{number}", id());
    let mut newest = 0;
    let mut file = None;
    write_first(true, move || {
        // As many pages as one write takes.
        for _ in (0..WRITE.len()).step_by(4096) {
            newest += 1;
            let mut next = File::create(path(newest)).expect("a file in scratch");
            next.write_all(&WRITE[..SMALL]).expect("room");
            file = Some(next);
            if newest > KEPT {
                fs::remove_file(path(newest - KEPT)).expect("it was there");
            }
        }
        let _ = &file;
    });
}

/// More than a pidfile may have.
const LOG: usize = 12 << 10;

fn write_pipe(beside: &[u8]) {
    let mut own = File::create(format!("{SCRATCH}/own.{}", id())).expect("a file in scratch");
    own.write_all(beside).expect("room");
    let path = format!("{SCRATCH}/pipe.{}", id());
    let c_path = CString::new(path.clone()).expect("no NUL");
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0, "mkfifo");
    let mut pipe = File::options().read(true).write(true).open(path).expect("the pipe");
    write_first(true, move || {
        let _ = &own;
        pipe.write_all(&WRITE).expect("an empty pipe holds as much");
        pipe.read_exact(&mut WRITE.clone()).expect("what was just written");
    });
}

/// Says that it is ready, then waits for the end.
fn serve(part: Part<'_>) -> ! {
    let Part { on_term, growth_mib, name } = part;
    println!("ready");
    let heeded = heeded(on_term);
    let mut memory = Vec::new();
    loop {
        let mut signal = 0;
        // SAFETY: an initialised signal set and an integer to write to. Of
        // several signals the lowest comes first, and so SIGTERM.
        unsafe { libc::sigwait(&heeded, &mut signal) };
        let heard = match signal {
            libc::SIGTERM => "SIGTERM",
            libc::SIGUSR1 => {
                memory.push(hold(growth_mib));
                "grown"
            }
            _ => "unharmed",
        };
        say(&format!("{name}: {heard}"));
        if signal == libc::SIGTERM && on_term == "report" {
            // SAFETY: an initialised signal set.
            unsafe {
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &heeded, ptr::null_mut());
                libc::raise(signal);
            }
        }
    }
}

/// One write: lines of several processes must not mix.
fn say(line: &str) {
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}

/// The signals an eater does something about itself.
fn heeded(on_term: &str) -> libc::sigset_t {
    // SAFETY: sigemptyset makes it an empty set.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGWINCH);
        libc::sigaddset(&mut set, libc::SIGUSR1);
        if on_term != "die" {
            libc::sigaddset(&mut set, libc::SIGTERM);
        }
        set
    }
}

/// What each living child of a breeder holds.
pub const MITE_MIB: usize = 2;

fn breed(comm: &str, zombies: usize, living: usize) -> ! {
    // Who is forked is called so from the start.
    set_comm(comm);
    // SAFETY: there is one thread, so the child finds no lock held.
    let fork = |part: &mut dyn FnMut()| match unsafe { libc::fork() } {
        0 => {
            part();
            // SAFETY: runs nothing of what is registered for the exit.
            unsafe { libc::_exit(0) }
        }
        pid => pid,
    };
    let wait_for = |pid: c_int, options: c_int| {
        // SAFETY: all zero is a valid siginfo_t, written to by waitid.
        unsafe {
            let mut info: libc::siginfo_t = mem::zeroed();
            assert_eq!(libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, options), 0, "waitid");
            info.si_status()
        }
    };
    for zombie in (0..zombies).map(|_| fork(&mut || {})).collect::<Vec<_>>() {
        wait_for(zombie, libc::WEXITED | libc::WNOWAIT);
    }
    // SAFETY: takes nothing.
    let forever = || unsafe {
        libc::pause();
    };
    let (mut born, mut cry) = io::pipe().expect("pipe");
    let mut live = || {
        let _memory = black_box(vec![1_u8; MITE_MIB << 20]);
        cry.write_all(b"1").expect("its parent lives");
        forever();
    };
    let children: Vec<c_int> = (0..living).map(|_| fork(&mut live)).collect();
    born.read_exact(&mut vec![0; living]).expect("all are born");
    set_comm("breeder");
    println!("ready");
    let deaths: Vec<c_int> = children.into_iter().map(|pid| wait_for(pid, libc::WEXITED)).collect();
    let killed = deaths.iter().filter(|&&signal| signal == libc::SIGKILL).count();
    say(&format!("breeder: {killed} of {} died of SIGKILL", deaths.len()));
    loop {
        forever();
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
