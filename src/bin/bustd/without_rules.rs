//! In place of `asked` where this was built without it.

use crate::options::Opt;
use crate::place::refuse;
use crate::reader::Reader;
use bustd::sys::line::named;

/// What the options say, which is nothing.
pub type Asked = ();

/// The options, of which none can be had.
#[derive(Default)]
pub struct Given(());

impl Given {
    /// Refuses the option that is being read.
    pub fn take(&mut self, _: Opt, reader: &mut Reader<'_>) {
        refuse(reader.name(), None, named!("this bustd was built without rules"))
    }

    /// There are none.
    pub fn finish(self, _: bool, _: bool, _: bool) -> Asked {}
}
