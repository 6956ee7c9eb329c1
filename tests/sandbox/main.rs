//! What a guard gives up once it has started, and that it can do its work all the
//! same.

#[path = "../processes/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the other tests with processes need besides")]
mod harness;

mod calls;
mod filter;
mod rights;
mod scenes;
