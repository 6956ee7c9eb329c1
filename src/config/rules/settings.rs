//! What the command line says of rules.

use super::reader::Permits;
use super::value::{Pico, parse_pico};
use crate::read::kfile::parse_u64;
use crate::sys::program::Pages;
use core::ffi::CStr;

/// The options that go with `--rules`.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// `--rules`: what is read at start and again.
    pub file: &'a CStr,
    /// `--rules-dir`: where drop-ins are watched for.
    pub dir: Option<&'a CStr>,
    /// `--no-default-rules`: the guard's own are off.
    pub alone: bool,
    /// `--interval`: from one look at the rules to the next, in seconds.
    pub interval_s: u32,
    /// `--allow-panic`
    pub allow_panic: bool,
    /// `--device`: where io costs something.
    pub devices: Devices,
    /// `--ssd-coeffs`: what io costs there.
    pub ssd: Coefficients,
    /// `--hdd-coeffs`: and on disks that rotate.
    pub hdd: Coefficients,
    /// The code that reads rules.
    pub parser: Pages,
}

impl<'a> Settings<'a> {
    /// Those for a file, and the usual ones.
    pub fn of(file: &'a CStr) -> Self {
        Self {
            file,
            dir: None,
            alone: false,
            interval_s: 5,
            allow_panic: false,
            devices: Devices::default(),
            ssd: SSD,
            hdd: HDD,
            parser: Pages::NONE,
        }
    }

    /// What a file may ask for.
    pub fn permits(&self) -> Permits {
        Permits { is_drop_in: false, panic: self.allow_panic, devices: !self.devices.list().is_empty() }
    }
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// As in `io.stat`.
    pub major: u32,
    /// As in `io.stat`.
    pub minor: u32,
    /// Does it rotate? Known once the guard has started.
    pub is_rotational: bool,
}

/// Devices, of which there are few.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    list: [Device; Self::MAX],
    count: u8,
}

impl Default for Devices {
    fn default() -> Self {
        let none = Device { major: 0, minor: 0, is_rotational: false };
        Self { list: [none; Self::MAX], count: 0 }
    }
}

impl Devices {
    const MAX: usize = 16;

    /// Each of them.
    pub fn list(&self) -> &[Device] {
        self.list.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The same.
    pub fn list_mut(&mut self) -> &mut [Device] {
        self.list.get_mut(..usize::from(self.count)).unwrap_or_default()
    }

    /// Reads `8:0,259:1`; `None` for what is none, and for more than 16.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut devices = Self::default();
        for part in text.split(|&byte| byte == b',') {
            let colon = part.iter().position(|&byte| byte == b':')?;
            let number = |text| u32::try_from(parse_u64(text)?).ok();
            let (major, minor) = (number(part.get(..colon)?)?, number(part.get(colon + 1..)?)?);
            *devices.list.get_mut(usize::from(devices.count))? =
                Device { major, minor, is_rotational: false };
            devices.count += 1;
        }
        Some(devices)
    }
}

/// What io costs, in the order of the options: reads and bytes read, writes and bytes
/// written, trims and bytes trimmed.
pub type Coefficients = [Pico; 6];

const HDD: Coefficients =
    [Pico(1_310_000_000), Pico(113_000), Pico(258_000_000_000), Pico(504_000), Pico(0), Pico(0)];
const SSD: Coefficients = [
    Pico(12_100_000_000),
    Pico(625_000),
    Pico(1_070_000_000),
    Pico(261_000),
    Pico(23_700_000_000),
    Pico(910),
];

/// Reads up to six numbers with commas between them; those that are missing are 0.
pub fn parse_coefficients(text: &[u8]) -> Option<Coefficients> {
    let mut coefficients = [Pico(0); 6];
    let mut rest = text;
    for slot in &mut coefficients {
        (*slot, rest) = parse_pico(rest)?;
        rest = match rest {
            [] => return Some(coefficients),
            [b',', behind @ ..] => behind,
            _ => return None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_pairs_of_numbers() {
        let pairs = |text: &str| {
            let devices = Devices::parse(text.as_bytes())?;
            Some(
                devices
                    .list()
                    .iter()
                    .map(|device| (device.major, device.minor))
                    .collect::<std::vec::Vec<_>>(),
            )
        };
        assert_eq!(pairs("8:0,259:12").unwrap(), [(8, 0), (259, 12)]);
        assert_eq!(pairs(&["8:0"; 16].join(",")).unwrap().len(), 16);
        for text in ["", "8", "8:", ":0", "8:0,", "8:0:1", "a:0", "-8:0", "8:4294967296", "8:0 "] {
            assert_eq!(pairs(text), None, "{text}");
        }
        assert_eq!(pairs(&["8:0"; 17].join(",")), None);
    }

    #[test]
    fn coefficients_are_real_numbers() {
        let usual = parse_coefficients(b"1.21e-2,6.25e-7,1.07e-3,2.61e-7,2.37e-2,9.10e-10");
        assert_eq!(usual, Some(SSD));
        assert_eq!(parse_coefficients(b"1.31e-3,1.13e-7,2.58e-1,5.04e-7"), Some(HDD));
        assert_eq!(parse_coefficients(b"1"), Some([1_000_000_000_000, 0, 0, 0, 0, 0].map(Pico)));
        for text in [&b""[..], b"1,", b"x", b"-1", b"1,2,3,4,5,6,7", b"1 ", b"1e9"] {
            assert_eq!(parse_coefficients(text), None, "{text:?}");
        }
    }
}
