use super::*;

#[test]
fn watermarks_are_raised_by_a_block_where_there_are_four() {
    let huge = [(32 << 10, 288_048, 32 << 10), (32 << 10, 100_000, 0), (512 << 10, 1 << 20, 0)];
    let small = [(512 << 10, 4 << 20, 512 << 10), (0, 1 << 20, 0)];
    for (block_kib, total_kib, expected_kib) in huge.into_iter().chain(small) {
        assert_eq!(boost_of_kib(block_kib, total_kib), expected_kib, "{block_kib} of {total_kib}");
    }
}

#[test]
fn reads_a_real_meminfo() {
    let text = b"MemTotal:         327680 kB\nMemFree:           10240 kB\n\
        MemAvailable:      51200 kB\nBuffers:            1024 kB\nCached:            61440 kB\n\
        Active(file):      20480 kB\nInactive(file):    30720 kB\nAnonPages:        204800 kB\n\
        KernelStack:        1024 kB\nPageTables:         2048 kB\n\
        Shmem:              2048 kB\nSwapTotal:        131072 kB\nSwapFree:         100000 kB\n";
    let info = parse_meminfo(text).unwrap();
    assert_eq!(info.mem_total_kib, 327_680);
    assert_eq!(info.mem_available_kib, 51_200);
    assert_eq!(info.file_lru_kib, 51_200);
    assert_eq!(info.reclaimable_kib(), 259_072);
    assert_eq!((info.swap_total_kib, info.swap_free_kib), (131_072, 100_000));
}

#[test]
fn survives_meminfo_in_the_wild() {
    // lxcfs: MemTotal 0; no blank after the colon; leading zeros.
    let info = parse_meminfo(b"MemTotal:0 kB\nMemFree:00012 kB\nMemAvailable:000034kB\n").unwrap();
    assert_eq!(info.mem_available_kib, 34);
    assert_eq!(info.reclaimable_kib(), 34);
    // SwapFree above SwapTotal, MemAvailable above MemTotal.
    let info =
        parse_meminfo(b"MemTotal: 10 kB\nMemAvailable: 99 kB\nSwapTotal: 5 kB\nSwapFree: 7 kB\n").unwrap();
    assert_eq!((info.mem_available_kib, info.swap_free_kib), (10, 5));
    // Numbers past 64 bits saturate; CMA is not available.
    let info = parse_meminfo(
        b"MemTotal: 100 kB\nMemFree: 99999999999999999999999 kB\nMemAvailable: 60 kB\nCmaFree: 20 kB\n",
    )
    .unwrap();
    assert_eq!((info.mem_free_kib, info.mem_available_kib), (100, 40));
    let info = parse_meminfo(b"MemFree: 5 kB\nCmaFree: 50 kB\n").unwrap();
    assert_eq!(info.mem_available_kib, 0);
    // Malformed lines are passed over.
    let info = parse_meminfo(b"garbage\n:\nMemFree:\nMemFree: x\nMemFree: 5 kB\nMemTotal: -3 kB\n").unwrap();
    assert_eq!((info.mem_free_kib, info.mem_total_kib), (5, 0));
    for bad in [&b""[..], b"MemTotal: 5 kB\n", b"\0\0\0"] {
        assert_eq!(parse_meminfo(bad), None, "{bad:?}");
    }
}

#[test]
fn estimates_available_before_3_14() {
    let text = b"MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 40 kB\nCached: 300 kB\nShmem: 200 kB\nSReclaimable: 60 kB\n";
    assert_eq!(parse_meminfo(text).unwrap().mem_available_kib, 100 + (40 + 300 - 200 + 60) / 2);
}

#[test]
fn names_count_where_they_are_in_use() {
    let in_use = |text: &[u8]| parse_names_in_use_kib(text);
    let name_bytes = if cfg!(target_pointer_width = "64") { 192 } else { 96 };
    assert_eq!(in_use(b"43941\t11\t45\t0\t51128\t0\n"), Some(43_930 * name_bytes / 1024));
    // More unused than there are: it was counted in between.
    assert_eq!(in_use(b"5 7 45 0 0 0\n"), Some(0));
    for bad in [&b""[..], b"7", b"-7 0", b"x y z"] {
        assert_eq!(in_use(bad), None, "{bad:?}");
    }
}

#[test]
fn vmstat_knows_both_spellings() {
    let read = |text: &[u8]| {
        let mut vmstat = Vmstat::default();
        kfile::lines(text).for_each(|line| vmstat.add_line(line));
        vmstat
    };
    let old = read(b"nr_free_pages 5\nworkingset_refault 7\nallocstall 2\n");
    assert_eq!((old.refault_pages, old.allocstalls), (7, 2));
    let new = read(b"workingset_refault_anon 3\nworkingset_refault_file 4\nallocstall_normal 1\nallocstall_movable 8\noom_kill 6\n");
    assert_eq!((new.refault_pages, new.allocstalls), (7, 9));
    let odd = read(b"workingset_refault_file\nallocstall x\nallocstall 99999999999999999999\n\n");
    assert_eq!(odd, Vmstat { allocstalls: u64::MAX, ..Vmstat::default() });
}

#[test]
fn busy_time_leaves_out_idle_and_iowait() {
    assert_eq!(parse_busy_us(b"cpu  1 2 3 1000 1000 10 20 30 5 5\ncpu0 9 9 9 9\n"), Some(66 * 10_000));
    assert_eq!(parse_busy_us(b"cpu  1 2 3 1000 1000\n"), Some(6 * 10_000));
    for bad in [&b""[..], b"cpu", b"cpu 1 2 3 4", b"cpu0 1 2 3 4 5 6", b"intr 5 5 5 5 5"] {
        assert_eq!(parse_busy_us(bad), None, "{bad:?}");
    }
}
