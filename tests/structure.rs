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

/// `floor::file` of a library file, `floor::part::file` where a part is a folder, and
/// without the file for a mod.rs; `floor` alone for a floor that is one file; `None`
/// for the program's.
fn module_of(path: &Path) -> Option<String> {
    let parts: Vec<_> = path.strip_prefix(src()).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
    match parts[..] {
        ["lib.rs"] | ["bin", ..] => None,
        [.., tests] if tests.ends_with("_tests.rs") => None,
        [floor] => Some(floor.trim_end_matches(".rs").to_owned()),
        [floor, "mod.rs"] => Some(floor.to_owned()),
        [floor, part, "mod.rs"] => Some(format!("{floor}::{part}")),
        [floor, file] => Some(format!("{floor}::{}", file.trim_end_matches(".rs"))),
        [floor, part, file] => Some(format!("{floor}::{part}::{}", file.trim_end_matches(".rs"))),
        _ => panic!("a file below a part: {path:?}"),
    }
}

/// What a file imports from the library, as far as modules go. Tests are left out.
fn imports_of(text: &str, own: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let floor = own.rsplit_once("::").map_or(own, |(above, _)| above);
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
            let mut path: Vec<&str> = base.split("::").filter(|name| !name.is_empty()).collect();
            for (name, goes_on) in names {
                let is_module = name.chars().next().is_some_and(char::is_lowercase);
                if is_module && path.len() < 3 {
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
        // A function imported from a mod.rs is that file's.
        let file = |mut name: String| {
            while !modules.contains(&name) {
                name = name.rsplit_once("::").unwrap_or_else(|| panic!("{own} imports {name}")).0.to_owned();
            }
            name
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

/// The same for the program's own files, whose modules main.rs names without a word before.
fn graph_of_program() -> BTreeMap<String, BTreeSet<String>> {
    let dir = src().join("bin/bustd");
    let files: Vec<_> = rust_files(&dir).into_iter().filter(|path| path.parent() == Some(&*dir)).collect();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let names: BTreeSet<_> = files.iter().map(name).collect();
    let imports = |path: &PathBuf| {
        let own = name(path);
        let text = fs::read_to_string(path).unwrap();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.join("\n");
        assert!(!code.contains("crate::{") && !code.contains("super::*"), "{own} imports a list of modules");
        let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
        let found = code.match_indices("::").filter_map(|(at, _)| {
            let before = code[..at].rsplit(|letter| !is_letter(letter)).next().unwrap();
            let after = code[at + 2..].split(|letter| !is_letter(letter)).next().unwrap();
            let is_of_another = code[..at - before.len()].ends_with("::");
            match before {
                // What is no file's is main.rs's own.
                "crate" => Some(if names.contains(after) { after } else { "main" }),
                _ if own == "main" && names.contains(before) && !is_of_another => Some(before),
                _ => None,
            }
        });
        (own.clone(), found.filter(|name| **name != own).map(str::to_owned).collect())
    };
    files.iter().map(imports).collect()
}

#[test]
fn no_file_of_the_program_imports_itself_by_way_of_others() {
    let graph = graph_of_program();
    assert!(graph["main"].contains("cli") && graph["cli"].contains("reader"), "{graph:?}");
    assert_no_circles(graph);
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    assert_no_circles(graph());
}

fn assert_no_circles(mut left: BTreeMap<String, BTreeSet<String>>) {
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

/// All of a directory's sources.
fn sources_of(dir: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    rust_files(&dir).iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// What reads files and options is fuzzed, each by its name: `module::parse_something`, or
/// `Type::parse`.
#[test]
fn every_parser_is_fuzzed() {
    let targets = sources_of("tests/fuzz/src");
    let mut missing = Vec::new();
    let mut parsers = 0;
    let files = ["config", "read"].map(|floor| rust_files(&src().join(floor)));
    for path in files.iter().flatten() {
        let text = fs::read_to_string(path).unwrap();
        let module = path.file_stem().unwrap().to_str().unwrap();
        let mut of_type = module;
        for line in text.lines() {
            // `impl<'t> Globs<'t> {`
            if let Some(after) = line.strip_prefix("impl") {
                let name = after.trim_start_matches(|letter: char| !letter.is_uppercase());
                of_type = name.split(|letter: char| !letter.is_alphanumeric()).next().unwrap();
            } else if line == "}" {
                of_type = module;
            }
            let Some(name) = line.trim_start().strip_prefix("pub fn ") else { continue };
            let name = &name[..name.find(['(', '<']).unwrap()];
            if name == "parse" || name.starts_with("parse_") {
                parsers += 1;
                let call = format!("{of_type}::{name}(");
                if !targets.contains(&call) {
                    missing.push(call);
                }
            }
        }
    }
    assert!(parsers > 30, "parsers are not found: {parsers}");
    assert!(missing.is_empty(), "not in tests/fuzz: {missing:?}");
}

/// The names of all tests of a directory.
fn tests_of(dir: &str) -> BTreeSet<String> {
    let text = sources_of(dir);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let name = |at: usize| {
        let line = lines[at + 1..].iter().find(|line| line.starts_with("fn "))?;
        Some(line["fn ".len()..line.find('(')?].to_owned())
    };
    (0..lines.len()).filter(|&at| lines[at] == "#[test]").filter_map(name).collect()
}

/// Each claim of SECURITY.md names what shows it, and that is there.
#[test]
fn every_claim_is_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let claims =
        text.split("## ").find(|part| part.starts_with("What an unprivileged user cannot do")).unwrap();
    let claims: Vec<_> = claims.split("\n- **").skip(1).collect();
    assert!(claims.len() > 20, "claims are not found");
    let tests = &tests_of("src") | &tests_of("tests");
    let is_there = |name: &str| tests.contains(name) || name.contains('/') && root.join(name).exists();
    let mut wrong = Vec::new();
    for claim in claims {
        let shown = claim.split_once("Shown by").map_or("", |(_, shown)| shown);
        let names: Vec<_> = shown.split('`').skip(1).step_by(2).collect();
        wrong.extend(names.is_empty().then(|| claim.to_owned()));
        wrong.extend(names.into_iter().filter(|name| !is_there(name)).map(str::to_owned));
    }
    assert!(wrong.is_empty(), "not shown: {wrong:#?}");
}

/// A module's or an item's name as symbols have it: with its length before it.
fn mangled(name: &str) -> String {
    format!("{}{name}", name.len())
}

/// What stands before the items of a file in their symbols.
fn mangled_module(path: &Path) -> String {
    let path = path.strip_prefix(src()).unwrap().with_extension("");
    let parts = path.iter().map(|part| part.to_str().unwrap());
    let names = parts.filter(|name| !matches!(*name, "lib" | "main" | "mod" | "bin"));
    let of_library = if path.starts_with("bin/bustd") { "" } else { "5bustd" };
    names.fold(of_library.to_owned(), |module, name| module + &mangled(name))
}

/// Parts of all symbols that a file can make: its module, and each item in that and
/// behind the type that it is of.
fn symbols_of(path: &Path) -> Vec<String> {
    let module = mangled_module(path);
    let mut symbols = vec![module.clone()];
    let mut of_type = String::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let code = line.split("//").next().unwrap();
        let words: Vec<_> = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
        if code.starts_with("impl") {
            // `impl<'t> Trait for Type<'t> {`
            let name = code.rsplit(" for ").next().unwrap().trim_start_matches("impl");
            let name = name.trim_start_matches(|letter: char| !letter.is_uppercase());
            of_type = mangled(name.split(|letter: char| !letter.is_alphanumeric()).next().unwrap());
        }
        let kinds = ["fn", "struct", "enum", "trait", "mod", "static", "const"];
        for pair in words.windows(2).filter(|pair| kinds.contains(&pair[0])) {
            symbols.push(format!("{module}{}", mangled(pair[1])));
            symbols.push(format!("{module}{of_type}{}", mangled(pair[1])));
        }
    }
    symbols
}

/// Does a symbol have these parts, one after the other?
fn has_parts(symbol: &str, parts: &str) -> bool {
    let mut rest = Some(symbol);
    for part in parts.split('*') {
        rest = rest.and_then(|rest| Some(rest.split_once(part)?.1));
    }
    rest.is_some()
}

/// The linker takes names that nothing has, and then collects nothing by them.
#[test]
fn every_name_that_the_linker_collects_is_there() {
    // Of the compiler's libraries, rustix and lexopt, and what `lit!` makes.
    let others = [
        "6lexopt",
        "5alloc",
        "3std",
        "20eq_ignore_ascii_case",
        "4core3fmt",
        "4core3str",
        "13drop_in_place*5kfile4Tree",
        "13drop_in_place*6faults6Faults",
        "4tell5stats*4TEXT",
        "4CStr19from_bytes_with_nul",
        "20specialized_div_rem12u128_div_rem",
        "__udivti3",
        "7termios",
        "2at8accessat",
    ];
    let symbols: Vec<_> = rust_files(&src()).iter().flat_map(|path| symbols_of(path)).collect();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs")).unwrap();
    let lists = text.split(": &[&str] = &[").skip(1).map(|list| list.split("];").next().unwrap());
    let names: Vec<_> = lists
        // Not those of the C library.
        .filter(|list| !list.contains("__libc_start_main"))
        .flat_map(|list| list.split('"').skip(1).step_by(2))
        .collect();
    assert!(names.len() > 200, "names are not found: {names:?}");
    let missing: Vec<_> = names
        .into_iter()
        .filter(|name| !others.contains(name) && !symbols.iter().any(|symbol| has_parts(symbol, name)))
        .collect();
    assert!(missing.is_empty(), "nothing is called {missing:?}");
}
