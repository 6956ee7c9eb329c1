//! `make install`: what it puts where, for whichever init, and takes away again.

mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tree::Tree;

const BUSTD: &str = env!("CARGO_BIN_EXE_bustd");
const INITS: [&str; 7] = ["systemd", "openrc", "runit", "s6", "procd", "inittab", "none"];

/// Runs contrib/install for what cargo built, below `stage`.
fn run(stage: &Tree, arg: &str, words: &[(&str, &str)]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/install");
    let mut install = Command::new(script);
    install.arg(arg).env("DESTDIR", stage.path()).env("FROM", Path::new(BUSTD).parent().unwrap());
    for name in ["PREFIX", "SBINDIR", "MANDIR", "SYSCONFDIR", "UNITDIR", "INIT"] {
        install.env_remove(name);
    }
    install.envs(words.iter().copied()).output().unwrap()
}

#[track_caller]
fn run_well(stage: &Tree, arg: &str, words: &[(&str, &str)]) -> String {
    let output = run(stage, arg, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every file below `dir`, by its path from there.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut rest = vec![dir.to_owned()];
    while let Some(at) = rest.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rest.push(path);
            } else {
                found.insert(Path::new("/").join(path.strip_prefix(dir).unwrap()));
            }
        }
    }
    found
}

#[test]
fn what_is_installed_is_removed_again() {
    for init in INITS {
        let stage = Tree::new();
        stage.write("etc/inittab", "::sysinit:/bin/true\n");
        let before = files(stage.path());
        let told = run_well(&stage, "install", &[("INIT", init), ("PREFIX", "/usr")]);
        let after = files(stage.path());
        for path in ["/usr/sbin/bustd", "/usr/share/man/man8/bustd.8", "/etc/bustd.conf"] {
            assert!(after.contains(Path::new(path)), "{init}: {after:?}");
        }
        assert!(told.lines().last().unwrap().starts_with(&format!("to start it ({init}): ")), "{told}");
        // Twice is as once, in a table too.
        let table = fs::read_to_string(stage.path().join("etc/inittab")).unwrap();
        assert_eq!(table.matches("bustd").count() > 0, init == "inittab", "{table}");
        run_well(&stage, "install", &[("INIT", init), ("PREFIX", "/usr")]);
        assert_eq!(fs::read_to_string(stage.path().join("etc/inittab")).unwrap(), table);
        assert_eq!(files(stage.path()), after, "{init}");
        run_well(&stage, "uninstall", &[("INIT", init), ("PREFIX", "/usr")]);
        assert_eq!(files(stage.path()), before, "{init}");
        assert_eq!(
            fs::read_to_string(stage.path().join("etc/inittab")).unwrap(),
            "::sysinit:/bin/true\n",
            "{init}"
        );
    }
    let stage = Tree::new();
    let output = run(&stage, "install", &[("INIT", "upstart")]);
    assert!(!output.status.success());
    assert!(files(stage.path()).is_empty());
}

/// The program reads the options of the directory that was named, though it looks in /etc
/// by itself, and no template has a word left to fill in.
#[test]
fn services_find_what_was_put_elsewhere() {
    let words = [("SBINDIR", "/opt/bin"), ("SYSCONFDIR", "/opt/etc"), ("UNITDIR", "/opt/units")];
    for init in INITS {
        let stage = Tree::new();
        let words = [&words[..], &[("INIT", init)]].concat();
        let told = run_well(&stage, "install", &words);
        assert!(stage.path().join("opt/etc/bustd.conf").exists());
        let mut texts = vec![told];
        for path in files(stage.path()) {
            if path.starts_with("/opt/etc") || path.starts_with("/opt/units") {
                let path = stage.path().join(path.strip_prefix("/").unwrap());
                texts.push(fs::read_to_string(path).unwrap());
            }
        }
        for text in &texts {
            let is_word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_uppercase());
            assert!(!text.split('@').any(is_word), "{init}: {text}");
        }
        let starts = |text: &String| text.contains("--config /opt/etc/bustd.conf");
        assert!(texts.iter().any(starts), "{init}: {texts:?}");
        run_well(&stage, "uninstall", &words);
        let left = files(stage.path());
        assert!(left.iter().all(|path| path == Path::new("/opt/etc/inittab")), "{init}: {left:?}");
    }
}

#[test]
fn what_somebody_wrote_stays() {
    let stage = Tree::new();
    let words = [("INIT", "openrc")];
    run_well(&stage, "install", &words);
    let ours = [("etc/bustd.conf", "mem 12%\n"), ("etc/conf.d/bustd", "BUSTD_OPTS=--verbose\n")];
    for (path, text) in ours {
        stage.write(path, text);
    }
    run_well(&stage, "install", &words);
    run_well(&stage, "uninstall", &words);
    for (path, text) in ours {
        assert_eq!(fs::read_to_string(stage.path().join(path)).unwrap(), text);
    }
    assert_eq!(files(stage.path()).len(), 2);
}
