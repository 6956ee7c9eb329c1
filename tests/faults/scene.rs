//! A guard, whom it is to kill and whom not.

use crate::cases::Phase;
use crate::harness::{
    self, Confined, Eater, FakeMeminfo, Guard, Hierarchy, Journal, OnTerm, exit_of, pid_of,
};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const TRACE: &str = "/run/trace";

/// Looks again and again; whether it came true in time.
pub fn within(ms: u64, happened: impl FnMut() -> bool) -> bool {
    harness::within(Duration::from_millis(ms), happened).is_some()
}

/// Everybody on stage; when the scene is over, so are they.
pub struct Scene {
    pub journal: Journal,
    meminfo: FakeMeminfo,
    pub guard: Option<Guard>,
    pub victim: Eater,
    pub innocent: Eater,
    /// Where all that takes place, if that is a cgroup.
    pub inside: Option<Inside>,
    strace: Option<Child>,
}

/// A cgroup with another that the victim is in, and who is not to die with that.
pub struct Inside {
    outside: Eater,
    never: Option<Eater>,
    /// As long as it is there, rules have nobody killed.
    calm: Option<Confined>,
    // Last, since each is removed when it is dropped, once nobody is in it.
    #[allow(dead_code, reason = "it is there as long as this is")]
    below: [Confined; 2],
    confined: Confined,
}

impl Inside {
    /// Who died of those who were never to, or of those of them who were not told to be gone.
    pub fn dead(&self, are_told_gone: bool) -> Option<&'static str> {
        if self.outside.stat().is_gone() {
            Some("whoever is outside")
        } else if !are_told_gone && self.never.as_ref().is_some_and(|never| never.stat().is_gone()) {
            Some("whoever is to live")
        } else {
            None
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.detach();
        if let Some(guard) = self.guard.take() {
            guard.send(Signal::KILL);
            guard.exit();
        }
        for eater in [&mut self.victim, &mut self.innocent] {
            eater.kill();
        }
        if let Some(inside) = &mut self.inside {
            inside.outside.kill();
            inside.never.iter_mut().for_each(Eater::kill);
        }
    }
}

/// SIGTERM is heeded late, so a kill takes both signals.
const OPTIONS: &[&str] =
    &["--no-daemon", "--verbose", "--mem", "512M,1M", "--grace", "40", "--stats", "/run/kills.prom"];
/// Programs that are started, for which there is no filter of calls.
const HOOKS: &[&str] = &["--before-kill", "/bin/true", "--on-kill", "/bin/true"];
const RULES: &str = "/run/rules.json";
const OPTIONS_OF_RULES: &[&str] = &[
    "--no-daemon",
    "--verbose",
    "--stats",
    "/run/kills.prom",
    "--no-default-rules",
    "--rules",
    RULES,
    "--interval",
    "1",
];

/// Rules that kill the victim's cgroup when there is no calm any more, and look at all of
/// them until then.
fn rules(path: &str) -> String {
    let plugin = |name: &str, args: &str| format!(r#"{{"name": "{name}", "args": {{{args}}}}}"#);
    let all = format!(r#""cgroup": "{path},{path}/*", "always": true"#);
    let calm = format!(r#""cgroup": "{path}/calm", "negate": true"#);
    let victims = format!(r#""cgroup": "{path}/jo*,{path}/job", "resource": "memory""#);
    let [all, calm, kill] =
        [plugin("dump_cgroup_overview", &all), plugin("exists", &calm), plugin("kill_by_pressure", &victims)];
    let set = format!(r#"{{"name": "n", "detectors": [["g", {all}, {calm}]], "actions": [{kill}]}}"#);
    format!(r#"{{"rulesets": [{set}]}}"#)
}

pub const NEAR_MIB: u64 = 600;
const SHORT_MIB: u64 = 500;

impl Scene {
    /// While nothing is the matter without hooks, and so behind the filter.
    pub fn set(phase: Phase, meminfo: FakeMeminfo) -> Self {
        let mut journal = Journal::new();
        meminfo.set_available(NEAR_MIB);
        let victim = Eater::named("victim").mib(20).growing_by(30).on_term(OnTerm::Ignore).start(&journal);
        let innocent = Eater::named("innocent").mib(36).start(&journal);
        let hooks = if phase == Phase::Kill { HOOKS } else { &[] };
        let inside = phase.is_in_cgroup().then(|| {
            let confined = Confined::new(Hierarchy::V2).expect("as before");
            let job = confined.below("job");
            job.take(victim.pid());
            let other = confined.below("other");
            other.take(innocent.pid());
            let never = (phase == Phase::Spared).then(|| Eater::named("never").mib(1).start(&journal));
            never.iter().for_each(|never| job.take(never.pid()));
            let outside = Eater::named("outside").mib(60).start(&journal);
            let calm = (phase == Phase::Rules).then(|| confined.below("calm"));
            Inside { outside, never, calm, below: [job, other], confined }
        });
        let dir = inside.as_ref().map(|inside| inside.confined.dir.to_str().expect("a path").to_owned());
        let scope = dir
            .as_ref()
            .map(|dir| ["--scope", dir, "--kill-cgroup", "--unkillables", "any:never|any:cgroup:/nowhere"]);
        let scope = scope.as_ref().map_or(&[][..], |scope| scope);
        let guard = if phase == Phase::Rules {
            let path = inside.as_ref().map_or("", |inside| inside.confined.path.trim_start_matches('/'));
            fs::write(RULES, rules(path)).expect("a file in scratch");
            let guard = Guard::watching(&mut journal, &[OPTIONS_OF_RULES]);
            // From the first tick on all cgroups are held.
            journal.expect(&format!("cgroup \"{path}\""));
            guard
        } else {
            Guard::watching(&mut journal, &[OPTIONS, hooks, scope])
        };
        // The first survey, and that it is over.
        guard.look(&mut journal);
        guard.look(&mut journal);
        Self { journal, meminfo, guard: Some(guard), victim, innocent, inside, strace: None }
    }

    pub fn guard(&self) -> &Guard {
        self.guard.as_ref().expect("a guard, until the end")
    }

    pub fn pid(&self) -> Pid {
        self.guard().pid()
    }

    /// Has strace(1) follow the guard; counts from there on.
    pub fn attach(&mut self, options: &[&str]) {
        let _ = fs::remove_file(TRACE);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", TRACE, "-p", &self.pid().to_string()]).args(options);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.journal.pen());
        self.strace = Some(strace.spawn().expect("strace(1)"));
        self.journal.expect("attached");
    }

    /// The guard goes on as if nothing had been.
    pub fn detach(&mut self) {
        if let Some(mut strace) = self.strace.take() {
            let _ = kill_process(pid_of(&strace), Signal::TERM);
            let _ = exit_of(&mut strace);
        }
    }

    pub fn hits(&self) -> usize {
        fs::read_to_string(TRACE).unwrap_or_default().matches("INJECTED").count()
    }

    /// Memory gets short, and it is plain whose doing that is.
    pub fn shorten(&mut self) {
        if let Some(calm) = self.inside.as_mut().and_then(|inside| inside.calm.take()) {
            return drop(calm);
        }
        self.victim.grow(&mut self.journal);
        self.meminfo.set_available(SHORT_MIB);
        self.guard().send(Signal::USR1);
    }

    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    pub fn is_alive(&self) -> bool {
        // A zombie has no files.
        self.open_files() > 0
    }

    pub fn answers(&mut self, ms: u64) -> bool {
        let before = self.journal.count("status: ");
        let deadline = Instant::now() + Duration::from_millis(ms);
        // The answer itself may be what is lost.
        loop {
            self.guard().send(Signal::USR1);
            let journal = &mut self.journal;
            if within(250, || journal.count("status: ") > before) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
        }
    }

    /// Lines of the guard that say why nobody dies, or somebody else does.
    pub fn is_explained(&mut self) -> bool {
        let reasons = ["not signalled", "worth killing", "cannot", "was gone before"];
        reasons.iter().any(|reason| self.journal.count(reason) > self.explained_at_start(reason))
    }

    /// What is said at start and means nothing.
    fn explained_at_start(&mut self, reason: &str) -> usize {
        let lines = self.journal.lines();
        let start = lines.iter().position(|line| line.contains("watching")).unwrap_or(0);
        lines[..start].iter().filter(|line| line.contains(reason)).count()
    }
}
