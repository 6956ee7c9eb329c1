//! The longest time in which the guard does not look at memory, whatever is put in its
//! way: each scene is a test, for the program in `STEPS_FILE` if that is set. One at a
//! time tells most:
//!
//!     STEPS_FILE=target/static/bustd cargo test --test steps -- --test-threads=1
//!
//! Not part of `cargo test`: how long a step takes is told of the file that people run.
//! `.ci/check-static` does, and prints what is found.

#[path = "../processes/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the other tests with processes need besides")]
mod harness;

mod scenes;
mod tracer;

use harness::{PROGRAM, in_namespace, in_namespace_with_users, mount};
use std::fs::File;
use std::io::Write;
use std::time::Duration;
use std::{env, fs, thread};
use tracer::{Steps, touched};

/// Twice what DESIGN.md promises of the machine that it was measured on: others are slower,
/// and what is not bounded at all takes hundreds.
const LONGEST_OWN: Duration = Duration::from_millis(100);
/// By the clock, in which whatever blocks shows; the rest is a busy machine's doing.
const LONGEST_CLOCK: Duration = Duration::from_millis(500);

/// Plays `scene` in a namespace of its own, tells what its steps were, and judges them.
fn measured(scene: impl FnOnce() -> Steps) {
    in_namespace_with_users(|| {
        bring_file();
        judge(scene(), touched(false));
    });
}

/// The same where cgroups can be made, for a guard that runs rules; `None` where that
/// cannot be.
fn measured_with_rules(scene: impl FnOnce() -> Option<Steps>) {
    in_namespace(|| {
        bring_file();
        if let Some(steps) = scene() {
            judge(steps, touched(true));
        }
    });
}

/// Puts the file that is to be measured in the program's place.
fn bring_file() {
    if let Some(file) = env::var_os("STEPS_FILE") {
        let file = fs::canonicalize(file).expect("STEPS_FILE");
        mount(&["--bind", file.to_str().expect("text"), PROGRAM]);
    }
}

fn judge(steps: Steps, touched: usize) {
    let Steps { looks, own, clock, stack } = steps;
    let name = thread::current().name().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let line = format!("{:.1} {:.1} {looks} {stack} {name}\n", ms(own), ms(clock));
    print!("{line}");
    if let Some(report) = env::var_os("STEPS_REPORT") {
        let mut report = File::options().append(true).create(true).open(report).expect("STEPS_REPORT");
        report.write_all(line.as_bytes()).expect("write");
    }
    assert!(stack <= touched, "{stack} bytes of stack");
    assert!(looks > 5, "{looks} looks only");
    assert!(own <= LONGEST_OWN, "{own:?} of its own time without a look");
    assert!(clock <= LONGEST_CLOCK, "{clock:?} without a look");
}
