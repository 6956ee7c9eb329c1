//! One kernel file each. What must hold of any text is what `tests/properties.rs`
//! says of random ones.

use bustd::config::command::{self, ExitMap};
use bustd::read::cgroup::{self, Version};
use bustd::read::kfile;
use bustd::read::memory::{self, Vmstat};
use bustd::read::psi::{self, Pressure};
use bustd::read::{holdings, listing, process, status, swap, writing};
use bustd::sys::line::{Line, Word};

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == b'\n').next().unwrap_or_default()
}

/// A decimal number, by a plain model: past the largest it is the largest.
fn plain_u64(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| str::from_utf8(text).expect("digits").parse().unwrap_or(u64::MAX))
}

pub fn words_and_numbers(text: &[u8]) {
    assert!(kfile::lines(text).all(|line| !line.is_empty() && !line.contains(&b'\n')));
    assert!(kfile::fields(text).all(|field| !field.is_empty()));
    if let Some((key, rest)) = kfile::split_key(text) {
        assert!(key.len() + rest.len() <= text.len());
    }
    assert_eq!(kfile::parse_u64(text), plain_u64(text));
    let signed = str::from_utf8(text).ok().and_then(|text| text.parse::<i32>().ok());
    if !text.starts_with(b"+") {
        assert_eq!(kfile::parse_i32(text), signed);
    }
    let pid = listing::parse_pid(text).map(process::Pid::as_raw_pid);
    assert!(pid.is_none_or(|pid| pid > 0));
    let _ = kfile::parse_leading_u64(text);
    let _ = kfile::parse_hundredths(text);
    let whole = kfile::whole_lines(text, text.len());
    assert!(text.starts_with(whole));
    let [number] = kfile::numbers_of(text, &[Word::new("MemFree")]);
    assert!(number.is_none() || text.windows(7).any(|word| word == b"MemFree"));
}

pub fn meminfo(text: &[u8]) {
    let Some(mem) = memory::parse_meminfo(text) else { return };
    let total_kib = if mem.mem_total_kib == 0 { u64::MAX } else { mem.mem_total_kib };
    assert!(mem.mem_available_kib <= total_kib && mem.mem_free_kib <= total_kib);
    assert!(mem.file_lru_kib <= total_kib && mem.swap_free_kib <= mem.swap_total_kib);
    assert!((mem.mem_available_kib..=total_kib).contains(&mem.reclaimable_kib()));
    assert!(mem.swap_used_kib() <= mem.swap_total_kib);
    let _ = (mem.total_kib(), mem.taken_kib());
}

pub fn pressure(text: &[u8]) {
    let Some(Pressure { some, full }) = psi::parse_pressure(text) else { return };
    for line in [some, full] {
        assert!(line.avg10_bp.max(line.avg60_bp).max(line.avg300_bp) <= 10_000);
    }
}

pub fn vmstat(text: &[u8]) {
    let mut vmstat = Vmstat::default();
    for line in kfile::lines(text) {
        let before = vmstat;
        vmstat.add_line(line);
        assert!(vmstat.refault_pages >= before.refault_pages && vmstat.allocstalls >= before.allocstalls);
    }
}

pub fn processor_time(text: &[u8]) {
    let _ = memory::parse_busy_us(text);
}

pub fn zram(text: &[u8]) {
    if let Some(zram) = swap::parse_zram_mm_stat(text) {
        assert!(zram.stored_kib.max(zram.used_kib) <= u64::MAX / 1024);
    }
}

pub fn stat(text: &[u8]) {
    let Some(stat) = process::parse_stat(text) else { return };
    // A name may hold anything, closing brackets too: it ends at the last one.
    let open = text.iter().position(|&byte| byte == b'(').expect("it was parsed");
    let close = text.iter().rposition(|&byte| byte == b')').expect("it was parsed");
    let name = &text[open + 1..close];
    assert_eq!(stat.comm.as_bytes(), &name[..name.len().min(stat.comm.as_bytes().len())]);
    let _ = (stat.is_gone(), stat.is_kernel_thread(), stat.has_leader_exited(), stat.job_key(0));
}

pub fn statm(text: &[u8]) {
    let Some(statm) = process::parse_statm(text) else { return };
    let mut numbers = kfile::fields(text).map(plain_u64);
    assert_eq!(numbers.next(), Some(Some(statm.size_pages)));
    assert_eq!(numbers.next(), Some(Some(statm.resident_pages)));
    assert_eq!(numbers.next(), Some(Some(statm.shared_pages)));
}

pub fn status(text: &[u8]) {
    let Some(read) = status::parse_status(text) else { return };
    let private_kib = read.private_kib(1000);
    assert!(read.most_kib(private_kib) >= private_kib);
}

pub fn dentry_state(text: &[u8]) {
    let _ = memory::parse_names_in_use_kib(text);
}

pub fn io(text: &[u8]) {
    let _ = writing::parse_written(text);
}

pub fn fdinfo(text: &[u8]) {
    let is_named = |key: &[u8]| text.windows(key.len()).any(|word| word == key);
    if holdings::parse_device_kib(text) > 0 {
        assert!(is_named(b"size") || is_named(b"drm-"));
    }
}

/// What tells of cgroups, in both versions; a newline stands between two paths.
pub fn cgroups(text: &[u8]) {
    let is_part = |part: &[u8]| part.is_empty() || text.windows(part.len()).any(|window| window == part);
    let line = first_line(text);
    if let Some(hierarchy) = cgroup::parse_hierarchy(line) {
        assert!(is_part(b"cgroup") && is_part(hierarchy.root) && is_part(hierarchy.point));
        assert!(hierarchy.version == Version::V2 || is_part(b"memory"));
    }
    if let Some((version, path)) = bustd::read::membership::parse_membership(line) {
        assert!(path.starts_with(b"/") && line.ends_with(path));
        assert!(version == Version::V1 || line.starts_with(b"0::"));
    }
    let mut paths = text.splitn(2, |&byte| byte == b'\n');
    let (root, path) = (paths.next().unwrap_or_default(), paths.next().unwrap_or_default());
    if let Some(below) = cgroup::path_below(root, path) {
        let without_slash = |path: &[u8]| path.strip_suffix(b"/").unwrap_or(path).to_vec();
        assert_eq!([&without_slash(root)[..], below].concat(), without_slash(path));
        assert!(matches!(below, [] | [b'/', ..]) && !below.starts_with(b"/../"));
    }
    let mut unescaped = Line::default();
    cgroup::push_unescaped(&mut unescaped, text);
    assert!(plain_unescaped(text).starts_with(unescaped.as_bytes()));
    if let Some(limit_kib) = cgroup::parse_limit_kib(text) {
        assert!(limit_kib.is_none_or(|kib| kib < 1 << 52));
    }
    for version in [Version::V1, Version::V2] {
        let stat = cgroup::parse_stat(version, text);
        assert!(stat.busy_file_kib() <= stat.active_file_kib);
        assert!(stat.reclaimable_kib() >= stat.slab_reclaimable_kib);
    }
    assert!(cgroup::parse_flat_key(text, "oom_kill").is_none() || is_part(b"oom_kill"));
}

/// Without octal escapes and NUL, which no path has, by a plain model.
fn plain_unescaped(text: &[u8]) -> Vec<u8> {
    let (mut plain, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let digits = text[at + 1..].get(..3).and_then(|digits| str::from_utf8(digits).ok());
        let digits =
            digits.filter(|digits| text[at] == b'\\' && digits.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 4;
            }
            None => {
                plain.push(text[at]);
                at += 1;
            }
        }
    }
    plain.retain(|&byte| byte != 0);
    plain
}

/// What the command of a guard that is process 1 is to be sent, and to end with.
pub fn command(text: &[u8]) {
    assert!(command::parse_signal(text).is_none_or(|number| (1..=64).contains(&number)));
    if let Some(map) = ExitMap::parse(text) {
        let ExitMap([from, to]) = map;
        assert_eq!(map.apply(from), to);
        assert_eq!(map.apply(from.wrapping_add(1)), from.wrapping_add(1));
    }
}

/// What goes to people: one line of printable ASCII, whatever the bytes.
pub fn quoted(text: &[u8]) {
    let mut line = Line::default();
    line.quoted(text).text(" ").escaped(text);
    line.end_line();
    let (last, shown) = line.as_bytes().split_last().expect("a line");
    assert!(*last == b'\n' && shown.iter().all(|byte| matches!(byte, b' '..=b'~')));
}
