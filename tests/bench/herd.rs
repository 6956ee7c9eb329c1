//! Thousands of idle processes in a PID namespace of their own: they and what
//! measures them see nothing else, and none of them outlives the benchmark.

use std::io::Error;

/// Runs `inside` as process 1 of a new PID namespace with its own /proc and
/// returns its exit status. However this process ends, by Ctrl-C too, the
/// kernel ends that one, and with it everything it started.
pub fn in_own_namespace(inside: fn()) -> i32 {
    if let Err(error) = unshare() {
        eprintln!("cannot make a PID namespace to measure in: {error}");
        return 1;
    }
    // SAFETY: there is one thread, so the child finds no lock held.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: takes two integers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            mount_proc().expect("cannot mount /proc in the namespace");
            inside();
            std::process::exit(0)
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is valid to write to.
            unsafe { libc::waitpid(child, &mut status, 0) };
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1 }
        }
    }
}

/// An ordinary user needs a user namespace to be allowed the others.
fn unshare() -> Result<(), Error> {
    let uid = rustix::process::geteuid().as_raw();
    let user = if uid == 0 { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: there is one thread, and nothing relies on the old namespaces.
    check(unsafe { libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS | user) })?;
    if user != 0 {
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    }
    Ok(())
}

fn mount_proc() -> Result<(), Error> {
    let none = std::ptr::null();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: C strings, or null pointers where mount(2) ignores them.
    check(unsafe { libc::mount(none, c"/".as_ptr(), none, private, none.cast()) })?;
    let (proc, path) = (c"proc".as_ptr(), c"/proc".as_ptr());
    // SAFETY: the same.
    check(unsafe { libc::mount(proc, path, proc, 0, none.cast()) })
}

fn check(answer: i32) -> Result<(), Error> {
    if answer == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// A process that only waits; it is ended when this is dropped.
pub struct Idle(i32);

impl Idle {
    /// Forks one that holds what we hold. `None` where no more are allowed.
    pub fn fork() -> Option<Self> {
        // SAFETY: there is one thread; the child calls nothing but pause(2).
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: takes nothing.
                unsafe { libc::pause() };
            },
            pid => (pid > 0).then_some(Self(pid)),
        }
    }

    /// Forks one that is worth killing: it holds 64 MiB.
    pub fn fork_culprit() -> Option<Self> {
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        let culprit = Self::fork();
        drop(memory);
        culprit
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // SAFETY: takes integers and a null pointer; our own child, and not
        // waited for before, so the pid is still its own.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}
