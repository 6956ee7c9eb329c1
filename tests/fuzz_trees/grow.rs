//! Trees, sound and gone wrong.

use crate::tree::dice::Dice;
use std::collections::BTreeMap;

/// No file of a tree is longer.
const MAX_LEN: usize = 64 << 10;
/// The processes of a tree before anything happens to it.
const PIDS: [u32; 6] = [1, 2, 100, 101, 200, 4_194_303];

/// What stands under a name.
#[derive(Clone, Debug)]
pub enum Node {
    File(Vec<u8>),
    /// One that may not be read, where we are not root.
    Locked(Vec<u8>),
    Directory,
    Fifo,
    Link(String),
}

pub type Nodes = BTreeMap<String, Node>;

/// A tree in order: memory is low, and somebody is to blame.
pub fn sound() -> Nodes {
    let mut nodes = Nodes::new();
    let mut put = |path: &str, text: String| nodes.insert(path.to_owned(), Node::File(text.into_bytes()));
    let meminfo = "MemTotal:        4000000 kB\nMemFree:          100000 kB\nMemAvailable:     300000 kB\n\
                   Buffers: 1000 kB\nCached: 200000 kB\nActive(file): 1000 kB\nInactive(file): 100000 kB\n\
                   AnonPages: 3300000 kB\nShmem: 100000 kB\nSReclaimable: 2000 kB\nKernelStack: 9000 kB\n\
                   PageTables: 9000 kB\nCmaFree: 0 kB\nSwapTotal: 1000000 kB\nSwapFree: 20000 kB\n";
    put("proc/meminfo", meminfo.to_owned());
    let pressure = |kind| format!("{kind} avg10=31.50 avg60=2.50 avg300=0.12 total=1234567\n");
    put("proc/pressure/memory", pressure("some") + &pressure("full"));
    let swaps = "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 500000 480000 100\n\
                 /dev/sda2\\040x partition 500000 500000 -2\n";
    put("proc/swaps", swaps.to_owned());
    put("sys/block/zram0/mm_stat", "400000000 100000000 110000000 0 120000000 10 0 0 0\n".to_owned());
    put("proc/vmstat", "nr_free_pages 1\nworkingset_refault_file 100\nallocstall_normal 4\n".to_owned());
    put("proc/stat", "cpu  100 0 100 5000 10 0 1 0 0 0\ncpu0 1 2 3 4\n".to_owned());
    put("proc/sys/vm/overcommit_memory", "0\n".to_owned());
    put("proc/sys/vm/panic_on_oom", "0\n".to_owned());
    for pid in PIDS {
        let mut put = |file: &str, text: String| put(&format!("proc/{pid}/{file}"), text);
        let flags = if pid == 2 { 0x0020_0000 } else { 0 };
        let kib = 40_000 + u64::from(pid % 1000) * 2000;
        let counters = "0 0 0 0 0 0 0 0 20 0 1 0";
        put(
            "stat",
            format!("{pid} (name {pid}) S 1 {pid} {pid} 0 -1 {flags} {counters} {} 0 0\n", 1000 + pid),
        );
        put("statm", format!("{} {} 100 1 0 0 0\n", kib / 2, kib / 4));
        put(
            "status",
            format!(
                "Name:\tname {pid}\nUmask:\t0022\nPPid:\t1\nUid:\t1000\t1000\t1000\t1000\n\
                 RssAnon:\t{kib} kB\nRssShmem:\t40 kB\nVmSwap:\t9000 kB\nCapEff:\t000001ffffffffff\n"
            ),
        );
        put("oom_score_adj", "0\n".to_owned());
        put("oom_score", "700\n".to_owned());
        put("io", "rchar: 1\nwchar: 900000000\nread_bytes: 0\nwrite_bytes: 4096\n".to_owned());
        put("fdinfo/3", "pos:\t9000\nflags:\t0100002\nmnt_id:\t29\n".to_owned());
        put(&format!("task/{pid}/statm"), "0 0 0 0 0 0 0\n".to_owned());
    }
    nodes
}

/// Numbers that somebody may not have thought of.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "-0",
    "+7",
    "00000000000000000000000000000000017",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999999",
    "1e9",
    "0x10",
    "",
];

/// Names that a process can give itself, or that are none.
const NAMES: [&[u8]; 8] = [
    b"a\nb",
    b") S 1 1\n(",
    b"\x1b[2J\x07",
    b"\xff\xfe\x80",
    b"",
    b"()()()()()()()",
    b"\r\n\t\0x",
    b"x) R 0 0 0 0 0",
];

/// Where links go; the second has no end.
const LINKS: [&str; 3] = ["/dev/null", "/dev/zero", "/nowhere"];

/// Names of directories that are no pid, or a strange one.
const STRANGE: [&str; 9] =
    ["0", "-1", "007", "4294967297", "2147483647", "99999999999999999999", "self", "1 1", "1\n1"];

/// What becomes of a file's text.
fn spoil(text: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(text.len() + 1);
    let end = (at + dice.below(40)).min(text.len());
    match dice.below(14) {
        0 if !text.is_empty() => text[at.min(end.saturating_sub(1))] ^= 1 << dice.below(8),
        1 => drop(text.drain(at..end)),
        2 => text.truncate(at),
        3 => {
            let piece = text[at..end].to_vec();
            text.splice(at..at, piece);
        }
        4..=6 => set_number(text, dice.pick(&NUMBERS).as_bytes(), dice),
        7 => {
            let junk = dice.below(200);
            let junk = dice.bytes(junk);
            text.splice(at..end, junk);
        }
        8 => {
            let name = dice.pick(&NAMES);
            let open = text.iter().position(|&byte| byte == b'(').map_or(at, |open| open + 1);
            let close = text.iter().rposition(|&byte| byte == b')').filter(|&close| close >= open);
            text.splice(open..close.unwrap_or(open), name.iter().copied());
        }
        // As long as they get: one line again and again, or one line.
        9 | 10 => {
            let line: Vec<u8> = text.split_inclusive(|&byte| byte == b'\n').next().unwrap_or(b"x").to_vec();
            let filler = if dice.one_in(2) { line } else { vec![dice.pick(b"\n 0x)\0:\xff")] };
            let len = MAX_LEN.saturating_sub(text.len());
            let len = if dice.one_in(2) { len } else { dice.below(len) };
            let filler: Vec<u8> = filler.iter().copied().cycle().take(len).collect();
            text.splice(at..at, filler);
        }
        11 => text.retain(|&byte| byte != b'\n'),
        12 => text.iter_mut().filter(|byte| **byte == b' ').for_each(|byte| *byte = b'\t'),
        _ => {
            let len = dice.pick(&[0, 1, 191, 192, 383, 384, 511, 512, 1024, 2047, 2048, 4096, MAX_LEN]);
            *text = dice.bytes(len);
        }
    }
    text.truncate(MAX_LEN);
}

/// Puts `number` in the place of one that stands there.
fn set_number(text: &mut Vec<u8>, number: &[u8], dice: &mut Dice) {
    let is_start = |at: &usize| text[*at].is_ascii_digit() && (*at == 0 || !text[*at - 1].is_ascii_digit());
    let starts: Vec<usize> = (0..text.len()).filter(is_start).collect();
    if starts.is_empty() {
        return;
    }
    let start = dice.pick(&starts);
    let len = text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.splice(start..start + len, number.iter().copied());
}

/// Tree `number`, and what was done to it.
pub fn grown_wild(number: u64) -> (Nodes, Vec<String>) {
    let dice = &mut Dice(number);
    let (mut nodes, mut deeds) = (sound(), Vec::new());
    for _ in 0..1 + dice.below(12) {
        let paths: Vec<String> = nodes.keys().cloned().collect();
        // Every other time one of those that are read first.
        let path = if dice.one_in(2) { dice.pick(&paths) } else { dice.pick(&paths[paths.len() - 11..]) };
        let node = nodes.get_mut(&path).expect("one of them");
        let deed = dice.below(16);
        deeds.push(format!("{path}: {deed}"));
        match (deed, &mut *node) {
            (0, _) => drop(nodes.remove(&path)),
            (1, _) => *node = Node::Directory,
            (2, _) => *node = Node::Fifo,
            (3, _) => *node = Node::Link((dice.pick(&LINKS)).to_owned()),
            (4, _) => *node = Node::Link(path.rsplit('/').next().expect("a name").to_owned()),
            (5, Node::File(text)) => *node = Node::Locked(text.clone()),
            (6, _) => {
                let name = dice.pick(&STRANGE);
                let file = dice.pick(&["stat", "statm", "status", "oom_score_adj"]);
                let text = dice.below(300);
                nodes.insert(format!("proc/{name}/{file}"), Node::File(dice.bytes(text)));
            }
            (7, _) => {
                let (link, pid) = (dice.below(5000), dice.pick(&PIDS));
                nodes.insert(format!("proc/{}", 300 + link), Node::Link(pid.to_string()));
            }
            (_, Node::File(text)) => (0..1 + dice.below(3)).for_each(|_| spoil(text, dice)),
            _ => {}
        }
    }
    (nodes, deeds)
}
