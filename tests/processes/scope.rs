//! Real processes in real cgroups, none of which is short of memory.

use crate::harness::{
    ASK, Confined, Eater, FORCE, Guard, Hierarchy, Journal, Leader, NOBODY, ONCE, OnTerm, PROGRAM, QUIET,
    bustd, eventually, in_namespace, in_namespace_with_users, skip,
};
use bustd::act::signal::{Refusal, SignalContext, Target, signal_process};
use bustd::choose::scope::Scope;
use bustd::config::pattern::Globs;
use bustd::config::policy::Policy;
use bustd::config::scope::Asked;
use bustd::read::kfile::Tree;
use rustix::fd::AsFd;
use rustix::process::{Pid, Signal};
use std::ffi::CString;
use std::process::{Command, Stdio};

/// The options that have `confined` guarded.
fn over(confined: &Confined) -> [String; 2] {
    ["--scope".to_owned(), confined.dir.to_str().unwrap().to_owned()]
}

fn guard_over(confined: &Confined, journal: &Journal, options: &[&[&str]]) -> Guard {
    let [option, dir] = over(confined);
    Guard::start(journal, &[options, &[&[&option, &dir]]].concat())
}

/// Runs `body` in a namespace with a cgroup of each version that there is.
fn in_each(body: impl Fn(&Confined, &mut Journal)) {
    in_namespace(|| {
        for confined in Hierarchy::BOTH.into_iter().filter_map(Confined::new) {
            body(&confined, &mut Journal::new());
        }
    });
}

#[test]
fn nobody_outside_of_the_cgroup_is_chosen() {
    in_each(|confined, journal| {
        let outside = Eater::named("outside").mib(120).start(journal);
        let mut inside = Eater::named("inside").mib(40).start(journal);
        confined.below("deep").take(inside.pid());
        guard_over(confined, journal, &[ASK, ONCE]).finish();
        let line = journal.expect("killing pid");
        assert!(line.contains("\"inside\"") && line.contains("no other candidate"), "{line}");
        assert_eq!(inside.death(), Some(libc::SIGTERM));
        outside.expect_unharmed(journal);
    });
}

#[test]
fn nobody_is_signalled_who_has_left_the_cgroup() {
    in_each(|confined, journal| {
        let mover = Eater::named("mover").start(journal);
        let tree = Tree::open_live().unwrap();
        let dir = CString::new(confined.dir.to_str().unwrap()).unwrap();
        let scope = Scope::find(&tree, Asked::Path(&dir), false).unwrap();
        let policy = Policy::default();
        let ask = || {
            let context = SignalContext::new(tree.proc.as_fd(), true, Pid::INIT, &policy, &scope);
            Target::open(&context, mover.identity())
                .and_then(|it| signal_process(&context, &it, Signal::WINCH))
        };
        assert_eq!(ask(), Err(Refusal::Outside));
        confined.take(mover.pid());
        assert_eq!(ask(), Ok(()));
        journal.expect("mover: unharmed");
        // By the threads that live, once the first has exited.
        let headless = Eater::named("headless").leader(Leader::Exits).start(journal);
        confined.take(headless.pid());
        let context = SignalContext::new(tree.proc.as_fd(), true, Pid::INIT, &policy, &scope);
        let held = Target::open(&context, headless.identity()).unwrap();
        assert_eq!(signal_process(&context, &held, Signal::WINCH), Ok(()));
        journal.expect("headless: unharmed");
    });
}

#[test]
fn a_whole_cgroup_dies_if_it_is_asked_for() {
    in_each(|confined, journal| {
        for (options, signal) in [(ASK, libc::SIGTERM), (FORCE, libc::SIGKILL)] {
            let (job, rest) = (confined.below("job"), confined.below("rest"));
            let mut worker = Eater::named("worker").mib(60).start(journal);
            let mut helper = Eater::named("helper").mib(1).start(journal);
            let mut below = Eater::named("below").mib(1).start(journal);
            let other = Eater::named("other").mib(40).start(journal);
            let small = Eater::named("small").mib(1).start(journal);
            job.take(worker.pid());
            job.take(helper.pid());
            job.below("deep").take(below.pid());
            rest.take(other.pid());
            confined.take(small.pid());
            guard_over(confined, journal, &[options, ONCE, &["--kill-cgroup"]]).finish();
            journal.expect("\"worker\" with ");
            let line = journal.expect(" is killed as a whole");
            assert!(line.contains(&job.path) && !line.contains("memory.oom.group"), "{line}");
            for eater in [&mut worker, &mut helper, &mut below] {
                assert_eq!(eater.death(), Some(signal));
            }
            journal.expect_none("are to live");
            other.expect_unharmed(journal);
            small.expect_unharmed(journal);
        }
    });
}

#[test]
fn who_is_protected_lives_though_its_cgroup_dies_and_that_is_said() {
    in_each(|confined, journal| {
        let job = confined.below("job");
        let mut worker = Eater::named("worker").mib(60).start(journal);
        let mut helper = Eater::named("helper").mib(1).start(journal);
        let never = Eater::named("never").mib(1).oom_score_adj(-1000).start(journal);
        let named = Eater::named("named").mib(1).start(journal);
        for eater in [&worker, &helper, &never, &named] {
            job.take(eater.pid());
        }
        let options: &[&[&str]] = &[FORCE, ONCE, &["--kill-cgroup", "--unkillables", "any:named"]];
        guard_over(confined, journal, options).finish();
        journal.expect("\"worker\" with ");
        journal.expect("; 2 more of its cgroup are to live");
        assert_eq!([worker.death(), helper.death()], [Some(libc::SIGKILL); 2]);
        never.expect_unharmed(journal);
        named.expect_unharmed(journal);
    });
}

#[test]
fn neither_the_guarded_cgroup_nor_our_own_dies_as_a_whole() {
    in_each(|confined, journal| {
        // In the guarded one itself.
        let mut worker = Eater::named("worker").mib(60).start(journal);
        let helper = Eater::named("helper").mib(1).start(journal);
        confined.take(worker.pid());
        confined.take(helper.pid());
        guard_over(confined, journal, &[FORCE, ONCE, &["--kill-cgroup"]]).finish();
        assert_eq!(worker.death(), Some(libc::SIGKILL));
        journal.expect_none("as a whole");
        helper.expect_unharmed(journal);
        // In one with the guard.
        let ours = confined.below("ours");
        let mut worker = Eater::named("second").mib(60).start(journal);
        ours.take(worker.pid());
        ours.take(helper.pid());
        let [option, dir] = over(confined);
        let command = bustd(journal, &[FORCE, ONCE, &["--kill-cgroup", &option, &dir]]);
        let mut command = ours.start(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        Guard::spawn(command).finish();
        journal.expect("is not killed as a whole: it is ours or init's");
        assert_eq!(worker.death(), Some(libc::SIGKILL));
        helper.expect_unharmed(journal);
    });
}

/// Of a cgroup that belongs to a user only that user's processes die with it.
#[test]
fn a_users_cgroup_takes_no_other_users_process_along() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        for confined in Hierarchy::BOTH.into_iter().filter_map(Confined::new) {
            let job = confined.below("job");
            std::os::unix::fs::chown(&job.dir, Some(NOBODY), None).unwrap();
            let mut worker = Eater::named("worker").mib(60).uid(NOBODY).start(&journal);
            let mut helper = Eater::named("helper").mib(1).uid(NOBODY).start(&journal);
            let roots = Eater::named("roots").mib(1).start(&journal);
            for eater in [&worker, &helper, &roots] {
                job.take(eater.pid());
            }
            guard_over(&confined, &journal, &[FORCE, ONCE, &["--kill-cgroup"]]).finish();
            journal.expect("; 1 more of its cgroup are to live");
            assert_eq!([worker.death(), helper.death()], [Some(libc::SIGKILL); 2]);
            roots.expect_unharmed(&mut journal);
        }
    });
}

/// The hole: version 1 shows at the root whose first thread has exited, and there nobody
/// looked for it, neither to kill nor to spare it.
#[test]
fn whose_first_thread_has_exited_is_where_the_others_are() {
    in_namespace(|| {
        let Some(confined) = Confined::new(Hierarchy::V1) else { return };
        let mut journal = Journal::new();
        let outside = Eater::named("outside").mib(120).leader(Leader::Exits).start(&journal);
        let mut inside = Eater::named("inside").mib(40).leader(Leader::Exits).start(&journal);
        let named = Eater::named("named").mib(50).leader(Leader::Exits).start(&journal);
        let spared = confined.below("spared");
        confined.take(inside.pid());
        spared.take(named.pid());
        let pattern = format!("any:cgroup:{}", spared.path);
        guard_over(&confined, &journal, &[FORCE, ONCE, &["--unkillables", &pattern]]).finish();
        assert_eq!(inside.death(), Some(libc::SIGKILL));
        outside.expect_unharmed(&mut journal);
        named.expect_unharmed(&mut journal);
    });
}

/// The hole: moved without its first thread, it was not seen among those of the cgroup,
/// and died with them.
#[test]
fn who_is_to_live_is_seen_by_any_of_its_threads() {
    in_each(|confined, journal| {
        let job = confined.below("job");
        let mut worker = Eater::named("worker").mib(60).start(journal);
        let never = Eater::named("never").mib(1).leader(Leader::Exits).oom_score_adj(-1000).start(journal);
        job.take(worker.pid());
        job.take(never.pid());
        guard_over(confined, journal, &[FORCE, ONCE, &["--kill-cgroup"]]).finish();
        assert_eq!(worker.death(), Some(libc::SIGKILL));
        journal.expect("; 1 more of its cgroup are to live");
        never.expect_unharmed(journal);
    });
}

/// The hole: where its first thread had exited before it was moved, another cgroup died.
#[test]
fn the_cgroup_of_a_victim_is_that_of_its_living_threads() {
    in_each(|confined, journal| {
        let job = confined.below("job");
        let mut worker = Eater::named("worker").mib(60).leader(Leader::Exits).start(journal);
        let mut helper = Eater::named("helper").mib(1).start(journal);
        job.take(worker.pid());
        job.take(helper.pid());
        let above = confined.dir.parent().and_then(|dir| dir.to_str()).unwrap();
        let whole = ["--kill-cgroup", "--scope", above];
        Guard::start(journal, &[FORCE, ONCE, &whole]).finish();
        let line = journal.expect(" is killed as a whole");
        assert!(line.contains(&job.path), "{line}");
        assert_eq!([worker.death(), helper.death()], [Some(libc::SIGKILL); 2]);
    });
}

/// The hole: a victim that was refused because it is protected by now died with its
/// cgroup.
#[test]
fn a_victim_that_is_protected_by_now_does_not_die_with_its_cgroup() {
    in_each(|confined, journal| {
        let job = confined.below("job");
        let worker = Eater::named("worker").mib(60).on_term(OnTerm::Ignore).start(journal);
        let mut helper = Eater::named("helper").mib(1).on_term(OnTerm::Ignore).start(journal);
        job.take(worker.pid());
        job.take(helper.pid());
        let guard = guard_over(confined, journal, &[ASK, ONCE, &["--kill-cgroup", "--grace", "500"]]);
        eventually("both are asked", || journal.count(": SIGTERM") == 2);
        worker.protect();
        assert_eq!(helper.death(), Some(libc::SIGKILL));
        guard.finish();
        rustix::process::kill_process(worker.pid(), Signal::WINCH).unwrap();
        journal.expect("worker: unharmed");
    });
}

/// Somebody whom the guard's pid namespace does not show may be in the same cgroup.
#[test]
fn nobody_dies_with_a_cgroup_who_cannot_be_seen() {
    in_each(|confined, journal| {
        for is_below in [false, true] {
            let job = confined.below(if is_below { "above" } else { "job" });
            let place = if is_below { job.below("below") } else { job.below("empty") };
            let unseen = Eater::named("unseen").mib(1).start(journal);
            let members = if is_below { &place } else { &job };
            members.take(unseen.pid());
            if !is_below {
                std::fs::remove_dir(&place.dir).unwrap();
            }
            let [option, dir] = over(confined);
            let plain = bustd(journal, &[FORCE, ONCE, &["--kill-cgroup", &option, &dir]]);
            let mut command = Command::new("unshare");
            let script = "(echo 0 >$0; (head -c 60M /dev/zero; sleep 100) | tail) &\n\
                          until grep -q tail /proc/[0-9]*/comm; do sleep 0.1; done; sleep 1; \"$@\"; echo over >&2";
            command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", script]);
            command.arg(job.dir.join("cgroup.procs")).arg(plain.get_program()).args(plain.get_args());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
            Guard::spawn(command).finish();
            journal.expect("\"tail\" with SIGKILL");
            journal.expect(" is killed as a whole");
            journal.expect("over");
            unseen.expect_unharmed(journal);
        }
    });
}

/// A pattern is looked at again when the signal is sent.
#[test]
fn who_has_moved_to_where_nobody_is_killed_is_not() {
    in_each(|confined, journal| {
        if !confined.of_patterns() {
            return;
        }
        let pattern = format!("any:cgroup:{}", confined.path);
        let mover = Eater::named("mover").start(journal);
        let tree = Tree::open_live().unwrap();
        let scope = Scope::of_machine(&tree);
        let policy = Policy { unkillables: Globs::parse(pattern.as_bytes()).ok(), ..Policy::default() };
        let ask = || {
            let context = SignalContext::new(tree.proc.as_fd(), true, Pid::INIT, &policy, &scope);
            Target::open(&context, mover.identity())
                .and_then(|it| signal_process(&context, &it, Signal::WINCH))
        };
        assert_eq!(ask(), Ok(()));
        confined.below("deep").take(mover.pid());
        assert_eq!(ask(), Err(Refusal::Unkillable));
        journal.expect("mover: unharmed");
    });
}

// ------------------------------------------------------ by itself

/// A cgroup with a limit, where there can be one.
fn limited() -> Option<Confined> {
    let found = Hierarchy::BOTH.into_iter().filter_map(Confined::new).find(Confined::limit);
    if found.is_none() {
        skip("no cgroup with a limit of memory can be made here");
    }
    found
}

/// Starts a guard within `confined`, by `prefix`, and has it choose among `inside` and
/// `outside`.
fn judge_by_itself(prefix: &[&str], prepare: &str, expect: &[&str]) {
    let Some(confined) = limited() else { return };
    let mut journal = Journal::new();
    let outside = Eater::named("outside").mib(120).uid(NOBODY).start(&journal);
    let mut inside = Eater::named("inside").mib(40).uid(NOBODY).on_term(OnTerm::Die).start(&journal);
    confined.take(inside.pid());
    let plain = bustd(&journal, &[ASK, &["--log", "stderr"]]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c"]).arg(format!("{prepare}\nexec \"$@\"")).arg("sh");
    command.args(prefix).arg(plain.get_program()).args(plain.get_args());
    let mut command = confined.start(&command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
    let guard = Guard::spawn(command);
    for what in expect {
        journal.expect(what);
    }
    let line = journal.expect("killing pid");
    assert!(line.contains("\"inside\"") && line.contains("no other candidate"), "{line}");
    assert_eq!(inside.death(), Some(libc::SIGTERM));
    guard.end();
    outside.expect_unharmed(&mut journal);
}

/// Stands in front of a program, which is then nobody's, ...
const AS_NOBODY: [&str; 6] = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
/// ... and has no right at all.
const NO_CAPABILITY: [&str; 2] = ["--inh-caps=-all", "--bounding-set=-all"];

#[test]
fn by_itself_it_guards_the_cgroup_that_it_was_started_in() {
    in_namespace_with_users(|| judge_by_itself(&[], "", &["scope: cgroup (it has the tightest limit)"]));
}

#[test]
fn where_processes_are_hidden_it_guards_those_it_sees() {
    in_namespace_with_users(|| {
        // CAP_SYS_PTRACE sees everybody.
        judge_by_itself(
            &[&AS_NOBODY[..], &NO_CAPABILITY].concat(),
            "mount -o remount,hidepid=2 /proc",
            &["process 1 is hidden (hidepid)", "scope: cgroup"],
        );
    });
}

#[test]
fn without_dev_and_with_a_file_system_that_is_read_only() {
    in_namespace_with_users(|| {
        judge_by_itself(
            &[],
            "mount -t tmpfs -o ro,size=4k none /dev; mount -o remount,bind,ro /",
            &["scope: cgroup"],
        );
    });
}

#[test]
fn with_no_capability_as_nobody() {
    in_namespace_with_users(|| {
        judge_by_itself(
            &[&AS_NOBODY[..], &NO_CAPABILITY].concat(),
            "",
            &["cannot signal other users' processes", "scope: cgroup"],
        );
    });
}

#[test]
fn with_two_capabilities_as_nobody() {
    in_namespace_with_users(|| {
        judge_by_itself(
            &[
                &AS_NOBODY[..],
                &[
                    "--inh-caps=+kill,+ipc_lock",
                    "--ambient-caps=+kill,+ipc_lock",
                    "--bounding-set=-all,+kill,+ipc_lock",
                ],
            ]
            .concat(),
            "",
            &["scope: cgroup"],
        );
    });
}

/// Then it does not know that it is in one.
#[test]
fn without_sys_it_guards_the_machine_and_says_why() {
    in_namespace_with_users(|| {
        let Some(confined) = limited() else { return };
        let mut journal = Journal::new();
        let mut outside = Eater::named("outside").mib(120).start(&journal);
        let plain = bustd(&journal, &[ASK, &["--log", "stderr"]]);
        let mut command = Command::new("unshare");
        // What root of a user namespace has been given it may only cover.
        let hide = "umount -R /sys || mount -t tmpfs none /sys\nexec \"$@\"";
        command.args(["--mount", "--", "sh", "-c", hide, "sh"]);
        command.arg(plain.get_program()).args(plain.get_args());
        let mut command = confined.start(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let guard = Guard::spawn(command);
        journal.expect("scope: machine (our cgroup cannot be seen)");
        journal.expect("\"outside\" with SIGTERM");
        assert_eq!(outside.death(), Some(libc::SIGTERM));
        guard.end();
    });
}

/// As a service manager limits it.
#[test]
fn a_limit_for_the_guard_alone_is_none_for_what_it_guards() {
    in_namespace(|| {
        let Some(confined) = limited() else { return };
        let mut journal = Journal::new();
        let mut outside = Eater::named("outside").start(&journal);
        let mut command = confined.start(&bustd(&journal, &[ASK, &["--log", "stderr"]]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let guard = Guard::spawn(command);
        journal.expect("scope: machine (the limit of our cgroup is for us alone)");
        assert_eq!(outside.death(), Some(libc::SIGTERM));
        guard.end();
    });
}

/// The hole: it is there by itself when it starts, but is going to run a command there, and
/// guarded the machine. Below `docker run --init`, with a pod's shared namespace and in a
/// service it is not process 1.
#[test]
fn a_limit_for_the_guard_and_its_command_is_guarded() {
    in_namespace(|| {
        let Some(confined) = limited() else { return };
        let mut journal = Journal::new();
        let mut command = bustd(&journal, &[&["--dry-run"]]);
        command.args(["--", "sh", "-c", "exit 3"]);
        let mut command = confined.start(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let guard = Guard::spawn(command);
        journal.expect("scope: cgroup (it has the tightest limit)");
        assert_eq!(guard.exit().code(), Some(3));
    });
}

/// A cgroup that could be given a limit.
fn unlimited() -> Option<Confined> {
    let confined = limited()?;
    assert!(confined.limit_to("max"));
    Some(confined)
}

/// Starts a guard with `options` in a cgroup without a limit that holds somebody else too.
fn begin_unlimited(options: &[&[&str]], confined: &Confined, journal: &mut Journal) -> Guard {
    let mut command = confined.start(&bustd(journal, &[options, &[&["--log", "stderr"]]].concat()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
    let guard = Guard::spawn(command);
    let sandbox = if is_of_this_machine(PROGRAM) { "on" } else { "no seccomp" };
    journal.expect(&format!(
        "sandbox: {sandbox}; scope: machine (our cgroup has no lower limit, one that is set is seen)"
    ));
    guard
}

/// `make machines` puts programs of other machines in the place of ours. Neither qemu-user nor
/// i686 has a filter for them.
fn is_of_this_machine(program: &str) -> bool {
    let machine_of = |path: &str| std::fs::read(path).expect("a program")[18..20].to_vec();
    machine_of(program) == machine_of("/proc/self/exe")
}

/// What Kubernetes and systemd do while it runs, and has nothing else to do.
#[test]
fn a_limit_that_is_set_while_it_is_idle_is_guarded_as_long_as_there_is_one() {
    in_namespace(|| {
        let Some(confined) = unlimited() else { return };
        let mut journal = Journal::new();
        let beside = Eater::named("beside").start(&journal);
        confined.take(beside.pid());
        let guard = begin_unlimited(&[QUIET], &confined, &mut journal);
        assert!(!guard.look(&mut journal).contains(" of 2048 MiB"));
        assert!(confined.limit());
        let line = journal.expect("now guarding cgroup ");
        assert!(line.contains(&confined.path), "{line}");
        assert!(guard.look(&mut journal).contains(" of 2048 MiB"));
        assert!(confined.limit_to("max"));
        journal.expect("now guarding the machine");
        assert!(!guard.look(&mut journal).contains(" of 2048 MiB"));
        guard.end();
        beside.expect_unharmed(&mut journal);
    });
}

/// With the sandbox, and with the rights that are left.
#[test]
fn of_a_limit_that_is_set_later_nobody_dies_who_is_outside() {
    in_namespace(|| {
        let Some(confined) = unlimited() else { return };
        let mut journal = Journal::new();
        let outside = Eater::named("outside").mib(120).start(&journal);
        let mut inside = Eater::named("inside").mib(40).start(&journal);
        confined.take(inside.pid());
        let guard = begin_unlimited(
            &[&["--no-daemon", "--mem", "250M,1M", "--swap", "100%,1%"]],
            &confined,
            &mut journal,
        );
        assert!(confined.limit_to("200M"));
        journal.expect("now guarding cgroup ");
        let line = journal.expect("killing pid");
        assert!(line.contains("\"inside\"") && line.contains("no other candidate"), "{line}");
        assert_eq!(inside.death(), Some(libc::SIGTERM));
        guard.end();
        outside.expect_unharmed(&mut journal);
    });
}

/// What a service manager sets for the guard.
#[test]
fn a_limit_that_is_set_later_for_the_guard_alone_is_none_for_what_it_guards() {
    in_namespace(|| {
        let Some(confined) = unlimited() else { return };
        let mut journal = Journal::new();
        let guard = begin_unlimited(&[QUIET], &confined, &mut journal);
        assert!(confined.limit());
        // Each time it looks at one file more, and so at all of them.
        for _ in 0..20 {
            assert!(!guard.look(&mut journal).contains(" of 2048 MiB"));
        }
        journal.expect_none("now guarding");
        guard.end();
    });
}

/// A user may own a part of the tree and fill it: nothing the guard does depends on how
/// many cgroups there are, and one level more or less in a path hides nobody.
#[test]
fn thousands_of_cgroups_two_hundred_deep_with_odd_names() {
    in_each(|confined, journal| {
        for number in 0..2000 {
            drop_later(&confined.dir.join(format!("many-{number}")));
        }
        let mut deep = confined.dir.clone();
        for level in 0..200 {
            deep.push(format!("..{level} \u{1b}\\:"));
            drop_later(&deep);
        }
        let mut hog = Eater::named("hog").mib(60).start(journal);
        std::fs::write(deep.join("cgroup.procs"), hog.pid().as_raw_pid().to_string()).unwrap();
        let began = std::time::Instant::now();
        guard_over(confined, journal, &[FORCE, ONCE, &["--kill-cgroup"]]).finish();
        // An emulated one takes six.
        assert!(began.elapsed() < std::time::Duration::from_secs(30));
        assert_eq!(hog.death(), Some(libc::SIGKILL));
    });
}

/// Kernels up to 6.7 cannot tell such a path at all, and later ones cut it.
#[test]
fn a_path_too_long_to_be_told_is_no_shelter() {
    in_each(|confined, journal| {
        let mut hog = Eater::named("hog").mib(60).start(journal);
        let (name, levels) = ("x".repeat(250), 18);
        std::env::set_current_dir(&confined.dir).unwrap();
        for _ in 0..levels {
            std::fs::create_dir(&name).expect("a cgroup");
            std::env::set_current_dir(&name).unwrap();
        }
        std::fs::write("cgroup.procs", hog.pid().as_raw_pid().to_string()).unwrap();
        let nowhere = ["--unkillables", "any:cgroup:/nowhere"];
        guard_over(confined, journal, &[FORCE, ONCE, &["--kill-cgroup"], &nowhere]).finish();
        assert_eq!(hog.death(), Some(libc::SIGKILL));
        for _ in 0..levels {
            std::env::set_current_dir("..").unwrap();
            std::fs::remove_dir(&name).unwrap();
        }
        std::env::set_current_dir("/").unwrap();
    });
}

fn drop_later(dir: &std::path::Path) {
    std::fs::create_dir(dir).expect("a cgroup");
}
