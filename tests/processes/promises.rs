//! What tini, catatonit and dumb-init promise in their manuals, READMEs and issue
//! trackers: each promise a scene that is played with the guard in their place, as process
//! 1 and among others. Where those programs are to be had, the same scenes are played with
//! them, and the last test prints who keeps what.

use crate::harness::{Journal, PROGRAM, ends_within, in_namespace, pid_of, script, tell, unshare, within};
use crate::init::children_of;
use crate::terminal::terminal;
use bustd::read::process::Pid;
use rustix::process::{Signal, kill_process};
use std::fs::{self, File};
use std::io::{Error, Write as _};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One of them.
struct Init {
    name: &'static str,
    path: String,
    /// How long it has to do what it is to do.
    patience: Duration,
}

/// What it is asked for besides.
#[derive(Clone, Copy, PartialEq)]
enum Want {
    Nothing,
    /// Orphans, though it is not process 1.
    Orphans,
    /// Signals for the command alone.
    Child,
    /// Signals for its group.
    Group,
    /// 143 is a success.
    Mapped,
    /// And so are 3 and 4.
    MappedAll,
    /// SIGTERM when its parent dies.
    ParentDeath,
    /// SIGQUIT in the place of SIGTERM.
    Rewritten,
    /// No command at all.
    Pause,
}

impl Init {
    fn bustd() -> Self {
        Self { name: "bustd", path: PROGRAM.to_owned(), patience: crate::harness::PATIENCE }
    }

    /// Those of the machine, or which `.ci/setup test` has fetched.
    fn peers() -> Vec<Self> {
        let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/usr/bin");
        let find = |name: &'static str| {
            let places = [fetched, "/usr/bin", "/sbin"].map(|dir| format!("{dir}/{name}"));
            let path = places.into_iter().find(|path| Path::new(path).exists())?;
            Some(Self { name, path, patience: Duration::from_secs(2) })
        };
        ["tini", "catatonit", "dumb-init"].into_iter().filter_map(find).collect()
    }

    /// Its options for that, if it has such.
    fn options(&self, want: Want) -> Option<&'static [&'static str]> {
        Some(match (self.name, want) {
            ("bustd", Want::Nothing | Want::Orphans) => &["--dry-run"],
            ("bustd", Want::Child) => &["--dry-run", "--forward", "child"],
            ("bustd", Want::Group) => &["--dry-run", "--forward", "group"],
            ("bustd", Want::Mapped) => &["--dry-run", "--map-exit", "143:0"],
            ("bustd", Want::ParentDeath) => &["--dry-run", "--pdeathsig", "TERM"],
            ("bustd", Want::Pause) => &["--dry-run", "-n"],
            ("tini", Want::Orphans) => &["-s"],
            ("tini" | "catatonit", Want::Group) => &["-g"],
            ("tini", Want::Mapped) => &["-e", "143"],
            ("tini", Want::MappedAll) => &["-e", "143", "-e", "3", "-e", "4"],
            ("tini", Want::ParentDeath) => &["-p", "SIGTERM"],
            ("catatonit", Want::Pause) => &["-P"],
            ("dumb-init", Want::Child) => &["-c"],
            ("dumb-init", Want::Rewritten) => &["-r", "15:3"],
            (_, Want::Nothing | Want::Child) | ("catatonit", Want::Orphans) => &[],
            ("dumb-init", Want::Orphans | Want::Group) => &[],
            _ => return None,
        })
    }

    /// Its command line, behind that of `before`.
    fn behind(&self, before: &[&str], place: Place, want: Want, program: &[&str]) -> Option<Command> {
        let options = self.options(want)?;
        let mut line: Vec<String> = before.iter().map(|&word| word.to_owned()).collect();
        if place == Place::First {
            let unshare = unshare();
            line.push("unshare".to_owned());
            line.extend(unshare.get_args().map(|word| word.to_str().unwrap().to_owned()));
        }
        line.push(self.path.clone());
        line.extend(options.iter().chain(program).map(|&word| word.to_owned()));
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Some(command)
    }

    fn command(&self, place: Place, want: Want, program: &[&str]) -> Option<Command> {
        self.behind(&[], place, want, program)
    }

    /// Starts a shell that runs `lines` below it.
    fn start(&self, journal: &Journal, place: Place, want: Want, lines: &str) -> Option<Running> {
        let mut command = self.command(place, want, &["--", "sh", "-c", lines])?;
        Some(Running::spawn(command.stderr(journal.pen()), place, self.patience))
    }

    /// What it ends with if a shell below it runs `lines`; −1 if it does not in time.
    fn status(&self, place: Place, want: Want, lines: &str) -> Option<i32> {
        Some(self.start(&Journal::new(), place, want, lines)?.status())
    }

    /// Has somebody said that, so often?
    fn hears(&self, journal: &mut Journal, what: &str, times: usize) -> bool {
        within(self.patience, || journal.count(what) >= times).is_some()
    }
}

/// Whose init it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Of a namespace of its own.
    First,
    /// Nobody's.
    Among,
}

/// It, or unshare(1) with it below.
struct Running {
    child: Child,
    place: Place,
    patience: Duration,
}

impl Running {
    fn spawn(command: &mut Command, place: Place, patience: Duration) -> Self {
        Self { child: command.spawn().expect("it starts"), place, patience }
    }

    fn pid(&self) -> Option<Pid> {
        match self.place {
            Place::First => children_of(pid_of(&self.child)).first().copied(),
            Place::Among => Some(pid_of(&self.child)),
        }
    }

    /// Sends it that, unless it has ended.
    fn send(&self, signal: Signal) {
        let _ = self.pid().map(|pid| kill_process(pid, signal));
    }

    fn send_raw(&self, number: i32) {
        if let Some(pid) = self.pid() {
            // SAFETY: takes numbers.
            let _ = unsafe { libc::kill(pid.as_raw_pid(), number) };
        }
    }

    /// What it ends with; −1 if it does not in time, or was ended by a signal.
    fn status(mut self) -> i32 {
        ends_within(self.patience, &mut self.child).and_then(|status| status.code()).unwrap_or(-1)
    }
}

/// Sleeps in small parts, so that a shell gets to its traps.
const REST: &str = "while :; do sleep 0.02; done";

/// A promise.
struct Promise {
    says: &'static str,
    /// Who makes it, and where.
    by: &'static str,
    /// Is it kept? `None` where there is no option for it.
    scene: fn(&Init, Place) -> Option<bool>,
}

const BOTH: &[Place] = &[Place::First, Place::Among];
const FIRST: &[Place] = &[Place::First];
const AMONG: &[Place] = &[Place::Among];

macro_rules! kept {
    ($($name:ident, $places:expr, $by:expr, $says:expr;)*) => {
        const KEPT: &[(&[Place], Promise)] =
            &[$(($places, Promise { says: $says, by: $by, scene: scenes::$name })),*];
        $(#[test]
        fn $name() {
            in_namespace(|| {
                for &place in $places {
                    assert_eq!(scenes::$name(&Init::bustd(), place), Some(true), "{place:?}: {}", $says);
                }
            });
        })*
    };
}

kept! {
    it_ends_with_the_status, BOTH, "all, README", "ends with the command's status";
    it_ends_with_128_and_the_signal, BOTH, "all, source", "ends with 128+n after signal n";
    what_is_not_there_is_127, BOTH, "tini, source", "ends with 127 where there is no such program";
    what_cannot_be_executed_is_126, BOTH, "tini, source", "ends with 126 where it cannot be executed";
    term_ends_what_has_no_handler, BOTH, "tini, README", "SIGTERM ends a command that has no handler";
    its_handler_has_the_time_it_takes, BOTH, "all, README", "waits for the command's own handler";
    signals_are_handed_on, BOTH, "all, README", "hands signals on";
    signals_of_real_time_are_handed_on, BOTH, "catatonit, source", "hands on those of real time as well";
    one_process_hears, BOTH, "tini, dumb-init -c", "signals for the command alone";
    the_group_hears, BOTH, "tini -g, catatonit -g, dumb-init", "signals for its whole group";
    orphans_are_reaped, FIRST, "all; dumb-init, issue 44", "reaps orphans as process 1";
    orphans_are_reaped_by_others_too, AMONG, "tini -s, catatonit", "reaps them where it is not process 1";
    a_status_is_mapped, BOTH, "tini -e", "a status is a success";
    a_dead_parent_ends_it, AMONG, "tini -p, pull request 114", "is told when its parent dies";
    what_is_left_is_asked_to_end, BOTH, "dumb-init, pull request 22", "what the command leaves is asked to end";
    signals_are_as_they_were, BOTH, "tini, catatonit, source", "the command has the signals it would have";
    the_command_has_the_terminal, BOTH, "tini, catatonit, source", "a group with the terminal's foreground";
    the_foreground_is_not_stolen, AMONG, "tini, source (to do)", "takes no foreground that is not its own";
    ctrl_c_ends_the_command, BOTH, "tini, README", "Ctrl-C at the terminal ends the command";
    ctrl_z_stops_the_command, BOTH, "dumb-init, README", "Ctrl-Z stops it, and SIGCONT has it go on";
    inits_can_be_stacked, BOTH, "dumb-init, README", "runs one of its own kind";
    scripts_can_begin_with_it, AMONG, "dumb-init, README", "works behind #!";
    arguments_are_the_commands, BOTH, "dumb-init, manual", "options behind the command are the command's";
    environment_and_directory_stay, BOTH, "tini, README", "environment and directory stay as they are";
    a_stop_is_no_end, BOTH, "catatonit, source", "a command that stops itself goes on";
    the_command_may_execute_another, BOTH, "tini, README", "a command that executes another";
    a_storm_of_signals_is_nothing, BOTH, "asked of us", "outlives a storm of signals";
    an_ignored_death_is_noticed, AMONG, "asked of us", "started with SIGCHLD ignored, sees the end";
    it_can_do_without_a_command, FIRST, "catatonit -P", "without a command, ends at SIGINT";
    a_growing_storm_of_forks_ends_with_it, FIRST, "asked of us", "no fork storm outlives process 1";
}

/// What they promise and the guard does not, and why. That it does not is tested, too.
const DECLINED: &[(&[Place], Promise, &str)] = &[
    (
        AMONG,
        Promise { says: "several statuses are successes", by: "tini -e", scene: scenes::statuses_are_mapped },
        "one was asked for",
    ),
    (
        AMONG,
        Promise {
            says: "another signal in its place",
            by: "dumb-init -r",
            scene: scenes::a_signal_is_rewritten,
        },
        "a shell's trap does it",
    ),
    (
        AMONG,
        Promise {
            says: "the command has all descriptors",
            by: "tini, dumb-init",
            scene: scenes::descriptors_are_handed_on,
        },
        "it was asked to close them",
    ),
    (
        AMONG,
        Promise {
            says: "stops with the command at SIGTSTP",
            by: "dumb-init, README",
            scene: scenes::it_stops_too,
        },
        "what has stopped guards nothing",
    ),
    (
        AMONG,
        Promise {
            says: "leaves its directory",
            by: "dumb-init, catatonit",
            scene: scenes::it_leaves_its_directory,
        },
        "paths of options count from there",
    ),
    (
        AMONG,
        Promise {
            says: "a script without #! is a shell's",
            by: "all, execvp(3)",
            scene: scenes::a_script_without_a_shell_runs,
        },
        "container runtimes refuse it too",
    ),
];

/// Does it keep it everywhere?
fn verdict(init: &Init, places: &[Place], promise: &Promise) -> &'static str {
    let mut all = true;
    for &place in places {
        match catch_unwind(AssertUnwindSafe(|| (promise.scene)(init, place))) {
            Ok(Some(kept)) => all &= kept,
            Ok(None) => return "-",
            Err(_) => return "?",
        }
    }
    if all { "yes" } else { "no" }
}

#[test]
fn what_is_declined_is_not_done() {
    in_namespace(|| {
        for (places, promise, why) in DECLINED {
            assert!(
                matches!(verdict(&Init::bustd(), places, promise), "no" | "-"),
                "{}: {why}",
                promise.says
            );
        }
    });
}

/// Nobody is judged by what others do not keep: this only tells.
#[test]
fn who_keeps_what() {
    in_namespace(|| {
        let peers = Init::peers();
        if peers.len() < 3 {
            crate::harness::skip("not all of tini, catatonit and dumb-init are here (.ci/setup test)");
        }
        let row =
            |says: &str, by: &str, own: &str, places: &[Place], promise: Option<&Promise>, why: &str| {
                let others = peers.iter().map(|peer| match promise {
                    Some(promise) => verdict(peer, places, promise),
                    None => peer.name,
                });
                let others: String = others.map(|word| format!("{word:10}")).collect();
                tell(&format!("{says:48}{by:34}{own:7}{others}{why}"));
            };
        row("promise", "whose", "bustd", &[], None, "");
        for (places, promise) in KEPT {
            // Which the tests above see to.
            row(promise.says, promise.by, "yes", places, Some(promise), "");
        }
        for (places, promise, why) in DECLINED {
            row(promise.says, promise.by, "no", places, Some(promise), why);
        }
    });
}

mod scenes {
    use super::*;

    pub fn it_ends_with_the_status(init: &Init, place: Place) -> Option<bool> {
        let mut all = true;
        for status in [0, 7, 255] {
            all &= init.status(place, Want::Nothing, &format!("exit {status}"))? == status;
        }
        Some(all)
    }

    pub fn it_ends_with_128_and_the_signal(init: &Init, place: Place) -> Option<bool> {
        let mut all = true;
        for (name, status) in [("TERM", 143), ("KILL", 137), ("SEGV", 139)] {
            all &= init.status(place, Want::Nothing, &format!("kill -{name} $$"))? == status;
        }
        Some(all)
    }

    fn status_of_program(init: &Init, place: Place, program: &str) -> Option<i32> {
        let mut command = init.command(place, Want::Nothing, &["--", program])?;
        Some(Running::spawn(&mut command, place, init.patience).status())
    }

    pub fn what_is_not_there_is_127(init: &Init, place: Place) -> Option<bool> {
        Some(status_of_program(init, place, "/nonexistent/program")? == 127)
    }

    pub fn what_cannot_be_executed_is_126(init: &Init, place: Place) -> Option<bool> {
        Some(status_of_program(init, place, "/run")? == 126)
    }

    pub fn term_ends_what_has_no_handler(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let running = init.start(&journal, place, Want::Nothing, "echo ready >&2; exec sleep 1000")?;
        let is_ready = init.hears(&mut journal, "ready", 1);
        running.send(Signal::TERM);
        Some(is_ready && running.status() == 143)
    }

    pub fn its_handler_has_the_time_it_takes(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let lines = format!("trap 'sleep 0.5; exit 9' TERM; echo ready >&2; {REST}");
        let running = init.start(&journal, place, Want::Nothing, &lines)?;
        let is_ready = init.hears(&mut journal, "ready", 1);
        running.send(Signal::TERM);
        Some(is_ready && running.status() == 9)
    }

    pub fn signals_are_handed_on(init: &Init, place: Place) -> Option<bool> {
        let numbers = [
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGPIPE,
            libc::SIGALRM,
            libc::SIGTERM,
            libc::SIGCONT,
            libc::SIGURG,
            libc::SIGXCPU,
            libc::SIGVTALRM,
            libc::SIGPROF,
            libc::SIGWINCH,
            libc::SIGIO,
            libc::SIGPWR,
        ];
        are_heard(init, place, &numbers)
    }

    pub fn signals_of_real_time_are_handed_on(init: &Init, place: Place) -> Option<bool> {
        are_heard(init, place, &[40, 64])
    }

    fn are_heard(init: &Init, place: Place, numbers: &[i32]) -> Option<bool> {
        let mut journal = Journal::new();
        let traps: String =
            numbers.iter().map(|number| format!("trap 'echo got {number}. >&2' {number}\n")).collect();
        let running =
            init.start(&journal, place, Want::Nothing, &format!("{traps}echo ready >&2; {REST}"))?;
        let mut all = init.hears(&mut journal, "ready", 1);
        for number in numbers {
            running.send_raw(*number);
            all = all && init.hears(&mut journal, &format!("got {number}."), 1);
        }
        running.send_raw(libc::SIGKILL);
        running.status();
        Some(all)
    }

    /// Who hears SIGUSR1: the command, and its child.
    fn hearers(init: &Init, place: Place, want: Want) -> Option<[usize; 2]> {
        let mut journal = Journal::new();
        let inner = format!("trap 'echo inner: USR1 >&2' USR1; echo ready >&2; {REST}");
        let lines = format!(
            "trap 'echo outer: USR1 >&2' USR1; trap 'echo outer: USR2 >&2; exit 0' USR2\n\
             ({inner}) & echo ready >&2; {REST}"
        );
        let running = init.start(&journal, place, want, &lines)?;
        init.hears(&mut journal, "ready", 2);
        running.send(Signal::USR1);
        init.hears(&mut journal, "outer: USR1", 1);
        if want == Want::Group {
            init.hears(&mut journal, "inner: USR1", 1);
        }
        running.send(Signal::USR2);
        init.hears(&mut journal, "outer: USR2", 1);
        running.status();
        Some([journal.count("outer: USR1"), journal.count("inner: USR1")])
    }

    pub fn one_process_hears(init: &Init, place: Place) -> Option<bool> {
        Some(hearers(init, place, Want::Child)? == [1, 0])
    }

    pub fn the_group_hears(init: &Init, place: Place) -> Option<bool> {
        Some(hearers(init, place, Want::Group)? == [1, 1])
    }

    /// Of daemons, which fork twice: each says whose it has become, and ends.
    fn reaps(init: &Init, place: Place, want: Want) -> Option<bool> {
        const ORPHANS: usize = 50;
        let mut journal = Journal::new();
        let daemon =
            "sleep 0.3; read pid name state parent rest </proc/self/stat; echo orphan of $parent. >&2";
        let lines = format!(
            "i=0; while [ $i -lt {ORPHANS} ]; do ((sh -c '{daemon}') & ); i=$((i + 1)); done\n\
             echo ready >&2; exec sleep 1000"
        );
        let running = init.start(&journal, place, want, &lines)?;
        let is_ready = init.hears(&mut journal, "ready", 1);
        let pid = running.pid()?;
        let parent = if place == Place::First { 1 } else { pid.as_raw_pid() };
        let all = is_ready
            && init.hears(&mut journal, &format!("orphan of {parent}."), ORPHANS)
            && within(init.patience, || children_of(pid).len() == 1).is_some();
        running.send(Signal::TERM);
        running.status();
        Some(all)
    }

    pub fn orphans_are_reaped(init: &Init, place: Place) -> Option<bool> {
        reaps(init, place, Want::Nothing)
    }

    pub fn orphans_are_reaped_by_others_too(init: &Init, place: Place) -> Option<bool> {
        reaps(init, place, Want::Orphans)
    }

    pub fn a_status_is_mapped(init: &Init, place: Place) -> Option<bool> {
        let mut all = true;
        for (lines, status) in [("kill -TERM $$", 0), ("exit 143", 0), ("exit 4", 4)] {
            all &= init.status(place, Want::Mapped, lines)? == status;
        }
        Some(all)
    }

    pub fn statuses_are_mapped(init: &Init, place: Place) -> Option<bool> {
        let mut all = true;
        for lines in ["exit 143", "exit 3", "exit 4"] {
            all &= init.status(place, Want::MappedAll, lines)? == 0;
        }
        Some(all)
    }

    pub fn a_signal_is_rewritten(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let lines = format!("trap 'exit 6' QUIT; trap 'exit 7' TERM; echo ready >&2; {REST}");
        let running = init.start(&journal, place, Want::Rewritten, &lines)?;
        init.hears(&mut journal, "ready", 1);
        running.send(Signal::TERM);
        Some(running.status() == 6)
    }

    pub fn a_dead_parent_ends_it(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let lines = format!("trap 'echo got TERM >&2; exit' TERM; echo ready >&2; {REST}");
        let command = init.command(place, Want::ParentDeath, &["--", "sh", "-c", &lines])?;
        // It has a parent that is not this test.
        let mut parent = Command::new("sh");
        parent.args(["-c", "\"$@\" & wait", "parent"]).arg(command.get_program()).args(command.get_args());
        parent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
        let mut parent = parent.spawn().unwrap();
        let is_ready = init.hears(&mut journal, "ready", 1);
        parent.kill().unwrap();
        parent.wait().unwrap();
        Some(is_ready && init.hears(&mut journal, "got TERM", 1))
    }

    pub fn what_is_left_is_asked_to_end(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let _ = fs::remove_file("/run/go");
        let left = format!("trap 'echo left: TERM >&2; exit' TERM; echo ready >&2; {REST}");
        let lines = format!("({left}) & while [ ! -e /run/go ]; do sleep 0.02; done; exit 3");
        let running = init.start(&journal, place, Want::Nothing, &lines)?;
        let is_ready = init.hears(&mut journal, "ready", 1);
        fs::write("/run/go", "").unwrap();
        let status = running.status();
        Some(is_ready && init.hears(&mut journal, "left: TERM", 1) && status == 3)
    }

    /// In a place where something is blocked and something ignored.
    fn block_and_ignore() -> Result<(), Error> {
        // SAFETY: a set that is filled in first.
        unsafe {
            let mut blocked = std::mem::zeroed();
            libc::sigemptyset(&mut blocked);
            libc::sigaddset(&mut blocked, libc::SIGUSR2);
            libc::sigaddset(&mut blocked, libc::SIGTTOU);
            libc::sigprocmask(libc::SIG_SETMASK, &blocked, std::ptr::null_mut());
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            libc::signal(libc::SIGTTIN, libc::SIG_IGN);
        }
        Ok(())
    }

    pub fn signals_are_as_they_were(init: &Init, place: Place) -> Option<bool> {
        // No shell comes before: those change the same.
        let told = |mut command: Command| {
            // SAFETY: system calls only.
            unsafe { command.pre_exec(block_and_ignore) };
            command.stdout(Stdio::piped()).output().unwrap().stdout
        };
        const TELL: [&str; 4] = ["sed", "-n", "/^Sig[BI]/p", "/proc/self/status"];
        let mut bare = if place == Place::First { unshare() } else { Command::new("env") };
        bare.args(TELL);
        let program = [&["--"], &TELL[..]].concat();
        Some(told(init.command(place, Want::Nothing, &program)?) == told(bare))
    }

    /// Starts `program` below it, with a terminal of their own, behind `before`.
    fn at_terminal(
        init: &Init,
        place: Place,
        journal: &Journal,
        before: &[&str],
        program: &[&str],
    ) -> Option<(Running, File)> {
        let (master, slave) = terminal();
        let before = [&["setsid", "--ctty", "--wait"], before].concat();
        let mut command = init.behind(&before, place, Want::Nothing, program)?;
        command.stdin(slave).stderr(journal.pen());
        Some((Running::spawn(&mut command, place, init.patience), master))
    }

    /// Is the group of who runs this in the foreground?
    const GROUPS: &str = "awk '{ print \"groups \" ($5 == $8), ($5 == $1 || $5 == $4) }' /proc/self/stat >&2";

    pub fn the_command_has_the_terminal(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let (running, _master) = at_terminal(init, place, &journal, &[], &["--", "sh", "-c", GROUPS])?;
        let status = running.status();
        Some(status == 0 && journal.count("groups 1 1") == 1)
    }

    pub fn the_foreground_is_not_stolen(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        // A shell with job control, which has it in the background.
        let before = ["sh", "-c", "set -m; \"$@\" & wait", "shell"];
        let (running, _master) = at_terminal(init, place, &journal, &before, &["--", "sh", "-c", GROUPS])?;
        running.status();
        Some(journal.count("groups 0") == 1)
    }

    pub fn ctrl_c_ends_the_command(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let lines = "echo ready >&2; exec sleep 1000";
        let (running, mut master) = at_terminal(init, place, &journal, &[], &["--", "sh", "-c", lines])?;
        let is_ready = init.hears(&mut journal, "ready", 1);
        master.write_all(b"\x03").unwrap();
        Some(is_ready && running.status() == 130)
    }

    pub fn ctrl_z_stops_the_command(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let lines = "echo pid $$ >&2; exec sleep 1000";
        let (running, mut master) = at_terminal(init, place, &journal, &[], &["--", "sh", "-c", lines])?;
        init.hears(&mut journal, "pid ", 1);
        let pid = match place {
            Place::Among => journal.lines().iter().find_map(|line| line.strip_prefix("pid ")?.parse().ok()),
            // By its pid here.
            Place::First => {
                let of = |pid: Pid| children_of(pid).first().copied();
                let init = of(of(pid_of(&running.child))?).or_else(|| of(running.pid()?));
                init.map(Pid::as_raw_pid)
            }
        }?;
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('-')
        };
        within(init.patience, || state() == 'S');
        master.write_all(b"\x1a").unwrap();
        let has_stopped = within(init.patience, || state() == 'T').is_some();
        // SAFETY: takes numbers.
        unsafe { libc::kill(pid, libc::SIGCONT) };
        let goes_on = within(init.patience, || state() == 'S').is_some();
        // SAFETY: as above.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        Some(running.status() == 143 && has_stopped && goes_on)
    }

    pub fn inits_can_be_stacked(init: &Init, place: Place) -> Option<bool> {
        let options = init.options(Want::Nothing)?;
        let program = [&["--", &init.path], options, &["--", "sh", "-c", "exit 5"]].concat();
        let mut command = init.command(place, Want::Nothing, &program)?;
        Some(Running::spawn(&mut command, place, init.patience).status() == 5)
    }

    pub fn scripts_can_begin_with_it(init: &Init, place: Place) -> Option<bool> {
        let options = init.options(Want::Nothing)?.join(" ");
        // A line has one argument; env(1) makes more of it.
        let text = format!("#!/usr/bin/env -S {} {options} /bin/sh\nexit \"$1\"\n", init.path);
        let script = script("begun", &text);
        let mut command = Command::new(script);
        command.arg("6").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Running::spawn(&mut command, place, init.patience).status() == 6)
    }

    pub fn arguments_are_the_commands(init: &Init, place: Place) -> Option<bool> {
        let program = ["sh", "-c", "exit $#", "x", "-v", "--help", "-e", "--"];
        let mut command = init.command(place, Want::Nothing, &program)?;
        Some(Running::spawn(&mut command, place, init.patience).status() == 4)
    }

    pub fn environment_and_directory_stay(init: &Init, place: Place) -> Option<bool> {
        let mut command = init.command(place, Want::Nothing, &["--", "/usr/bin/env"])?;
        command.env_clear().env("PATH", "/usr/bin:/bin").env("A", "b c").env("BUSTD_PID", "9");
        let env = command.stdout(Stdio::piped()).output().unwrap().stdout;
        let mut lines: Vec<_> = std::str::from_utf8(&env).unwrap().lines().collect();
        lines.sort_unstable();
        let mut command = init.command(place, Want::Nothing, &["--", "/bin/pwd"])?;
        let dir = command.current_dir("/usr").stdout(Stdio::piped()).output().unwrap().stdout;
        Some(lines == ["A=b c", "BUSTD_PID=9", "PATH=/usr/bin:/bin"] && dir == b"/usr\n")
    }

    pub fn a_stop_is_no_end(init: &Init, place: Place) -> Option<bool> {
        let lines = "(sleep 0.3; kill -CONT $$) & kill -STOP $$; wait; exit 4";
        Some(init.status(place, Want::Nothing, lines)? == 4)
    }

    pub fn the_command_may_execute_another(init: &Init, place: Place) -> Option<bool> {
        Some(init.status(place, Want::Nothing, "exec sh -c 'exec sh -c \"exit 8\"'")? == 8)
    }

    pub fn a_storm_of_signals_is_nothing(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let lines = format!("trap '' USR1 40; trap 'exit 4' TERM; echo ready >&2; {REST}");
        let running = init.start(&journal, place, Want::Nothing, &lines)?;
        let is_ready = init.hears(&mut journal, "ready", 1);
        let pid = running.pid()?.as_raw_pid();
        for _ in 0..10_000 {
            // SAFETY: takes numbers.
            unsafe { libc::kill(pid, 40) };
        }
        running.send(Signal::TERM);
        Some(is_ready && running.status() == 4)
    }

    pub fn an_ignored_death_is_noticed(init: &Init, place: Place) -> Option<bool> {
        let mut command = init.command(place, Want::Nothing, &["--", "sh", "-c", "sleep 0.2; exit 6"])?;
        let ignore = || {
            // SAFETY: runs no code.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            Ok(())
        };
        // SAFETY: a system call.
        unsafe { command.pre_exec(ignore) };
        Some(Running::spawn(&mut command, place, init.patience).status() == 6)
    }

    pub fn it_can_do_without_a_command(init: &Init, place: Place) -> Option<bool> {
        let mut command = init.command(place, Want::Pause, &[])?;
        let running = Running::spawn(&mut command, place, init.patience);
        // unshare(1) and an emulator that starts block signals for a while, too, but read none.
        let is_it = |pid: &Pid| {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let mut links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
            links.any(|link| link == Path::new("anon_inode:[signalfd]"))
        };
        within(init.patience, || running.pid().as_ref().is_some_and(is_it));
        running.send(Signal::INT);
        Some(running.status() == 0)
    }

    /// As many of each generation as there were, and as many again.
    pub fn a_growing_storm_of_forks_ends_with_it(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let storm = "f() { trap '' TERM; echo more >&2; while :; do (f) & sleep 0.2; done; }; f";
        let lines = format!("({storm}) & while [ ! -e /run/storm ]; do sleep 0.02; done; exit 3");
        let _ = fs::remove_file("/run/storm");
        let running = init.start(&journal, place, Want::Nothing, &lines)?;
        let is_stormy = init.hears(&mut journal, "more", 16);
        fs::write("/run/storm", "").unwrap();
        Some(is_stormy && running.status() == 3)
    }

    pub fn descriptors_are_handed_on(init: &Init, place: Place) -> Option<bool> {
        let lines = "[ -e /proc/self/fd/9 ]";
        let mut command = init.command(place, Want::Nothing, &["--", "sh", "-c", lines])?;
        // SAFETY: a system call with numbers.
        unsafe {
            command.pre_exec(|| if libc::dup2(0, 9) == 9 { Ok(()) } else { Err(Error::last_os_error()) });
        }
        Some(Running::spawn(&mut command, place, init.patience).status() == 0)
    }

    pub fn it_stops_too(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let running = init.start(&journal, place, Want::Nothing, "echo ready >&2; exec sleep 1000")?;
        init.hears(&mut journal, "ready", 1);
        running.send(Signal::TSTP);
        let pid = running.pid()?;
        let stopped = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        let has_stopped = within(Duration::from_secs(1), stopped).is_some();
        running.send(Signal::CONT);
        running.send(Signal::KILL);
        running.status();
        Some(has_stopped)
    }

    pub fn it_leaves_its_directory(init: &Init, place: Place) -> Option<bool> {
        let mut journal = Journal::new();
        let mut command =
            init.command(place, Want::Nothing, &["--", "sh", "-c", "echo ready >&2; exec sleep 1000"])?;
        command.current_dir("/usr").stderr(journal.pen());
        let running = Running::spawn(&mut command, place, init.patience);
        init.hears(&mut journal, "ready", 1);
        let pid = running.pid()?;
        let is_root = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| dir == Path::new("/"));
        let has_left = within(Duration::from_secs(1), is_root).is_some();
        running.send(Signal::TERM);
        running.status();
        Some(has_left)
    }

    pub fn a_script_without_a_shell_runs(init: &Init, place: Place) -> Option<bool> {
        let script = script("bare", "exit 3\n");
        Some(status_of_program(init, place, &script)? == 3)
    }
}
