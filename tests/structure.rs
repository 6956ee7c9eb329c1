//! The house: floors in the order of src/lib.rs, nothing imports from a floor
//! above its own, no file imports itself by way of others, and no file is longer
//! than a reader keeps in mind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 500;

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// `floor::file` of a library file, `floor` alone for its mod.rs and for a floor
/// that is one file; `None` for the program's.
fn module_of(path: &Path) -> Option<String> {
    let parts: Vec<_> = path.strip_prefix(src()).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
    match parts[..] {
        ["lib.rs"] | ["bin", ..] => None,
        [_, tests] if tests.ends_with("_tests.rs") => None,
        [floor] => Some(floor.trim_end_matches(".rs").to_owned()),
        [floor, "mod.rs"] => Some(floor.to_owned()),
        [floor, file] => Some(format!("{floor}::{}", file.trim_end_matches(".rs"))),
        _ => panic!("a file below a floor: {path:?}"),
    }
}

/// What a file imports from the library, as far as modules go. Tests are left out.
fn imports_of(text: &str, own: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let floor = own.split("::").next().unwrap();
    let mut found = BTreeSet::new();
    for (prefix, base) in [("crate::", ""), ("super::", floor)] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            let names: Vec<_> = rest
                .split("::")
                .map(|name| {
                    let end = name
                        .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
                        .unwrap_or(name.len());
                    (&name[..end], end == name.len())
                })
                .collect();
            let mut path: Vec<&str> = if base.is_empty() { Vec::new() } else { vec![base] };
            for (name, goes_on) in names {
                let is_module = name.chars().next().is_some_and(char::is_lowercase);
                if is_module && path.len() < 2 {
                    path.push(name);
                }
                if !goes_on {
                    break;
                }
            }
            found.insert(path.join("::"));
        }
    }
    found
}

fn floors() -> Vec<String> {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let floors: Vec<_> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert!(floors.len() >= 8, "{floors:?}");
    floors
}

/// Each file of the library and the files it imports.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let files: Vec<_> = rust_files(&src());
    let modules: BTreeSet<_> = files.iter().filter_map(|path| module_of(path)).collect();
    let imports = |path: &PathBuf| {
        let own = module_of(path)?;
        let found = imports_of(&fs::read_to_string(path).unwrap(), &own);
        // A function imported from a floor's mod.rs is that file's.
        let file = |name: String| {
            let floor = name.split("::").next().unwrap().to_owned();
            if modules.contains(&name) { name } else { floor }
        };
        Some((own.clone(), found.into_iter().map(file).filter(|name| *name != own).collect()))
    };
    files.iter().filter_map(imports).collect()
}

#[test]
fn nothing_imports_from_a_floor_above_its_own() {
    let floors = floors();
    let rank = |module: &str| {
        let floor = module.split("::").next().unwrap();
        floors.iter().position(|name| name == floor).unwrap_or_else(|| panic!("{module} is on no floor"))
    };
    let mut wrong = Vec::new();
    let graph = graph();
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > 50, "imports are not found: {graph:?}");
    for (own, imports) in &graph {
        wrong.extend(
            imports.iter().filter(|other| rank(other) > rank(own)).map(|other| format!("{own} -> {other}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let mut left = graph();
    // What imports nothing that is left cannot be part of a circle.
    loop {
        let names: BTreeSet<_> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, imports| imports.iter().any(|other| names.contains(other)));
        if left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "circles among {:?}", left.keys().collect::<Vec<_>>());
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<_> = rust_files(&src())
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}
