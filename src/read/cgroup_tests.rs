use super::*;
use crate::read::membership::*;

#[test]
fn hierarchies_are_found_in_mountinfo() {
    let v2 = b"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate";
    let point = &b"/sys/fs/cgroup/unified"[..];
    assert_eq!(parse_hierarchy(v2), Some(Hierarchy { version: Version::V2, root: b"/", point }));
    let v1 = b"35 31 0:32 /docker/a\\040b /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
    let found = Hierarchy { version: Version::V1, root: b"/docker/a\\040b", point: b"/sys/fs/cgroup/memory" };
    assert_eq!(parse_hierarchy(v1), Some(found));
    // Without a source.
    let bare = b"35 31 0:32 / /cg rw master:3 propagate_from:2 - cgroup  rw,cpu,memory";
    assert_eq!(parse_hierarchy(bare).map(|found| found.point), Some(&b"/cg"[..]));
    for other in [
        &b"36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices"[..],
        b"36 31 0:33 / /x rw - cgroup cgroup rw,memoryless",
        b"36 31 0:33 / /cgroup2 rw - tmpfs cgroup2 rw,memory",
        b"36 31 0:33 / /x rw cgroup2",
        b"36 31 0:33 / /x rw - cgroup",
        b"",
    ] {
        assert_eq!(parse_hierarchy(other), None, "{}", other.escape_ascii());
    }
}

#[test]
fn membership_is_told_of_either_version() {
    assert_eq!(parse_membership(b"0::/a/b c"), Some((Version::V2, &b"/a/b c"[..])));
    assert_eq!(parse_membership(b"4:cpu,memory:/a:b"), Some((Version::V1, &b"/a:b"[..])));
    for other in [&b"3:cpuset:/"[..], b"9:name=memory:/", b"5::/x", b"0::", b"0:", b"", b"0::a", b"4:memory:"]
    {
        assert_eq!(parse_membership(other), None, "{}", other.escape_ascii());
    }
}

#[test]
fn a_path_is_below_its_ancestors_only() {
    assert_eq!(path_below(b"/", b"/"), Some(&b""[..]));
    assert_eq!(path_below(b"/", b"/a/b"), Some(&b"/a/b"[..]));
    assert_eq!(path_below(b"/a", b"/a"), Some(&b""[..]));
    assert_eq!(path_below(b"/a", b"/a/b"), Some(&b"/b"[..]));
    assert_eq!(path_below(b"/a", b"/a/..b"), Some(&b"/..b"[..]));
    assert_eq!(path_below(b"/../..", b"/../../x"), Some(&b"/x"[..]));
    for (root, path) in [
        (&b"/a"[..], &b"/ab"[..]),
        (b"/a", b"/"),
        (b"/a/b", b"/a"),
        (b"/", b"/.."),
        (b"/", b"/../b"),
        (b"/..", b"/"),
    ] {
        assert_eq!(path_below(root, path), None, "{root:?} {path:?}");
    }
}

#[test]
fn escapes_are_octal() {
    let unescaped = |text: &[u8]| {
        let mut line = Line::default();
        push_unescaped(&mut line, text);
        line.as_bytes().to_vec()
    };
    assert_eq!(unescaped(b"/a\\040b\\011\\134\\043"), b"/a b\t\\#");
    assert_eq!(unescaped(b"\\04"), b"\\04");
    assert_eq!(unescaped(b"\\x40\\"), b"\\x40\\");
    assert_eq!(unescaped(b"\\377\\400"), b"\xff\\400");
}

#[test]
fn limits_of_either_version() {
    assert_eq!(parse_limit_kib(b"max\n"), Some(None));
    assert_eq!(parse_limit_kib(b"134217728\n"), Some(Some(131_072)));
    assert_eq!(parse_limit_kib(b"0\n"), Some(Some(0)));
    assert_eq!(parse_limit_kib(b"9223372036854771712\n"), Some(None));
    assert_eq!(parse_limit_kib(b"9223372036854710272\n"), Some(None));
    for bad in [&b""[..], b"\n", b"-1\n", b"12k\n", b"maximum\n"] {
        assert_eq!(parse_limit_kib(bad), None, "{bad:?}");
    }
}

#[test]
fn statistics_of_either_version() {
    let v2 = parse_stat(
        Version::V2,
        b"anon 1048576\nfile 99999999\nkernel 5\nkernel_stack 16384\npagetables 32768\nshmem 4096\n\
          inactive_anon 77777777\ninactive_file 2097152\nactive_file 1048576\nunevictable 888888\n\
          slab_reclaimable 8192\nslab_unreclaimable 777777\nslab 99999\nworkingset_refault_anon 3\n\
          workingset_refault_file 4\n",
    );
    let expected = CgroupStat {
        anon_kib: 1024,
        shmem_kib: 4,
        inactive_file_kib: 2048,
        active_file_kib: 1024,
        slab_reclaimable_kib: 8,
        overhead_kib: 48,
        swap_kib: 0,
        refault_pages: 7,
    };
    assert_eq!(v2, expected);
    assert_eq!(v2.reclaimable_kib(), 2056);
    let hot = CgroupStat { active_file_kib: 10_000, ..v2 };
    assert_eq!(hot.reclaimable_kib(), (10_000 + 2048) / 2 + 8);
    let v1 = parse_stat(
        Version::V1,
        b"cache 5\nrss 6\nswap 9\ninactive_file 7\nhierarchical_memory_limit 8\ntotal_cache 99999\n\
          total_rss 2048\ntotal_shmem 1024\ntotal_swap 4096\ntotal_inactive_file 3072\n\
          total_active_file 1024\ntotal_workingset_refault_file 2\n",
    );
    assert_eq!((v1.anon_kib, v1.shmem_kib, v1.swap_kib), (2, 1, 4));
    assert_eq!((v1.inactive_file_kib, v1.active_file_kib, v1.refault_pages), (3, 1, 2));
    let odd = parse_stat(Version::V2, b"anon\nanon x\n\nanon 99999999999999999999999\nanon 5\n");
    assert_eq!(odd.anon_kib, u64::MAX / 1024);
}

#[test]
fn a_flat_key_is_a_whole_word() {
    let events = b"low 0\nhigh 1\nmax 23\noom 4\noom_kill 5\n";
    assert_eq!(parse_flat_key(events, "max "), Some(23));
    assert_eq!(parse_flat_key(events, "oom "), Some(4));
    assert_eq!(parse_flat_key(events, "oom_group_kill "), None);
    assert_eq!(parse_flat_key(b"max\nmax x\nmax 3\n", "max "), Some(3));
}

#[test]
fn our_own_cgroup_is_told() {
    let tree = kfile::Tree::open_live().unwrap();
    let proc = tree.proc.as_fd();
    let Ok(version) = read_version(proc) else { return };
    let (mut own, mut by_pid) = (std::vec::Vec::new(), std::vec::Vec::new());
    read_own_membership(proc, version, &mut |path| own.extend_from_slice(path)).unwrap();
    let me = rustix::process::getpid();
    read_membership(proc, me, Some(version), &mut |path| by_pid.extend_from_slice(path)).unwrap();
    assert_eq!(own, by_pid);
    assert!(own.starts_with(b"/"));
}
