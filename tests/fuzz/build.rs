//! The program's reader of options includes a text that its build script renders.
//! Here it is a short one.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let help = "static HELP: [u8; 1] = [0];\n";
    fs::write(Path::new(&out).join("help.rs"), help).expect("cannot write");
}
