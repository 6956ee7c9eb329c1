//! Capabilities, no_new_privs and the filter, as /proc tells of them.

use crate::harness::{
    ASK, Eater, Guard, Journal, NOBODY, ONCE, PROGRAM, QUIET, Writes, bustd, eventually, in_namespace,
    in_namespace_with_users, mount, refuse, script, skip,
};
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const CAP_DAC_OVERRIDE: u64 = 1 << 1;
const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
const CAP_KILL: u64 = 1 << 5;
const CAP_SYS_PTRACE: u64 = 1 << 19;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const KEPT: u64 = CAP_DAC_READ_SEARCH | CAP_KILL | CAP_SYS_PTRACE;

/// The rights of a process, by the names that its `status` has for them.
type Rights = BTreeMap<String, u64>;

fn parse(status: &str) -> Rights {
    let lines = status.lines().filter_map(|line| line.split_once(":\t"));
    let is_right = |key: &str| key.starts_with("Cap") || key == "NoNewPrivs" || key == "Seccomp";
    let number = |text| u64::from_str_radix(text, 16).expect("a number");
    lines.filter(|(key, _)| is_right(key)).map(|(key, text)| (key.to_owned(), number(text))).collect()
}

fn rights(pid: Pid) -> Rights {
    parse(&fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives"))
}

/// Those of this test, which a guard is started with.
fn own_rights() -> Rights {
    rights(Pid::from_raw(1).expect("not 0"))
}

/// Has the machine's table of open files end after so many.
fn end_files_at(most: u64) {
    fs::write("/run/file-max", format!("{most}\n")).expect("scratch");
    mount(&["--bind", "/run/file-max", "/proc/sys/fs/file-max"]);
}

/// As systemd sets it: never.
const NO_END: u64 = i64::MAX as u64;

/// A guard that has begun its loop, and its start-up line.
fn begin(journal: &mut Journal, options: &[&[&str]]) -> (Guard, String) {
    let guard = Guard::start(journal, options);
    let line = journal.expect("watching");
    // It says so before the filter is in force, and this is answered by the loop.
    guard.look(journal);
    (guard, line)
}

#[test]
fn a_guard_keeps_three_capabilities_and_can_gain_none() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let own = own_rights();
        end_files_at(NO_END);
        let (guard, line) = begin(&mut journal, &[QUIET]);
        assert!(line.contains("; sandbox: on"), "{line:?}");
        let rights = rights(guard.pid());
        let expected = [
            ("CapInh", 0),
            ("CapPrm", own["CapPrm"] & KEPT),
            ("CapEff", own["CapEff"] & KEPT),
            ("CapBnd", 0),
            ("CapAmb", 0),
            ("NoNewPrivs", 1),
            ("Seccomp", 2),
        ];
        assert_eq!(rights, expected.map(|(key, value)| (key.to_owned(), value)).into());
        guard.end();
    });
}

/// A user who has all the files there are must not blind it: tests/vm/scenes/file-table.
#[test]
fn where_the_table_of_open_files_has_an_end_it_keeps_what_opens_more() {
    in_namespace(|| {
        let mut journal = Journal::new();
        end_files_at(100_000);
        let (guard, line) = begin(&mut journal, &[QUIET]);
        assert!(line.contains("; sandbox: on"), "{line:?}");
        let expected = own_rights()["CapEff"] & (KEPT | CAP_SYS_ADMIN);
        let rights = rights(guard.pid());
        assert_eq!((rights["CapEff"], rights["CapPrm"], rights["CapBnd"]), (expected, expected, 0));
        guard.end();
    });
}

#[test]
fn an_ordinary_users_guard_is_sandboxed_too() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let mut command = bustd(&journal, &[QUIET]);
        command.uid(NOBODY).gid(NOBODY);
        let guard = Guard::spawn(command);
        assert!(journal.expect("watching").contains("; sandbox: on"));
        guard.look(&mut journal);
        let rights = rights(guard.pid());
        let told = ["CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp"].map(|key| rights[key]);
        assert_eq!(told, [0, 0, 0, 0, 1, 2]);
        guard.end();
    });
}

#[test]
fn without_a_sandbox_it_keeps_all_rights() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let (guard, line) = begin(&mut journal, &[QUIET, &["--no-sandbox"]]);
        assert!(line.contains("; sandbox: off"), "{line:?}");
        assert_eq!(rights(guard.pid()), own_rights());
        guard.end();
    });
}

#[test]
fn a_hook_has_the_rights_that_the_guard_was_started_with() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let own = own_rights();
        end_files_at(NO_END);
        let hook = script("hook", "#!/bin/sh\ncat /proc/self/status >/run/new\nmv /run/new /run/of_hook\n");
        let mut victim = Eater::named("victim").start(&journal);
        let guard = Guard::start(&journal, &[ASK, &["--on-kill", &hook]]);
        let line = journal.expect("watching");
        assert!(line.contains("; sandbox: capabilities only"), "{line:?}");
        let rights = rights(guard.pid());
        assert_eq!(rights["CapEff"], own["CapEff"] & (KEPT | CAP_DAC_OVERRIDE));
        assert_eq!(rights["CapPrm"], own["CapPrm"] & (KEPT | CAP_DAC_OVERRIDE | own["CapInh"]));
        journal.expect("\"victim\" died ");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        guard.end();
        eventually("the hook has ended", || fs::exists("/run/of_hook").is_ok_and(|is_there| is_there));
        assert_eq!(parse(&fs::read_to_string("/run/of_hook").expect("the hook ran")), own);
    });
}

/// As from a service manager that starts the guard as a user of its own.
#[test]
fn a_hook_of_an_ordinary_user_has_its_ambient_capabilities() {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    if Command::new("setpriv").args(["--inh-caps", "-all", "true"]).output().is_err() {
        return skip("no setpriv(1)");
    }
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        mount(&["-t", "tmpfs", "-o", "mode=777", "none", "/mnt"]);
        let hook = script("hook", "#!/bin/sh\ncat /proc/self/status >/mnt/new\nmv /mnt/new /mnt/of_hook\n");
        let mut victim = Eater::named("victim").start(&journal);
        let (user, set) = (NOBODY.to_string(), "+kill,+net_admin");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        command
            .args(["--inh-caps", set, "--ambient-caps", set, PROGRAM])
            .args(ASK)
            .args(["--on-kill", &hook]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let guard = Guard::spawn(command);
        assert!(journal.expect("watching").contains("; sandbox: capabilities only"));
        assert_eq!(rights(guard.pid())["CapEff"], CAP_KILL);
        journal.expect("\"victim\" died ");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        eventually("the hook has ended", || fs::exists("/mnt/of_hook").is_ok_and(|is_there| is_there));
        guard.end();
        let of_hook = parse(&fs::read_to_string("/mnt/of_hook").expect("the hook ran"));
        assert_eq!(of_hook["CapAmb"], CAP_KILL | CAP_NET_ADMIN);
        assert_eq!(of_hook["CapEff"], CAP_KILL | CAP_NET_ADMIN);
    });
}

#[test]
fn a_kernel_without_seccomp_is_told_of_in_a_word() {
    in_namespace(|| {
        let mut journal = Journal::new();
        for (calls, word) in
            [(&[libc::SYS_prctl][..], "; sandbox: no seccomp"), (&[libc::SYS_capset][..], "; sandbox: off")]
        {
            let mut victim = Eater::named("victim").start(&journal);
            let mut command = bustd(&journal, &[ASK]);
            refuse(&mut command, calls, libc::EINVAL);
            let guard = Guard::spawn(command);
            let line = journal.expect("watching");
            assert!(line.contains(word), "{line:?}");
            journal.expect("\"victim\" died ");
            assert_eq!(victim.death(), Some(libc::SIGTERM));
            guard.end();
        }
    });
}

/// `io` and `fd` of another user's process take CAP_DAC_READ_SEARCH, its `fdinfo`
/// and `exe` CAP_SYS_PTRACE.
#[test]
fn other_users_processes_are_seen_as_far_as_before() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").uid(NOBODY).start(&journal);
        // What it executes is this test, which by its file may not be killed.
        let own = env::current_exe().expect("this test");
        let pattern = format!("{NOBODY}:exe:{}", own.display());
        Guard::start(&journal, &[ASK, ONCE, &["--unkillables", &pattern]]).finish();
        journal.expect("no process is worth killing");
        Guard::start(&journal, &[ASK, ONCE]).finish();
        journal.expect("\"victim\" died ");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
    });
}

#[test]
fn another_users_writer_to_tmpfs_is_still_found() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        fs::set_permissions("/run", Permissions::from_mode(0o777)).expect("ours");
        let plan = Eater::named("writer").mib(1).writes(Writes::On).uid(NOBODY);
        crate::scenes::writer_dies(&mut journal, plan, &[]);
    });
}

/// As where node_exporter is a user of its own: root writes there by a capability.
#[test]
fn a_stats_file_in_another_users_directory_is_still_written() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let dir = "/run/exporter";
        end_files_at(NO_END);
        fs::create_dir(dir).expect("scratch");
        chown(dir, Some(NOBODY), Some(NOBODY)).expect("we are root");
        let mut victim = Eater::named("victim").start(&journal);
        let guard = Guard::start(&journal, &[ASK, &["--stats", "/run/exporter/bustd.prom"]]);
        assert!(journal.expect("watching").contains("; sandbox: on"));
        journal.expect("\"victim\" died ");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        guard.look(&mut journal);
        let kept = KEPT | CAP_DAC_OVERRIDE;
        assert_eq!(rights(guard.pid())["CapEff"], own_rights()["CapEff"] & kept);
        guard.end();
        let told = fs::read_to_string("/run/exporter/bustd.prom").expect("a stats file");
        assert!(told.contains("signal=\"term\"} 1\n"), "{told}");
        journal.expect_none("--stats");
    });
}
