//! Where tests happen: as process 1 of a new pid namespace with a /proc of its
//! own, so that a guard that may kill sees nothing but the test's processes.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio, id};
use std::sync::OnceLock;
use std::{env, fs, thread};

/// A directory of the test's own, a tmpfs that everybody may search.
pub const SCRATCH: &str = "/run";

/// The program under test, where every user may run it.
pub const PROGRAM: &str = "/run/bustd";

/// What a [`Role::Reporter`](super::Role::Reporter) writes.
pub const REPORT: &str = "/run/report";

/// Set inside a namespace.
const INSIDE: &str = "TEST_BUSTD_INSIDE";

/// unshare(1), which makes what it is to run process 1 of a new namespace and
/// takes that with it when it ends.
pub fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// Runs `body` there; skips the test, with a word, where that is not allowed.
pub fn in_namespace(body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        assert_inside();
        // Ignored under nohup(1) and in a shell's background, and no shell can undo that for itself.
        for number in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
            // SAFETY: the default action runs no code of ours.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
        mount(&["-t", "tmpfs", "-o", "mode=755", "none", SCRATCH]);
        fs::write(PROGRAM, "").expect("a file in scratch");
        mount(&["--bind", env!("CARGO_BIN_EXE_bustd"), PROGRAM]);
        return body();
    }
    // This very test, as process 1.
    let test = thread::current().name().expect("tests are named").to_owned();
    let Some(mut command) = inside(&test) else { return };
    let output = command.stdin(Stdio::null()).output().expect("unshare(1)");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success() && told.contains("1 passed"), "inside the namespace:\n{told}");
    for line in told.lines() {
        if let Some((_, why)) = line.split_once(SKIPPED) {
            skip(why);
        } else if let Some(text) = line.strip_prefix(TOLD) {
            tell(text);
        }
    }
}

/// The same for tests of what one user does to another; skips the test where root
/// is one of a user namespace and nobody else is there.
pub fn in_namespace_with_users(body: impl FnOnce()) {
    in_namespace(|| if is_initial_user() { body() } else { skip("there is only one user here") });
}

/// This program's test `test` as process 1 of a new namespace, where what it
/// gives [`in_namespace`] is run; `None`, with a word, where that is not allowed.
pub fn inside(test: &str) -> Option<Command> {
    let Some(user) = user_flags() else {
        skip("no pid namespaces here, neither by unshare(1) nor with --user");
        return None;
    };
    let mut command = unshare();
    command.args(user).arg(env::current_exe().expect("a test executable"));
    command.args([test, "--exact", "--nocapture"]).env(INSIDE, "yes");
    Some(command)
}

/// What unshare(1) needs besides to be allowed to; `None` when nothing helps.
fn user_flags() -> Option<&'static [&'static str]> {
    static FLAGS: OnceLock<Option<&[&str]>> = OnceLock::new();
    *FLAGS.get_or_init(|| {
        let works = |flags: &&[&str]| {
            let probe = unshare().args(*flags).arg("true").output();
            probe.is_ok_and(|output| output.status.success())
        };
        [&[][..], &["--user", "--map-root-user"]].into_iter().find(works)
    })
}

/// Panics unless nothing outside can be reached from here.
pub fn assert_inside() {
    let own = fs::read_link("/proc/self").expect("/proc");
    assert!(own == OsStr::new("1") && id() == 1, "not in a namespace of our own: {own:?}");
}

/// Are we root of the machine, and not only of a user namespace?
fn is_initial_user() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

const SKIPPED: &str = "skipped: ";

/// Says why a test does not take place, past the test harness's capture.
pub fn skip(why: &str) {
    let name = thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "{name} {SKIPPED}{why}");
}

const TOLD: &str = "told: ";

/// Tells what a test has found, past the test harness's capture.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{TOLD}{text}");
}

/// mount(8), for this namespace only.
pub fn mount(args: &[&str]) {
    let status = Command::new("mount").args(args).status().expect("mount(8)");
    assert!(status.success(), "mount {args:?}: {status}");
}

/// Writes an executable script.
pub fn script(name: &str, text: &str) -> String {
    let path = format!("{SCRATCH}/{name}");
    fs::write(&path, text).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    path
}
