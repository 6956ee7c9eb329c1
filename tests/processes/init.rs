//! The guard as process 1 of a namespace within ours.

use crate::harness::{
    ASK, Eater, Journal, OnTerm, PROGRAM, QUIET, ROLE, Role, eventually, exit_of, in_namespace, pid_of,
    script, unshare,
};
use bustd::read::kfile::Tree;
use bustd::read::listing::for_each_process;
use bustd::read::process::{Pid, read_stat};
use rustix::fd::AsFd;
use rustix::process::{Signal, kill_process};
use std::env;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};

/// Whoever reads this fifo ends when somebody has opened and closed it.
const GO: &str = "/run/go";

struct Init {
    unshare: Child,
}

impl Init {
    /// Runs `lines` of shell as process 1, which then becomes the guard.
    fn start(journal: &mut Journal, lines: &str, options: &[&str], role: Option<&Role<'_>>) -> Self {
        let options = options.join(" ");
        let boot = script("boot", &format!("#!/bin/sh\n{lines}\nexec {PROGRAM} --log stderr {options}\n"));
        let mut command = unshare();
        command.args([boot.as_ref(), env::current_exe().unwrap().as_os_str()]);
        command.envs(role.map(|role| (ROLE, role.script())));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let unshare = command.spawn().expect("unshare(1)");
        journal.expect("watching");
        Self { unshare }
    }

    /// The guard, by its pid in our namespace.
    fn pid(&self) -> Pid {
        children_of(pid_of(&self.unshare))[0]
    }

    fn end(mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        // unshare(1) exits as its child did.
        assert_eq!(exit_of(&mut self.unshare).code(), Some(0));
    }
}

pub fn children_of(parent: Pid) -> Vec<Pid> {
    let tree = Tree::open_live().unwrap();
    let mut children = Vec::new();
    let is_child = |pid| read_stat(tree.proc.as_fd(), pid).is_ok_and(|stat| stat.ppid == parent.as_raw_pid());
    for_each_process(tree.proc.as_fd(), &mut |pid| {
        if is_child(pid) {
            children.push(pid);
        }
    })
    .unwrap();
    children
}

#[test]
fn it_reaps_orphans_and_ends_at_a_sigterm_from_outside() {
    in_namespace(|| {
        let mut journal = Journal::new();
        assert!(Command::new("mkfifo").arg(GO).status().unwrap().success());
        // Their parent, a subshell, ends at once.
        let orphans = format!("for orphan in 1 2 3; do (cat {GO} &); done");
        let init = Init::start(&mut journal, &orphans, QUIET, None);
        let guard = init.pid();
        eventually("three orphans are the guard's", || children_of(guard).len() == 3);
        eventually("no zombie remains", || {
            // Fails while nobody reads it yet, or any more.
            drop(OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(GO));
            children_of(guard).is_empty()
        });
        init.end();
    });
}

#[test]
fn it_guards() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let eater = Eater::named("victim").on_term(OnTerm::Die);
        // It has its name when it says that it is ready.
        let begin = "\"$1\" >/run/said & until [ -s /run/said ]; do sleep 0.02; done";
        let init = Init::start(&mut journal, begin, ASK, Some(&Role::Eater(&eater)));
        journal.expect("\"victim\" with SIGTERM");
        journal.expect("\"victim\" died ");
        let guard = init.pid();
        eventually("the victim is reaped", || children_of(guard).is_empty());
        init.end();
    });
}
