//! What must hold of any input: parsers survive everything and give back what
//! was written; judgement agrees with plain models of what is documented.

mod tree;

use bustd::choose::scope::Scope;
use bustd::choose::survey::{Surveyed, survey};
use bustd::choose::surveyor::{Remembered, SurveyContext};
use bustd::choose::vigil::Vigil;
use bustd::config::limits::{Amount, Limits, Pair};
use bustd::config::pattern::Globs;
use bustd::config::policy::{Claim, Policy, Preference};
use bustd::decide::growth::{History, Reading};
use bustd::decide::levels::Levels;
use bustd::decide::snapshot::{Snapshot, Thrash};
use bustd::decide::verdict::{self, Urgency, Verdict};
use bustd::decide::victim::{
    Candidate, Ranking, TABLE, VACANT, min_freeable_kib, score_bound_kib, score_kib,
};
use bustd::read::kfile::{self, Tree as Dirs};
use bustd::read::memory::{self, Meminfo, Vmstat};
use bustd::read::process::{self, Comm, Identity, JobKey, Pid, Stat, Statm};
use bustd::read::psi::{self, Pressure, PressureLine, StallWindow};
use bustd::read::status::{Status, parse_status};
use bustd::read::swap::{self, Swaps, Zram};
use bustd::read::window::Window;
use bustd::read::{holdings, listing, writing};
use bustd::sys::line::{Line, Word};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rustix::fd::AsFd;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use tree::{Process, Tree};

/// So many inputs a property, times `FUZZ_FACTOR` if that is set. A failure prints
/// the smallest input it found; nothing is left in the source tree.
fn cases(cases: u32) -> ProptestConfig {
    let factor = std::env::var("FUZZ_FACTOR").map_or(1, |factor| factor.parse().expect("a number"));
    ProptestConfig { cases: cases * factor, failure_persistence: None, ..ProptestConfig::default() }
}

// ------------------------------------------------------------- inputs

/// One sound file of each kind, to be damaged.
const SAMPLES: [&[u8]; 15] = [
    b"MemTotal:  327680 kB\nMemFree: 10240 kB\nMemAvailable: 51200 kB\nBuffers: 5 kB\nCached: 7 kB\n\
      Active(file): 20480 kB\nInactive(file): 30720 kB\nAnonPages: 204800 kB\nShmem: 9 kB\n\
      SReclaimable: 3 kB\nSwapTotal: 131072 kB\nSwapFree: 100000 kB\nCmaFree: 64 kB\n",
    b"some avg10=1.53 avg60=0.40 avg300=100.00 total=13245678901\n\
      full avg10=0.02 avg60=0.00 avg300=0.00 total=77\n",
    b"36 35 0:31 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1k\n",
    b"pos:\t4096\nflags:\t02102002\nmnt_id:\t36\nino:\t5\nsize:\t8294400\n",
    b"drm-driver:\ti915\ndrm-total-system0:\t9 MiB\ndrm-resident-system0:\t4096 KiB\n",
    b"rchar: 1\nwchar: 99999\nread_bytes: 0\nwrite_bytes: 4096\n",
    b"workingset_refault_anon 3\nworkingset_refault_file 4\nallocstall_normal 1\n",
    b"cpu  1 2 3 1000 1000 10 20 30 5 5\ncpu0 9 9 9 9\n",
    b"  1048576 2048 524288 0 1 0 0\n",
    b"12 (tmux: server) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 9876 1 2 3\n",
    b"2214 230 180 10 0 330 0\n",
    b"Name:\ta\nUid:\t1000\t0\t0\t0\nRssAnon:\t 345 kB\nRssShmem:\t6 kB\nVmSwap:\t 12 kB\nCapEff:\t01ff\n",
    b"sshd|getty*|[a|b]x|[!a-z]?",
    b"-1000",
    b"12.34",
];

/// A piece that damages what it is put into.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let odd: [&[u8]; 12] =
        [b"", b"\n", b":", b" ", b"-", b"=", b".", b"(", b")", b"[", b"|", b"99999999999999999999999"];
    prop_oneof![vec(any::<u8>(), 0..8), select(odd.map(<[u8]>::to_vec).to_vec())]
}

/// Bytes: anything at all, or a sound file with pieces replaced.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let damage = (any::<prop::sample::Index>(), 0_usize..6, rubbish());
    let damaged = (select(SAMPLES.to_vec()), vec(damage, 0..4)).prop_map(|(sample, damages)| {
        let mut text = sample.to_vec();
        for (at, len, rubbish) in damages {
            let start = at.index(text.len() + 1);
            let end = text.len().min(start + len);
            text.splice(start..end, rubbish);
        }
        text
    });
    prop_oneof![vec(any::<u8>(), 0..200), damaged]
}

/// Numbers of every magnitude.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..100,
        (0_u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift),
        Just(0),
        Just(u64::MAX)
    ]
}

/// A number as the kernel or a filter in between prints it, and what it is.
fn printed_number() -> impl Strategy<Value = (String, u64)> {
    (number(), 0_usize..4).prop_map(|(number, zeros)| (format!("{}{number}", "0".repeat(zeros)), number))
}

/// A share in basis points.
fn share_bp() -> impl Strategy<Value = u32> {
    0_u32..=10_000
}

fn hundredths(number: u64) -> String {
    format!("{}.{:02}", number / 100, number % 100)
}

/// A process name.
fn comm() -> impl Strategy<Value = Vec<u8>> {
    let looks_like_the_rest: [&[u8]; 4] = [b") R 1 1", b"a) S 1 2 3 4", b")))", b"(\n) "];
    prop_oneof![vec(1_u8..=255, 0..=15), select(looks_like_the_rest.map(<[u8]>::to_vec).to_vec())]
}

// ------------------------------------------------------------- parsers

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn parsers_survive_anything(text in text(), name in vec(any::<u8>(), 0..20)) {
        prop_assert!(kfile::lines(&text).all(|line| !line.is_empty() && !line.contains(&b'\n')));
        prop_assert!(kfile::fields(&text).all(|field| !field.is_empty()));
        let _ = kfile::split_key(&text);
        let _ = kfile::numbers_of(&text, &[Word::new("MemFree")]);
        let _ = (kfile::parse_leading_u64(&text), kfile::parse_u64(&text), kfile::parse_i32(&text));
        let _ = kfile::parse_hundredths(&text);
        let _ = memory::parse_busy_us(&text);
        let _ = swap::parse_zram_mm_stat(&text);
        let mut vmstat = Vmstat::default();
        (0..3).for_each(|_| kfile::lines(&text).for_each(|line| vmstat.add_line(line)));
        let _ = (process::parse_statm(&text), process::parse_stat(&text), parse_status(&text));
        let _ = (listing::parse_pid(&text), writing::parse_written(&text));
        let _ = holdings::parse_device_kib(&text);
        if let Ok(globs) = Globs::parse(&text) {
            prop_assert!(globs.items().all(|item| !item.glob.is_empty()));
            let _ = globs.items().any(|item| item.matches(&name));
            prop_assert_eq!(globs.items().map(|item| item.text).collect::<Vec<_>>().join(&b'|'), text);
        }
    }

    #[test]
    fn meminfo_is_consistent(text in text()) {
        if let Some(mem) = memory::parse_meminfo(&text) {
            let total_kib = if mem.mem_total_kib == 0 { u64::MAX } else { mem.mem_total_kib };
            prop_assert!(mem.mem_available_kib <= total_kib && mem.mem_free_kib <= total_kib);
            prop_assert!(mem.file_lru_kib <= total_kib && mem.swap_free_kib <= mem.swap_total_kib);
            prop_assert!((mem.mem_available_kib..=total_kib).contains(&mem.reclaimable_kib()));
        }
    }

    #[test]
    fn pressure_is_a_share(text in text()) {
        if let Some(Pressure { some, full }) = psi::parse_pressure(&text) {
            for line in [some, full] {
                prop_assert!(line.avg10_bp.max(line.avg60_bp).max(line.avg300_bp) <= 10_000);
            }
        }
    }

    /// A name can look like anything: what goes to people is one line of
    /// printable ASCII in quotes, and says exactly what the bytes were.
    #[test]
    fn quoted_text_is_printable_and_reversible(name in vec(1_u8..=255, 0..=15)) {
        let mut line = Line::default();
        line.quoted(&name);
        let quoted = line.as_bytes();
        prop_assert!(quoted.iter().all(|byte| matches!(byte, b' '..=b'~')));
        prop_assert_eq!(unescape(&quoted[1..quoted.len() - 1]), name);
    }
}

fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((&first, rest)) = text.split_first() {
        let (byte, len) = match (first, rest.first()) {
            (b'"', _) => panic!("a quote that is not escaped"),
            (b'\\', Some(b'x')) => (u8::from_str_radix(str::from_utf8(&rest[1..3]).unwrap(), 16).unwrap(), 4),
            (b'\\', Some(&escaped)) => (escaped, 2),
            _ => (first, 1),
        };
        bytes.push(byte);
        text = &text[len..];
    }
    bytes
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn numbers_come_back((text, number) in printed_number(), signed in any::<i32>(), small in 0..u64::MAX / 100) {
        prop_assert_eq!(kfile::parse_u64(text.as_bytes()), Some(number));
        prop_assert_eq!(kfile::parse_leading_u64(format!("{text} kB").as_bytes()), Some(number));
        prop_assert_eq!(kfile::parse_i32(signed.to_string().as_bytes()), Some(signed));
        prop_assert_eq!(kfile::parse_hundredths(hundredths(small).as_bytes()), Some(small));
        let pid = listing::parse_pid(signed.to_string().as_bytes());
        prop_assert_eq!(pid.map(Pid::as_raw_pid), Some(signed).filter(|&pid| pid > 0));
        let mut line = Line::default();
        line.number(number);
        prop_assert_eq!(kfile::parse_u64(line.as_bytes()), Some(number));
    }

    #[test]
    fn pressure_comes_back(shares in prop::array::uniform6(share_bp()), totals in prop::array::uniform2(number())) {
        let line = |at: usize| PressureLine {
            avg10_bp: shares[at * 3],
            avg60_bp: shares[at * 3 + 1],
            avg300_bp: shares[at * 3 + 2],
            total_us: totals[at],
        };
        let pressure = Pressure { some: line(0), full: line(1) };
        let print = |kind: &str, line: PressureLine| {
            let [avg10, avg60, avg300] =
                [line.avg10_bp, line.avg60_bp, line.avg300_bp].map(|share_bp| hundredths(share_bp.into()));
            format!("{kind} avg10={avg10} avg60={avg60} avg300={avg300} total={}\n", line.total_us)
        };
        let text = print("some", pressure.some) + &print("full", pressure.full);
        prop_assert_eq!(psi::parse_pressure(text.as_bytes()), Some(pressure));
    }

    /// Any of the lines may be missing; order, blanks and zeros do not matter.
    #[test]
    fn meminfo_comes_back(
        numbers in prop::array::uniform16(printed_number()),
        present in subsequence((0..16).collect::<Vec<_>>(), 16).prop_shuffle(),
        kept in 0_usize..=16,
        blanks in 0_usize..3,
    ) {
        const KEYS: [&str; 16] = [
            "MemTotal", "MemFree", "MemAvailable", "AnonPages", "Shmem", "Active(file)", "Inactive(file)",
            "SwapTotal", "SwapFree", "KernelStack", "PageTables", "CmaFree", "Buffers", "Cached",
            "SReclaimable", "Mlocked",
        ];
        let present = &present[..kept];
        let text: String = present
            .iter()
            .map(|&at| format!("{}:{}{} kB\nHugePages:    7\n", KEYS[at], " ".repeat(blanks), numbers[at].0))
            .collect();
        let value = |key: &str| {
            let at = KEYS.iter().position(|known| *known == key).unwrap();
            present.contains(&at).then_some(numbers[at].1)
        };
        let known = |key: &str| value(key).unwrap_or(0);
        let total_kib = known("MemTotal");
        let at_most_total = |kib: u64| if total_kib == 0 { kib } else { kib.min(total_kib) };
        let cache_kib = known("Buffers").saturating_add(known("Cached")).saturating_sub(known("Shmem"));
        let estimate = |free_kib: u64| free_kib.saturating_add(cache_kib.saturating_add(known("SReclaimable")) / 2);
        let available = value("MemAvailable").or(value("MemFree").map(estimate));
        let expected = available.map(|available_kib| Meminfo {
            mem_total_kib: total_kib,
            mem_free_kib: at_most_total(known("MemFree")),
            mem_available_kib: at_most_total(available_kib).saturating_sub(known("CmaFree")),
            slab_reclaimable_kib: known("SReclaimable"),
            anon_kib: known("AnonPages"),
            overhead_kib: known("KernelStack").saturating_add(known("PageTables")),
            locked_kib: known("Mlocked"),
            shmem_kib: known("Shmem"),
            file_lru_kib: at_most_total(known("Active(file)").saturating_add(known("Inactive(file)"))),
            busy_file_kib: 0,
            swap_total_kib: known("SwapTotal"),
            swap_free_kib: known("SwapFree").min(known("SwapTotal")),
            outside_kib: 0,
        });
        prop_assert_eq!(memory::parse_meminfo(text.as_bytes()), expected);
    }

    #[test]
    fn counters_come_back(ticks in prop::array::uniform10(0..u64::MAX / 100_000_000), [a, b, c] in prop::array::uniform3(number())) {
        let text = format!("cpu  {}\ncpu0 1 2 3\n", ticks.map(|ticks| ticks.to_string()).join(" "));
        let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks;
        let busy_us = (user + nice + system + irq + softirq + steal) * 10_000;
        prop_assert_eq!(memory::parse_busy_us(text.as_bytes()), Some(busy_us));

        let zram = swap::parse_zram_mm_stat(format!("{a:>8} {b:>8} {c:>8} 0\n").as_bytes());
        prop_assert_eq!(zram, Some(Zram { stored_kib: a / 1024, used_kib: c / 1024 }));

        let mut vmstat = Vmstat::default();
        for line in [format!("workingset_refault_anon {a}"), format!("workingset_refault_file {b}"), format!("allocstall_dma {c}")] {
            vmstat.add_line(line.as_bytes());
        }
        prop_assert_eq!(vmstat, Vmstat { refault_pages: a.saturating_add(b), allocstalls: c });
    }

    #[test]
    fn processes_come_back(
        comm in comm(),
        [ppid, pgrp] in prop::array::uniform2(0..i32::MAX),
        state in select(b"RSDZTtXxI".to_vec()),
        [a, b, c] in prop::array::uniform3(number()),
        uid in any::<u32>(),
        held in prop::array::uniform3(option::of(number())),
    ) {
        let mut text = b"4194304 (".to_vec();
        text.extend(&comm);
        let rest = format!(") {} {ppid} {pgrp} 0 0 -1 {a} 1 2 3 4 5 6 7 8 20 0 {b} 0 {c} 1 2 3\n", char::from(state));
        text.extend(rest.bytes());
        let stat = Stat { comm: Comm::new(&comm), state, ppid, pgrp, flags: a, faults: 4, num_threads: b, starttime: c };
        prop_assert_eq!(process::parse_stat(&text), Some(stat));
        prop_assert_eq!(stat.comm.as_bytes(), comm);

        let statm = Statm { size_pages: a, resident_pages: b, shared_pages: c };
        prop_assert_eq!(process::parse_statm(format!("{a} {b} {c} 1 0 2 0\n").as_bytes()), Some(statm));

        let lines = ["RssAnon", "RssShmem", "VmSwap"].iter().zip(held);
        let lines = lines.filter_map(|(key, kib)| Some(format!("{key}:\t{:>8} kB\n", kib?)));
        let text = format!("Name:\tx\nUid:\t{uid}\t0\t0\t0\n{}CapEff:\t{a:016x}\n", lines.collect::<String>());
        let [anon_kib, shmem_kib, swap_kib] = held;
        let status = Status { uid, anon_kib, shmem_kib, swap_kib, cap_eff: a, ..Status::default() };
        prop_assert_eq!(parse_status(text.as_bytes()), Some(status));
    }

    /// However a file is cut into reads, every line that fits arrives whole.
    #[test]
    fn long_files_are_read_line_by_line(lines in vec(vec(b' '..=b'~', 0..40), 0..30), newline_at_end: bool) {
        const ROOM: usize = 32;
        let mut text = lines.join(&b'\n');
        if newline_at_end && !text.is_empty() {
            text.push(b'\n');
        }
        let tree = Tree::new();
        tree.write("proc/file", &text);
        let dirs = open(&tree);
        let mut read = Vec::new();
        let mut buf = [0; ROOM];
        kfile::read_lines(dirs.proc.as_fd(), c"file", &mut buf, &mut |line| {
            read.push(line.to_vec());
            std::ops::ControlFlow::Continue(())
        }).unwrap();
        let mut expected: Vec<_> = text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        // Nothing follows the last newline.
        expected.pop_if(|last| last.is_empty());
        expected.retain(|line| line.len() < ROOM);
        prop_assert_eq!(read, expected);

        let small = kfile::read_small(dirs.proc.as_fd(), c"file", &mut buf).unwrap();
        prop_assert!(text.starts_with(small));
        prop_assert!(small.len() == text.len() || small.ends_with(b"\n") || !small.contains(&b'\n'));
    }
}

fn open(tree: &Tree) -> Dirs {
    Dirs::open_captured(&CString::new(tree.path().as_os_str().as_bytes()).unwrap()).unwrap()
}

// ------------------------------------------------------------- globs

/// A piece of a glob, as glob(7) knows them.
#[derive(Clone, Debug)]
enum Piece {
    Byte(u8),
    Any,
    Star,
    Class { negated: bool, ranges: Vec<(u8, u8)> },
}

/// Few letters, so that names and globs meet often.
fn letter() -> impl Strategy<Value = u8> {
    select(b"abc|".to_vec())
}

fn piece() -> impl Strategy<Value = Piece> {
    let ranges = vec((letter(), letter()), 1..3);
    prop_oneof![
        4 => select(b"abc".to_vec()).prop_map(Piece::Byte),
        1 => Just(Piece::Any),
        2 => Just(Piece::Star),
        1 => (any::<bool>(), ranges).prop_map(|(negated, ranges)| Piece::Class { negated, ranges }),
    ]
}

fn print(glob: &[Piece]) -> Vec<u8> {
    let print_piece = |piece: &Piece| match piece {
        Piece::Byte(byte) => vec![*byte],
        Piece::Any => b"?".to_vec(),
        Piece::Star => b"*".to_vec(),
        Piece::Class { negated, ranges } => {
            let mut class = if *negated { b"[!".to_vec() } else { b"[".to_vec() };
            ranges.iter().for_each(|&(low, high)| class.extend([low, b'-', high]));
            class.push(b']');
            class
        }
    };
    glob.iter().flat_map(print_piece).collect()
}

fn matches(glob: &[Piece], name: &[u8]) -> bool {
    let Some((piece, glob)) = glob.split_first() else {
        return name.is_empty();
    };
    if matches!(piece, Piece::Star) {
        return (0..=name.len()).any(|taken| matches(glob, &name[taken..]));
    }
    let Some((byte, name)) = name.split_first() else {
        return false;
    };
    let held = match piece {
        Piece::Byte(literal) => literal == byte,
        Piece::Any | Piece::Star => true,
        Piece::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (low..=high).contains(&byte)) != *negated
        }
    };
    held && matches(glob, name)
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn globs_agree_with_the_plain_definition(globs in vec(vec(piece(), 1..7), 1..3), name in vec(letter(), 0..8)) {
        let list = globs.iter().map(|glob| print(glob)).collect::<Vec<_>>().join(&b'|');
        let parsed = Globs::parse(&list).unwrap();
        prop_assert_eq!(parsed.items().count(), globs.len());
        prop_assert_eq!(parsed.items().any(|item| item.matches(&name)), globs.iter().any(|glob| matches(glob, &name)));
    }
}

// ------------------------------------------------------------- judgement

fn pair(amount: impl Fn(u64) -> Amount + Copy, most: u64) -> impl Strategy<Value = Pair> {
    (0..=most).prop_flat_map(move |term| {
        (0..=term).prop_map(move |kill| Pair { term: amount(term), kill: amount(kill) })
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let shares = || pair(|bp| Amount::Share(bp as u32), 10_000);
    let sizes = || pair(Amount::Kib, (1 << 50) - 1);
    let pairs = || prop_oneof![shares(), sizes()];
    (option::of(pairs()), pairs(), 1..=10_000_u32).prop_map(|(mem, swap, psi_bp)| Limits {
        mem,
        swap,
        psi_bp,
    })
}

fn readings() -> impl Strategy<Value = Snapshot> {
    let stall = || {
        option::of((share_bp(), share_bp()).prop_map(|(some_bp, full_bp)| psi::Stall { some_bp, full_bp }))
    };
    let thrash =
        (0_u64..200, 0_u64..2).prop_map(|(refault_pct, allocstalls)| Thrash { refault_pct, allocstalls });
    let mem = prop::array::uniform5(number());
    (mem, stall(), stall(), option::of(thrash)).prop_map(|(mem, stall, recent_stall, thrash)| {
        let [total, available, anon, swap_total, swap_free] = mem;
        let text = format!(
            "MemTotal: {total} kB\nMemAvailable: {available} kB\nAnonPages: {anon} kB\n\
             SwapTotal: {swap_total} kB\nSwapFree: {swap_free} kB\n"
        );
        let mem = memory::parse_meminfo(text.as_bytes()).unwrap();
        Snapshot { mem, swap_free_kib: mem.swap_free_kib, stall, recent_stall, thrash, ..Snapshot::default() }
    })
}

/// How much a verdict does to the machine.
fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Enough => 0,
        Verdict::Low => 1,
        Verdict::Act(_, Urgency::Term) => 2,
        Verdict::Act(_, Urgency::Kill) => 3,
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn levels_are_in_order(limits in limits(), readings in readings()) {
        let levels: Levels = Levels::of(&limits, &readings);
        prop_assert!(levels.mem_kill_kib <= levels.mem_term_kib && levels.swap_kill_kib <= levels.swap_term_kib);
        prop_assert!(levels.confirm_kib <= levels.fast_path_kib);
    }

    /// Swap is never worth more than what is free there, nor more on zram than
    /// there is to move.
    #[test]
    fn swap_is_worth_no_more_than_it_is(
        [disk_free_kib, zram_free_kib, stored_kib, used_kib] in prop::array::uniform4(number()),
        readings in readings(),
    ) {
        let zram = Zram { stored_kib, used_kib };
        let swaps = Swaps { areas: 2, disk_free_kib, zram_free_kib, zram };
        let movable_kib = zram_free_kib.min(readings.mem.reclaimable_kib());
        prop_assert!(swaps.effective_free_kib(&readings.mem) <= disk_free_kib.saturating_add(movable_kib));
    }

    /// With the same limits, less memory or swap never calls for less.
    #[test]
    fn need_never_softens_a_verdict(limits in limits(), readings in readings(), lost in prop::array::uniform2(number())) {
        let levels = Levels::of(&limits, &readings);
        let mut needier = readings;
        needier.mem.mem_available_kib = readings.mem.mem_available_kib.saturating_sub(lost[0]);
        needier.swap_free_kib = readings.swap_free_kib.saturating_sub(lost[1]);
        prop_assume!(needier.mem.reclaimable_kib() > 0);
        prop_assert!(severity(verdict::decide(&needier, &levels)) >= severity(verdict::decide(&readings, &levels)));
    }

    /// Above one and a half times TERM nobody is killed, whatever stalls.
    #[test]
    fn nobody_dies_while_memory_is_plenty(limits in limits(), readings in readings()) {
        let levels = Levels::of(&limits, &readings);
        if readings.mem.mem_available_kib > levels.confirm_kib.max(levels.mem_term_kib) {
            prop_assert_eq!(verdict::decide(&readings, &levels), Verdict::Enough);
        }
    }

    /// Growth is of what was seen over the time it is said to be of, and that is
    /// the span, give or take a fifteenth and the longest gap between readings.
    #[test]
    fn growth_is_of_the_span(
        span_us in 1000_u64..20_000_000,
        steps in vec((1_u64..400, number(), 0_u64..1000), 1..80),
    ) {
        let mut window = Window::new(span_us);
        let (mut now_us, mut counters) = (0, [0_u64; 2]);
        let mut seen: Vec<(u64, [u64; 2])> = Vec::new();
        let mut longest_gap_us = 0;
        for (permille, grown, grown_too) in steps {
            let gap_us = (span_us * permille / 1000).max(1);
            now_us += gap_us;
            longest_gap_us = gap_us.max(longest_gap_us);
            counters = [counters[0].saturating_add(grown), counters[1] + grown_too];
            let growth = window.push(now_us, counters);
            seen.push((now_us, counters));
            let within_us = |back_us: u64| {
                let start_us = now_us.saturating_sub(back_us);
                let before = seen.iter().rfind(|(at_us, _)| *at_us <= start_us).unwrap_or(&seen[0]).1;
                [0, 1].map(|which| counters[which] - before[which])
            };
            let each = |other: [u64; 2]| growth.counters.into_iter().zip(other);
            prop_assert!(growth.elapsed_us >= span_us);
            prop_assert!(growth.elapsed_us <= span_us + span_us / 15 + longest_gap_us);
            prop_assert!(each(within_us(growth.elapsed_us)).all(|(grown, most)| grown <= most));
            prop_assert!(each(within_us(span_us - span_us / 15)).all(|(grown, least)| grown >= least));
        }
    }

    #[test]
    fn stall_is_a_share(totals in vec((0_u64..3_000_000, number(), number()), 1..40)) {
        let mut window = StallWindow::new(10_000_000);
        let mut now_us = 0;
        for (step_us, some_us, full_us) in totals {
            now_us += step_us;
            let line = |total_us| PressureLine { total_us, ..PressureLine::default() };
            let stall = window.push(now_us, &Pressure { some: line(some_us), full: line(full_us) });
            prop_assert!(stall.some_bp <= 10_000 && stall.full_bp <= 10_000);
        }
    }
}

// ------------------------------------------------------------- victims

const TOTAL_KIB: u64 = 320_000;
const NOW_US: u64 = 5_000_000;

fn oom_score_adj() -> impl Strategy<Value = i16> {
    prop_oneof![4 => Just(0), 1 => Just(-1000), 2 => Just(1000), 3 => -1000_i16..=1000]
}

/// Few values, so that there are ties.
fn candidate(pid: i32) -> impl Strategy<Value = Candidate> {
    (0_u64..3, 0_u64..3, -2_i64..3).prop_map(move |(starttime, freeable_kib, score_kib)| Candidate {
        id: Identity { pid: Pid::from_raw(pid).unwrap(), starttime },
        job: JobKey { uid: 0, comm: Comm::NONE, ppid: 1, pgrp: pid },
        oom_score_adj: 0,
        preference: Preference::Ordinary,
        freeable_kib,
        score_kib,
        ..VACANT
    })
}

/// The documented order: the higher score, of equal ones the one with more freeable memory, then
/// the younger, then the higher pid.
fn rank(candidates: &mut [Candidate]) {
    let key =
        |held: &Candidate| (held.score_kib, held.freeable_kib, held.id.starttime, held.id.pid.as_raw_pid());
    candidates.sort_by_key(|held| core::cmp::Reverse(key(held)));
}

fn policy(lists: [Option<&'static [u8]>; 3]) -> Policy<'static> {
    let [prefer, avoid, unkillables] = lists.map(|list| list.map(|list| Globs::parse(list).unwrap()));
    Policy { prefer, avoid, unkillables, ..Policy::default() }
}

/// How many processes a survey saw, all of them.
fn count(surveyed: &Surveyed) -> Option<u32> {
    match surveyed {
        Surveyed::All { processes } => Some(*processes),
        _ => None,
    }
}

fn globs() -> impl Strategy<Value = Option<&'static [u8]>> {
    option::of(select(vec![&b"a"[..], b"b*", b"?", b"a|c", b"[bc]"]))
}

fn processes() -> impl Strategy<Value = Vec<Process>> {
    const PF_KTHREAD: u64 = 0x0020_0000;
    // Large enough to be worth a kill, or not; often the same, for ties; in
    // even numbers of pages.
    let memory = || {
        prop_oneof![3 => Just(0), 1 => 0..250_u64, 2 => Just(1000), 2 => 0..8_000_u64]
            .prop_map(|pairs| pairs * 8)
    };
    let process = (
        prop::array::uniform4(memory()),
        oom_score_adj(),
        0_u64..3,
        select(vec![&b"a"[..], b"b", b"c", b"bb"]),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.3),
    );
    vec(process, 0..14).prop_map(|processes| {
        let numbered = processes.into_iter().zip(1..);
        let process = |((memory, oom_score_adj, starttime, comm, kernel, locks), pid)| {
            let [anon_kib, swap_kib, shmem_kib, file_kib] = memory;
            let flags = if kernel { PF_KTHREAD } else { 0 };
            let comm: &[u8] = comm;
            Process {
                pid,
                comm: comm.to_vec(),
                flags,
                starttime,
                oom_score_adj,
                anon_kib,
                swap_kib,
                shmem_kib,
                file_kib,
                locked_kib: if locks { file_kib } else { 0 },
            }
        };
        numbered.map(process).collect()
    })
}

/// Every candidate, by reading everything of everybody.
fn candidates(processes: &[Process], policy: &Policy<'_>) -> Vec<Candidate> {
    let mapped_kib = |process: &Process| process.shmem_kib + process.file_kib;
    let listed = || processes.iter().filter(|process| process.pid != 1);
    // Whoever maps less is not asked for it.
    let maps_much = |process: &Process| mapped_kib(process) >= min_freeable_kib(TOTAL_KIB) / 4;
    let sole_mapper = |one: &Process| {
        let mut others = listed().filter(|other| other.pid != one.pid && maps_much(other));
        maps_much(one) && others.all(|other| mapped_kib(other) * 2 < mapped_kib(one))
    };
    let candidate = |process: &Process| {
        let comm = Comm::new(&process.comm);
        let preference = policy.preference(&Claim { comm: &comm, uid: 1000, exe: None, cgroup: None });
        let shmem_kib = if sole_mapper(process) { process.shmem_kib } else { 0 };
        let private_kib = process.anon_kib + process.swap_kib + process.locked_kib;
        let freeable_kib = private_kib + shmem_kib;
        let never =
            process.flags != 0 || process.oom_score_adj == -1000 || preference == Preference::Unkillable;
        (!never && freeable_kib >= min_freeable_kib(TOTAL_KIB)).then(|| Candidate {
            id: Identity { pid: Pid::from_raw(process.pid as i32).unwrap(), starttime: process.starttime },
            job: JobKey { uid: 1000, comm, ppid: 1, pgrp: process.pid as i32 },
            oom_score_adj: process.oom_score_adj,
            preference,
            freeable_kib,
            is_shared: shmem_kib > freeable_kib / 8,
            history: History::steady(Reading { private_kib, ..Reading::at_peak(freeable_kib) }, NOW_US),
            score_kib: score_kib(freeable_kib, process.oom_score_adj, preference, TOTAL_KIB),
            ..VACANT
        })
    };
    listed().filter_map(candidate).collect()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn ranking_is_a_sort(candidates in (1..12_i32).prop_flat_map(|count| (1..=count).map(candidate).collect::<Vec<_>>()).prop_shuffle()) {
        let mut ranking = Ranking::<4>::default();
        candidates.iter().for_each(|candidate| ranking.enter(*candidate));
        let mut sorted = candidates.clone();
        rank(&mut sorted);
        sorted.truncate(4);
        prop_assert_eq!(ranking.all().to_vec(), sorted);
    }

    /// No process scores above the bound that spares reading it.
    #[test]
    fn the_score_bound_holds(
        [freeable_kib, total_kib] in prop::array::uniform2(number()),
        adj in oom_score_adj(),
        name in select(vec![&b"a"[..], b"b", b"c", b"bb"]),
        lists in prop::array::uniform3(globs()),
    ) {
        let policy = policy(lists);
        let score = score_kib(freeable_kib, adj, policy.preference(&Claim { comm: &Comm::new(name), uid: 1000, exe: None, cgroup: None }), total_kib);
        prop_assert!(score <= score_bound_kib(&policy, freeable_kib));
        prop_assert!(score_bound_kib(&policy, freeable_kib) <= score_bound_kib(&policy, freeable_kib.saturating_add(1)));
    }
}

proptest! {
    // Each writes a tree, so rather more questions to each than more trees.
    #![proptest_config(cases(40))]

    /// What the survey leaves unread could not have been chosen.
    #[test]
    fn a_survey_finds_what_reading_everything_finds(
        processes in processes(),
        policies in vec(prop::array::uniform3(globs()), 8),
    ) {
        let tree = Tree::new();
        processes.iter().for_each(|process| tree.add(process));
        let dirs = open(&tree);
        let machine = Scope::of_machine(&dirs);
        for lists in policies {
            let policy = policy(lists);
            let scope = SurveyContext {
                policy: &policy,
                total_kib: TOTAL_KIB,
                swap_used_kib: processes.iter().map(|process| process.swap_kib).sum(),
                overhead_kib: 0,
                locked_kib: processes.iter().map(|process| process.locked_kib).sum(),
                page_kib: 4,
                own: None,
                set_aside: &[],
                command: None,
                before: None,
                shmem_growth_kib: 0,
                scope: &machine,
                vigil: &Vigil::new(dirs.proc.as_fd(), &machine),
                now_us: NOW_US,
            };
            let mut ranking = Ranking::<2>::default();
            let listed = survey(dirs.proc.as_fd(), &scope, &mut ranking, &mut Default::default()).unwrap();
            let mut expected = candidates(&processes, &policy);
            rank(&mut expected);
            expected.truncate(2);
            prop_assert_eq!(count(&listed), Some(processes.len() as u32));
            prop_assert_eq!(ranking.all().to_vec(), expected);
        }
    }

    /// Nor could it have been, had it been known who grew: of two surveys of
    /// one tree the one with few places finds the first of the one with many.
    #[test]
    fn growth_is_not_left_unread(
        [before, after] in prop::array::uniform2(processes()),
        lists in prop::array::uniform3(globs()),
        [shmem_growth_kib, passed_us] in prop::array::uniform2(number()),
    ) {
        let swap_used_kib = after.iter().map(|process| process.swap_kib).sum();
        let empty = Tree::new();
        let nowhere = open(&empty);
        let machine = Scope::of_machine(&nowhere);
        let scope = SurveyContext {
            policy: &policy(lists),
            total_kib: TOTAL_KIB,
            swap_used_kib,
            overhead_kib: 0,
            locked_kib: after.iter().map(|process| process.locked_kib).sum(),
            page_kib: 4,
            own: None,
            set_aside: &[],
            command: None,
            before: None,
            shmem_growth_kib,
            scope: &machine,
            vigil: &Vigil::new(nowhere.proc.as_fd(), &machine),
            now_us: 0,
        };
        let survey_of = |processes: &[Process], scope: &SurveyContext<'_>| {
            let tree = Tree::new();
            processes.iter().for_each(|process| tree.add(process));
            let dirs = open(&tree);
            let (mut few, mut many) = (Ranking::<2>::default(), Ranking::<TABLE>::default());
            for surveyed in
                [survey(dirs.proc.as_fd(), scope, &mut few, &mut Default::default()), survey(dirs.proc.as_fd(), scope, &mut many, &mut Default::default())]
            {
                assert_eq!(surveyed.as_ref().ok().and_then(count), Some(processes.len() as u32));
            }
            (few.all().to_vec(), many)
        };
        let (_, table) = survey_of(&before, &scope);
        let mut remembered = Remembered::default();
        remembered.renew(&table, 0);
        let (few, many) = survey_of(&after, &SurveyContext { before: Some(&remembered), now_us: passed_us, ..scope });
        prop_assert_eq!(&few, &many.all()[..few.len()]);
        prop_assert_eq!(few.len(), many.all().len().min(2));
    }
}

// ------------------------------------------------------------- the whole

proptest! {
    #![proptest_config(cases(150))]

    /// Nothing that can be read ends the program, and it says one sound line.
    #[test]
    fn one_decision_survives_any_tree(
        meminfo in prop::array::uniform8(number()),
        swap in prop::array::uniform8(number()),
        process in prop::array::uniform8(number()),
        damaged in option::of((select(vec!["meminfo", "vmstat", "swaps", "9/stat", "9/statm", "9/status"]), text())),
        pressure in option::of(text()),
    ) {
        let tree = Tree::new();
        let write = |name: &str, text: String| tree.write(&format!("proc/{name}"), text);
        let [total, free, available, anon, active, inactive, swap_total, swap_free] = meminfo;
        write("meminfo", format!(
            "MemTotal: {total} kB\nMemFree: {free} kB\nMemAvailable: {available} kB\nAnonPages: {anon} kB\n\
             Active(file): {active} kB\nInactive(file): {inactive} kB\n\
             SwapTotal: {swap_total} kB\nSwapFree: {swap_free} kB\n"
        ));
        let [disk, disk_used, zram, zram_used, stored, used, refaults, stalls] = swap;
        write("swaps", format!("/dev/sda2 partition {disk} {disk_used} 1\n/dev/zram0 partition {zram} {zram_used} 1\n").repeat(2));
        write("vmstat", format!("workingset_refault {refaults}\nallocstall {stalls}\n"));
        tree.write("sys/block/zram0/mm_stat", format!("{stored} 0 {used} 0 0 0 0 0\n"));
        let [size, resident, shared, rss_anon, rss_shmem, vm_swap, flags, starttime] = process;
        write("9/stat", format!("9 (x) S 1 9 9 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 {starttime} 0 0\n"));
        write("9/statm", format!("{size} {resident} {shared} 0 0 0 0\n"));
        write("9/status", format!("Uid:\t0\t0\t0\t0\nRssAnon:\t{rss_anon} kB\nRssShmem:\t{rss_shmem} kB\nVmSwap:\t{vm_swap} kB\n"));
        write("9/oom_score_adj", format!("{}\n", flags as i16));
        if let Some((name, text)) = &damaged {
            tree.write(&format!("proc/{name}"), text);
        }
        if let Some(text) = &pressure {
            tree.write("proc/pressure/memory", text);
        }
        let mut bustd = Command::new(env!("CARGO_BIN_EXE_bustd"));
        let output = bustd.args(["--once", "--dry-run", "--root"]).arg(tree.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        prop_assert!(output.status.success(), "{}", said);
        prop_assert!(said.starts_with("bustd: ") && said.ends_with('\n') && said.matches('\n').count() == 1, "{}", said);
    }
}
