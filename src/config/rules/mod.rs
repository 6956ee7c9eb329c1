//! A file of rules, in oomd's language.
//!
//! What reads it is out of line, function by function: inlined it is larger, and a
//! guard that reads its rules again does so on its own stack.

/// What the rules say.
pub mod model;

/// What is dropped in beside them.
pub mod merge;

/// JSON as oomd reads it.
pub mod json;

/// Texts of JSON.
pub mod unescape;

/// Arguments as oomd reads them.
pub mod value;

mod fields;

/// Files that are dropped in, as they come and go.
pub mod drop_ins;

/// Patterns of cgroups held against paths.
pub mod glob;

/// What is done with every value.
pub mod reader;

/// Reading a file, at start and again.
pub mod load;

/// From JSON to rules.
pub mod parse;

/// What the command line says of rules.
pub mod settings;

/// All files of rules that a guard has.
pub mod shelf;

/// What is wrong in a file, and where.
pub mod teller;

/// Names of plugins and of their arguments.
pub mod words;

#[cfg(test)]
mod fields_tests;
#[cfg(test)]
mod json_tests;
#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod parse_tests;
