//! `--rules` and the options that go with it.

use crate::options::Opt;
use crate::place::refuse;
use crate::reader::Reader;
use crate::values::parse_any_path;
use bustd::config::rules::settings::{Coefficients, Devices, Settings, parse_coefficients};
use bustd::read::kfile::parse_u64;
use bustd::sys::line::named;
use core::ffi::CStr;

/// What the options say; `None` without `--rules`.
pub type Asked = Option<Settings<'static>>;

/// The options as they are read, in any order.
pub struct Given {
    settings: Settings<'static>,
    has_file: bool,
    /// One that needs a file.
    needs_file: Option<&'static [u8]>,
}

impl Default for Given {
    fn default() -> Self {
        Self { settings: Settings::of(c""), has_file: false, needs_file: None }
    }
}

impl Given {
    /// Takes the option that is being read, which is one of these.
    pub fn take(&mut self, id: Opt, reader: &mut Reader<'_>) {
        let settings = &mut self.settings;
        match id {
            Opt::Rules => {
                settings.file = reader.value(parse_any_path);
                self.has_file = true;
                return;
            }
            Opt::RulesDir => settings.dir = Some(reader.value(parse_any_path)),
            Opt::NoDefaultRules => settings.alone = true,
            Opt::Interval => settings.interval_s = reader.value(parse_interval_s),
            Opt::Device => {
                let shape = named!("not MAJ:MIN with commas between, 16 at most");
                settings.devices = reader.value(|text| Devices::parse(text.to_bytes()).ok_or(shape));
            }
            Opt::SsdCoeffs => settings.ssd = reader.value(parse_numbers),
            Opt::HddCoeffs => settings.hdd = reader.value(parse_numbers),
            _ => settings.allow_panic = true,
        }
        self.needs_file = Some(reader.name());
    }

    /// The options as a whole. `is_guard` tells whether the file will be read again, `once`
    /// whether it looks but once, `has_limits` whether the guard's own rules were given any.
    pub fn finish(self, is_guard: bool, once: bool, has_limits: bool) -> Asked {
        let settings = self.settings;
        if let Some(name) = self.needs_file.filter(|_| !self.has_file) {
            refuse(name, None, named!("only with --rules"));
        }
        if !self.has_file {
            return None;
        }
        if once {
            refuse(b"once", None, named!("not with --rules, which take their time"));
        }
        for (name, path) in [(&b"rules"[..], Some(settings.file)), (b"rules-dir", settings.dir)] {
            if is_guard && path.is_some_and(|path| !path.to_bytes().starts_with(b"/")) {
                refuse(name, None, named!("not an absolute path, by which a guard reads it again"));
            }
        }
        if settings.alone && has_limits {
            refuse(b"no-default-rules", None, named!("not with --mem, --swap and --psi, which are theirs"));
        }
        Some(settings)
    }
}

/// An hour: whoever looks more seldom than that does not watch.
const MAX_INTERVAL_S: u64 = 3600;

fn parse_interval_s(text: &'static CStr) -> Result<u32, &'static str> {
    parse_u64(text.to_bytes())
        .filter(|seconds| (1..=MAX_INTERVAL_S).contains(seconds))
        .map(|seconds| seconds as u32)
        .ok_or(named!("not a whole number of seconds from 1 to 3600"))
}

fn parse_numbers(text: &'static CStr) -> Result<Coefficients, &'static str> {
    parse_coefficients(text.to_bytes()).ok_or(named!("not up to six numbers with commas between"))
}
