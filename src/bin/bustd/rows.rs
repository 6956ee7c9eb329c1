//! The table of options as the program has it.

use crate::options::{OPTIONS, Opt};
use bustd::sys::line::Word;

/// What the parser needs of the table; the rest of that is not in the program.
pub struct Row {
    pub id: Opt,
    /// NUL for none.
    pub letter: u8,
    pub name: Word,
}

/// One for each option.
pub static ROWS: [Row; OPTIONS.len()] = {
    let mut rows = [const { Row { id: Opt::Help, letter: 0, name: Word::new("") } }; OPTIONS.len()];
    let mut at = 0;
    while at < OPTIONS.len() {
        let spec = &OPTIONS[at];
        let letter = match spec.letter {
            Some(letter) => letter as u8,
            None => 0,
        };
        rows[at] = Row { id: spec.id, letter, name: Word::new(spec.name) };
        at += 1;
    }
    rows
};
