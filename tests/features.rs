//! What was left out says so, and what was not is there.

use std::process::{Command, Output};

const BUSTD: &str = env!("CARGO_BIN_EXE_bustd");

fn run(args: &[&str]) -> Output {
    // Whatever else it is told, it only asks.
    Command::new(BUSTD).args(["--check"]).args(args).output().unwrap()
}

fn refusal(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn rules_are_there_or_are_said_not_to_be() {
    for option in ["rules", "rules-dir", "interval", "device", "ssd-coeffs", "hdd-coeffs"] {
        let said = refusal(&[&format!("--{option}"), "?"]);
        let without = format!("bustd: --{option}: this bustd was built without rules\n");
        assert_eq!(said == without, !cfg!(feature = "rules"), "{said}");
    }
    for option in ["no-default-rules", "allow-panic"] {
        let said = refusal(&[&format!("--{option}")]);
        let why =
            if cfg!(feature = "rules") { "only with --rules" } else { "this bustd was built without rules" };
        assert_eq!(said, format!("bustd: --{option}: {why}\n"));
    }
}

#[test]
fn the_init_is_there_or_is_said_not_to_be() {
    let why = match cfg!(feature = "init") {
        true => "\"true\": unexpected argument, see --help",
        false => "this bustd was built without the init that runs a COMMAND",
    };
    assert_eq!(refusal(&["true"]), format!("bustd: {why}\n"));
    let why = match cfg!(feature = "init") {
        true => "only with COMMAND",
        false => "this bustd was built without the init that runs a COMMAND",
    };
    for (option, value) in [("forward", "group"), ("map-exit", "1:2"), ("pdeathsig", "TERM")] {
        assert_eq!(refusal(&[&format!("--{option}"), value]), format!("bustd: --{option}: {why}\n"));
    }
}
