//! oomd 0.5.0 as a program: where it is, how it is started on cgroups that are plain
//! files, and how large it is.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where `make setup` puts it.
const FETCHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/oomd");

/// What starts it, if it is here: what OOMD names, what was fetched, or what is
/// installed.
pub fn find_oomd() -> Option<String> {
    let named = std::env::var("OOMD").ok();
    named.into_iter().chain([FETCHED.to_owned(), "oomd".to_owned()]).find(|name| {
        let version = Command::new(name).arg("--version").stderr(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// A directory under a name that it takes: it wants a hierarchy below a mounted one, and
/// compares paths without resolving them.
pub struct Hierarchy(String);

impl Hierarchy {
    pub fn below_mount(dir: &Path) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            words.next().filter(|_| words.next() == Some("cgroup2"))
        });
        let mount = mount.ok_or("no hierarchy of version 2 is mounted")?;
        let up = "/..".repeat(mount.matches('/').count());
        Ok(Self(format!("{mount}{up}{}", dir.display())))
    }
}

/// How it runs the rules in `dir/rules.json`, with what it writes beside them.
pub fn oomd(name: &str, hierarchy: &Hierarchy, dir: &Path) -> Command {
    let mut oomd = Command::new(name);
    oomd.args(["--cgroup-fs", &hierarchy.0]).arg("--config").arg(dir.join("rules.json"));
    // Its socket is there, whose address has room for a short path only.
    oomd.arg("--kmsg-override").arg(dir.join("kmsg")).args(["--runtime-dir", "run"]).current_dir(dir);
    oomd.args(["--interval", "1"]).stdin(Stdio::null()).stdout(Stdio::null());
    oomd
}

/// The program that is started by that name.
pub fn program_of(name: &str) -> PathBuf {
    let path = Path::new(name);
    let beside = path.with_file_name("usr/bin/oomd");
    if beside.exists() {
        return beside;
    }
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&dirs).map(|dir| dir.join(path)).find(|path| path.exists()).unwrap_or(path.into())
}

pub fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// With the libraries that it is started with.
pub fn whole_len(path: &Path) -> u64 {
    let mut ldd = Command::new("ldd");
    if let Some(usr) = path.parent().and_then(Path::parent) {
        let dirs = fs::read_dir(usr.join("lib")).into_iter().flatten().flatten();
        let dirs: Vec<_> = dirs.map(|dir| dir.path().display().to_string()).collect();
        ldd.env("LD_LIBRARY_PATH", dirs.join(":"));
    }
    let listed = ldd.arg(path).stderr(Stdio::null()).output();
    let listed =
        listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    len(path) + libraries.map(|library| len(Path::new(library))).sum::<u64>()
}
