//! Every parser and whole trees, under libFuzzer: the first byte of an input says
//! which target gets the rest. See docs/fuzzing.md.
#![cfg_attr(feature = "libfuzzer", no_main)]

#[path = "../../../src/bin/bustd/amount.rs"]
mod amount;
#[path = "../../../src/bin/bustd/asked.rs"]
mod asked;
#[path = "../../../src/bin/bustd/cli.rs"]
#[allow(dead_code, reason = "its text of --help is another one here")]
mod cli;
mod command_line;
#[path = "../../../src/bin/bustd/conf.rs"]
mod conf;
mod console;
#[path = "../../../src/bin/bustd/foreign.rs"]
mod foreign;
#[path = "../../../src/bin/bustd/options.rs"]
#[allow(dead_code, reason = "what the build script needs of it")]
mod options;
mod parsers;
mod patterns;
#[path = "../../../src/bin/bustd/place.rs"]
mod place;
#[path = "../../../src/bin/bustd/reader.rs"]
mod reader;
#[path = "../../../src/bin/bustd/rows.rs"]
mod rows;
mod rule_files;
#[path = "../../../src/bin/bustd/rules.rs"]
#[allow(dead_code, reason = "its options are tried")]
mod rules;
mod screen;
mod tree;
#[path = "../../../src/bin/bustd/values.rs"]
mod values;

/// Asked by the reader of options.
mod daemon {
    pub fn is_init() -> bool {
        false
    }
}

/// Where the linker has put the reader of rules; here, nowhere.
mod program {
    pub fn parser_pages() -> bustd::sys::program::Pages {
        bustd::sys::program::Pages::NONE
    }
}

/// The targets, by the first byte of an input. A new one goes to the end, so that
/// the corpus keeps its meaning.
const TARGETS: [fn(&[u8]); 23] = [
    parsers::words_and_numbers,
    parsers::meminfo,
    parsers::pressure,
    parsers::vmstat,
    parsers::processor_time,
    parsers::zram,
    parsers::stat,
    parsers::statm,
    parsers::status,
    parsers::io,
    parsers::fdinfo,
    parsers::cgroups,
    parsers::quoted,
    patterns::globs,
    command_line::parse,
    tree::look,
    parsers::command,
    screen::tables,
    rule_files::file,
    rule_files::values,
    rule_files::cgroup_files,
    command_line::config,
    parsers::dentry_state,
];

fn try_input(input: &[u8]) {
    if let Some((&which, rest)) = input.split_first()
        && let Some(target) = TARGETS.get(usize::from(which.wrapping_sub(b'a')))
    {
        target(rest);
    }
}

#[cfg(feature = "libfuzzer")]
libfuzzer_sys::fuzz_target!(|input: &[u8]| try_input(input));

/// Without libFuzzer, tries the inputs in these directories once.
#[cfg(not(feature = "libfuzzer"))]
fn main() {
    let mut tried = 0;
    for dir in std::env::args_os().skip(1) {
        for file in std::fs::read_dir(dir).expect("a directory") {
            try_input(&std::fs::read(file.expect("a directory").path()).expect("a file"));
            tried += 1;
        }
    }
    eprintln!("{tried} inputs of the corpus, nothing wrong");
}
