//! What is read of a cgroup, once a tick and only if somebody asks, and what follows
//! from it. Sizes in bytes. What cannot be read is `None`, and is asked once.

use super::forest::{Breath, Forest, Id, ROOT};
use super::known::{Amount, Known};
use crate::config::rules::model::{Millionths, Resource};
use crate::config::rules::settings::Settings;
use crate::decide::rules::derived;
use crate::decide::rules::rank::{Contender, Preference};
use crate::decide::rules::senpai::{Figures, Watched};
use crate::read::cgroup_values::{
    Costs, Stat, UNLIMITED, read_amount, read_full_pressure, read_io_cost, read_is_whole, read_key,
    read_some_pressure, read_stat,
};
use crate::read::memory::{Meminfo, read_meminfo};
use crate::read::proportion::proportion;
use crate::read::psi::PressureLine;
use crate::sys::file::open;
use crate::sys::line::{DIGITS, digits};
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{OFlags, fgetxattr_query};
use rustix::io::Errno;

/// The attributes by which the owner of a cgroup tells what is wanted, in the order in
/// which they count.
const PREFERENCES: [(&CStr, Preference); 4] = [
    (c"trusted.oomd_prefer", Preference::Prefer),
    (c"user.oomd_prefer", Preference::Prefer),
    (c"trusted.oomd_avoid", Preference::Avoid),
    (c"user.oomd_avoid", Preference::Avoid),
];

/// Does a directory have this extended attribute, of whatever value?
fn has_xattr(dir: BorrowedFd<'_>, name: &CStr) -> bool {
    fgetxattr_query(dir, name).is_ok()
}

impl Forest<'_> {
    fn known(&mut self, id: Id) -> Option<(&mut Known, BorrowedFd<'_>)> {
        let node = self.touch(id)?;
        Some((&mut node.known, node.dir.as_fd()))
    }

    /// Reads one of the files with one number.
    pub fn amount(&mut self, id: Id, which: Amount) -> Option<u64> {
        let proc = self.tree.proc.as_fd();
        let (known, dir) = self.known(id)?;
        *known.amounts[which as usize].get_or_insert_with(|| match which {
            Amount::Current if id == ROOT => {
                let mem = read_meminfo(proc).ok()?;
                Some(mem.mem_total_kib.saturating_sub(mem.mem_free_kib) * 1024)
            }
            Amount::Current => read_amount(dir, c"memory.current").ok(),
            Amount::Min => read_amount(dir, c"memory.min").ok(),
            Amount::Low => read_amount(dir, c"memory.low").ok(),
            Amount::Swap => read_amount(dir, c"memory.swap.current").ok(),
        })
    }

    /// What it has.
    pub fn current(&mut self, id: Id) -> Option<u64> {
        self.amount(id, Amount::Current)
    }

    /// Reads `memory.stat`; one that cannot be read tells nothing.
    // Out of line: many ask.
    #[inline(never)]
    pub fn stat(&mut self, id: Id) -> Stat {
        let Some((known, dir)) = self.known(id) else { return Stat::default() };
        *known.stat.get_or_insert_with(|| read_stat(dir).unwrap_or_default())
    }

    /// Reads the full line of the pressure on a resource; of the root, that of the
    /// machine.
    pub fn pressure(&mut self, id: Id, resource: Resource) -> Option<PressureLine> {
        let proc = self.tree.proc.as_fd();
        let (known, dir) = self.known(id)?;
        let (of_machine, of_cgroup, at) = match resource {
            Resource::Memory => (c"pressure/memory", c"memory.pressure", 0),
            Resource::Io => (c"pressure/io", c"io.pressure", 1),
        };
        *known.pressure[at].get_or_insert_with(|| match id {
            ROOT => read_full_pressure(proc, of_machine).ok(),
            _ => read_full_pressure(dir, of_cgroup).ok(),
        })
    }

    /// Reads how many of those below it are dying, where that is told.
    pub fn dying(&mut self, id: Id) -> Option<u64> {
        let (_, dir) = self.known(id)?;
        read_key(dir, c"cgroup.stat", "nr_dying_descendants ", 0)
    }

    /// Is it certain that nobody is in it, or that nobody in it has memory of its own?
    pub fn is_empty(&mut self, id: Id) -> bool {
        let Some((_, dir)) = self.known(id) else { return true };
        read_key(dir, c"cgroup.events", "populated ", 1) == Some(0) || self.stat(id).anon == Some(0)
    }

    /// Is it to die as a whole?
    pub fn is_whole(&mut self, id: Id) -> bool {
        self.known(id).is_some_and(|(_, dir)| read_is_whole(dir))
    }

    /// What its owner wants.
    #[inline(never)]
    pub fn preference(&mut self, id: Id) -> Preference {
        let Some((known, dir)) = self.known(id) else { return Preference::Normal };
        *known.preference.get_or_insert_with(|| {
            let set = PREFERENCES.iter().find(|&&(name, _)| has_xattr(dir, name));
            set.map_or(Preference::Normal, |&(_, preference)| preference)
        })
    }

    /// Where these belong to several users, none of them is to live because its own user, who
    /// may write that, has it avoided: only root's word counts.
    #[inline(never)]
    pub(super) fn doubt(&self, contenders: &mut [Contender]) {
        let is_avoided = |contender: &Contender| contender.preference == Preference::Avoid;
        let first = contenders.first().and_then(|first| self.owner(first.id));
        if !contenders.iter().any(is_avoided) || contenders.iter().all(|one| self.owner(one.id) == first) {
            return;
        }
        for contender in contenders.iter_mut().filter(|contender| is_avoided(contender)) {
            let is_roots = self.owner(contender.id) == Some(0)
                || self.dir(contender.id).is_some_and(|dir| has_xattr(dir, c"trusted.oomd_avoid"));
            if !is_roots {
                contender.preference = Preference::Normal;
            }
        }
    }

    /// Does it have this extended attribute?
    pub fn is_marked(&mut self, id: Id, name: &CStr) -> bool {
        self.known(id).is_some_and(|(_, dir)| has_xattr(dir, name))
    }

    /// What is promised to it without regard to those above; `None` if any part of that
    /// cannot be read.
    fn raw_protection(&mut self, id: Id) -> Option<u64> {
        let current = self.amount(id, Amount::Current)?;
        let min = self.amount(id, Amount::Min)?;
        Some(derived::raw_protection(current, min, self.amount(id, Amount::Low)?))
    }

    /// What is promised to it in truth.
    pub fn protection(&mut self, id: Id, breath: &mut Breath<'_>) -> Option<u64> {
        // Of those above the nearest that is known, and the way down from there.
        let mut way = [id; MAX_PROTECTED];
        let mut len = 1;
        let mut value = loop {
            let top = way[len - 1];
            if let Some(value) = self.touch(top)?.known.protection {
                len -= 1;
                break value;
            }
            let parent = self.node(top)?.parent;
            if parent == ROOT || top == ROOT || len == MAX_PROTECTED {
                let value =
                    if top == ROOT { self.amount(ROOT, Amount::Current) } else { self.raw_protection(top) };
                self.touch(top)?.known.protection = Some(value);
                len -= 1;
                break value;
            }
            way[len] = parent;
            len += 1;
        };
        for &at in way[..len].iter().rev() {
            let siblings = self.children(self.node(at)?.parent, breath);
            let mut raw_of_all = 0_u64;
            for place in 0..siblings.len() {
                breath();
                let raw = self.raw_protection(self.at(siblings, place)).unwrap_or(0);
                raw_of_all = raw_of_all.saturating_add(raw);
            }
            // Where nothing is promised to anybody here, it does not matter what is above.
            let of_parent = if raw_of_all == 0 { Some(0) } else { value };
            let raw = self.raw_protection(at);
            value = raw.zip(of_parent).map(|(raw, of)| derived::protection(raw, of, raw_of_all));
            self.touch(at)?.known.protection = Some(value);
        }
        value
    }

    /// What it has above that.
    pub fn effective(&mut self, id: Id, breath: &mut Breath<'_>) -> Option<u64> {
        let protection = self.protection(id, breath)?;
        Some(self.current(id)?.saturating_sub(protection))
    }

    /// What it has on average, which is kept up as long as it is asked for at each tick.
    pub fn average(&mut self, id: Id) -> u64 {
        let current = self.current(id).unwrap_or(0);
        let Some((known, _)) = self.known(id) else { return 0 };
        let last = known.last.average.unwrap_or(0);
        *known.average.get_or_insert_with(|| derived::average(last, current))
    }

    /// What it has by its average.
    pub fn growth(&mut self, id: Id) -> Millionths {
        let average = self.average(id);
        derived::growth_ratio(self.current(id).unwrap_or(0), average)
    }

    /// For how many pages was scanned since the last tick, if that was asked then.
    pub fn pgscan_rate(&mut self, id: Id) -> Option<u64> {
        let now = self.stat(id).pgscan?;
        let (known, _) = self.known(id)?;
        known.last.pgscan.map(|last| now.saturating_sub(last))
    }

    /// What its io has cost since the last tick; 0 if that was not asked then.
    pub fn io_cost(&mut self, id: Id, settings: &Settings<'_>) -> u64 {
        let Some((known, dir)) = self.known(id) else { return 0 };
        let now = known
            .io_cost
            .get_or_insert_with(|| read_io_cost(dir, &|major, minor| costs_of(settings, major, minor)).ok());
        let last = known.last.io_cost;
        now.zip(last).map_or(0, |(now, last)| now.saturating_sub(last))
    }
}

/// A limit; one that there is not, or that cannot be read, does not bind.
#[inline(never)]
fn limit(dir: BorrowedFd<'_>, file: &CStr) -> u64 {
    read_amount(dir, file).ok().filter(|&limit| limit != UNLIMITED).unwrap_or(u64::MAX)
}

#[inline(never)]
fn some_pressure(dir: BorrowedFd<'_>, file: &CStr) -> PressureLine {
    read_some_pressure(dir, file).unwrap_or_default()
}

/// Deeper than this, promises made above are not looked for.
const MAX_PROTECTED: usize = 32;

fn costs_of(settings: &Settings<'_>, major: u32, minor: u32) -> Option<Costs> {
    let mut devices = settings.devices.list().iter();
    let device = devices.find(|device| (device.major, device.minor) == (major, minor))?;
    let costs = if device.is_rotational { &settings.hdd } else { &settings.ssd };
    Some(costs.map(|cost| cost.0))
}

// ----------------------------------------------------------------- senpai

impl Forest<'_> {
    /// What senpai remembers of a cgroup.
    pub fn senpai(&mut self, id: Id) -> Option<Watched> {
        self.known(id)?.0.senpai
    }

    /// Has it remember something else.
    pub fn set_senpai(&mut self, id: Id, watched: Option<Watched>) {
        if let Some((known, _)) = self.known(id) {
            known.senpai = watched;
        }
    }

    /// Sets `memory.high`.
    ///
    /// # Errors
    /// Those of openat(2) and write(2).
    pub fn set_high(&mut self, id: Id, limit: u64) -> Result<(), Errno> {
        let (_, dir) = self.known(id).ok_or(Errno::NOENT)?;
        let file = open(dir, c"memory.high", OFlags::WRONLY)?;
        rustix::io::write(&file, digits(limit, &mut [0; DIGITS])).map(drop)
    }

    /// What senpai wants to know of a cgroup; `None` if it cannot be told what it has.
    #[inline(never)]
    pub fn senpai_figures(&mut self, id: Id, mem: &Meminfo) -> Option<Figures> {
        let current = self.current(id)?;
        let min = self.amount(id, Amount::Min).unwrap_or(0);
        let stat = self.stat(id);
        let (swap_free, swap_used) = self.swap_room(id, mem);
        let (_, dir) = self.known(id)?;
        let (memory, io) = (some_pressure(dir, c"memory.pressure"), some_pressure(dir, c"io.pressure"));
        Some(Figures {
            current,
            high: limit(dir, c"memory.high"),
            min,
            max: limit(dir, c"memory.max"),
            file: stat.file,
            anon: stat.anon_lru,
            stalled_us: memory.total_us,
            pressure_bp: memory.avg10_bp.max(memory.avg60_bp),
            io_pressure_bp: io.avg10_bp.max(io.avg60_bp),
            swap_free,
            swap_used,
        })
    }

    /// How much may still be swapped out of it, by its own limit and all above, and the
    /// largest share that is in use anywhere there.
    fn swap_room(&mut self, id: Id, mem: &Meminfo) -> (u64, Millionths) {
        let share = |used: u64, of: u64| Millionths(proportion(used, 1_000_000, of));
        let (total, used) = (mem.swap_total_kib * 1024, mem.swap_used_kib() * 1024);
        let (mut free, mut most_used) = (total.saturating_sub(used), share(used, total));
        let mut at = id;
        for _ in 0..MAX_PROTECTED {
            let Some(parent) = self.node(at).map(|node| node.parent).filter(|_| at != ROOT) else { break };
            let used = self.amount(at, Amount::Swap).unwrap_or(0);
            let max = self.known(at).map_or(u64::MAX, |(_, dir)| limit(dir, c"memory.swap.max"));
            if max < u64::MAX {
                free = free.min(max.saturating_sub(used));
                most_used = most_used.max(share(used, max));
            }
            at = parent;
        }
        (free, most_used)
    }
}
