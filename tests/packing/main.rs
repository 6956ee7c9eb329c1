//! The packed program: what packs it against what unpacks it, and the file of `make
//! static` on systems that make unpacking hard.

#[path = "../processes/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the tests with processes need besides")]
mod harness;
#[path = "../../src/bin/loader/pack.rs"]
mod pack;

mod decoder;
mod program;
mod started;
