//! In place of `rules` where this was built without it.

use crate::cli::{Options, Reader};
use crate::options::Opt;
use crate::place::refuse;
use bustd::sys::line::named;

/// The options, of which none can be had.
#[derive(Default)]
pub struct Given(());

impl Given {
    /// Refuses the option that is being read.
    pub fn take(&mut self, _: Opt, reader: &mut Reader<'_>) {
        refuse(reader.name(), None, named!("this bustd was built without rules"))
    }

    /// There are none.
    pub fn finish(self, _: &mut Options, _: bool, _: bool) {}
}
