//! When to act, as people say it: amounts of memory, pairs of limits.

use crate::read::psi::ShareBp;

/// An amount of memory as people give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// A share of what there is, in basis points.
    Share(ShareBp),
    /// So many KiB.
    Kib(u64),
}

impl Amount {
    /// The amount in KiB where there are `total_kib`.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn of_kib(self, total_kib: u64) -> u64 {
        match self {
            // In two steps, so that the product fits.
            Self::Share(bp) => {
                total_kib / 10_000 * u64::from(bp) + total_kib % 10_000 * u64::from(bp) / 10_000
            }
            Self::Kib(kib) => kib,
        }
    }

    /// Half as much.
    pub fn half(self) -> Self {
        match self {
            Self::Share(bp) => Self::Share(bp / 2),
            Self::Kib(kib) => Self::Kib(kib / 2),
        }
    }
}

/// A pair of limits: ask below the first, force below the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// SIGTERM at or below this.
    pub term: Amount,
    /// SIGKILL at or below this.
    pub kill: Amount,
}

/// What the user set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Available memory; `None` is [`DEFAULT_MEM`] with [`DEFAULT_MEM_CAP_KIB`].
    pub mem: Option<Pair>,
    /// Effective free swap.
    pub swap: Pair,
    /// `some` stall over the last 10 s.
    pub psi_bp: ShareBp,
}

/// 10 % available, killed by force at 5 %: the figures earlyoom's users have
/// lived with for years.
pub const DEFAULT_MEM: Pair = Pair { term: Amount::Share(1000), kill: Amount::Share(500) };

/// On a large machine 10 % is more than any leak eats in the time a kill takes:
/// the default never asks for more than 2 GiB to stay available.
pub const DEFAULT_MEM_CAP_KIB: u64 = 2 << 20;

/// The same shares of swap.
pub const DEFAULT_SWAP: Pair = DEFAULT_MEM;

/// The original bustd's limit: 25 % of wall time.
pub const DEFAULT_PSI_BP: ShareBp = 2500;

impl Default for Limits {
    fn default() -> Self {
        Self { mem: None, swap: DEFAULT_SWAP, psi_bp: DEFAULT_PSI_BP }
    }
}
