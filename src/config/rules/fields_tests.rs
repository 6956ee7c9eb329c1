use super::model::*;
use super::parse_tests::{action, has, permitted, refused, with_action};
use super::reader::Permits;
use super::words::{Key, Name};
use std::format;

#[test]
fn values_are_read_as_oomd_reads_them() {
    let threshold = |text: &str| {
        let mut found = 0;
        action("swap_free", &format!(r#"{{"threshold_pct": {text}}}"#), |plugin, said| {
            // A rest that does not count is told.
            let ignored = [r#""10%""#, r#""10.5""#, "10.5", "1e1"].contains(&text);
            assert_eq!(!said.is_empty(), ignored, "{text}: {said:?}");
            found = plugin.int(Key::ThresholdPct);
        });
        found
    };
    for text in ["10", r#""10""#, r#""10%""#, r#""10.5""#, r#"" 10""#, "10.5", "1e1", "+10", "010"] {
        assert_eq!(threshold(text), 10, "{text}");
    }
    for (bad, allowed) in [
        ("true", "a whole number"),
        (r#""""#, "a whole number"),
        ("99999999999", "a whole number"),
        ("1e30", "a smaller number"),
    ] {
        let said = refused(&with_action("swap_free", &format!(r#"{{"threshold_pct": {bad}}}"#)));
        assert!(said.ends_with(&format!("allowed: {allowed}")), "{said}");
    }
    let bad_args = [
        ("exists", r#"{"negate": "yes"}"#, "true, True, 1, false, False or 0"),
        ("kill_by_pressure", r#"{"resource": "cpu"}"#, "io or memory"),
        ("nr_dying_descendants", r#"{"count": -1}"#, "a whole number, 0 or more"),
        (
            "kill_by_memory_size_or_growth",
            r#"{"growing_size_percentile": 100}"#,
            "a whole number from 0 to 99",
        ),
        ("kill_by_memory_size_or_growth", r#"{"min_growth_ratio": "x"}"#, "a number"),
        (
            "kill_by_swap_usage",
            r#"{"threshold": "101%"}"#,
            "a percentage up to 100%, a number of mebibytes, or sizes with K, M, G or T",
        ),
        ("systemd_restart", r#"{"service": "--now"}"#, "the name of a unit"),
        (
            "exec",
            r#"{"command": "ls"}"#,
            "the absolute path of a program, or an array of that and its arguments",
        ),
        (
            "exec",
            r#"{"command": []}"#,
            "the absolute path of a program, or an array of that and its arguments",
        ),
        ("exec", r#"{"command": "/a", "timeout": 0}"#, "seconds from 0.001 to 3600"),
    ];
    for (name, args, allowed) in bad_args {
        let said = refused(&with_action(name, args));
        assert!(said.ends_with(&format!("allowed: {allowed}")), "{name} {args}: {said}");
    }
}

#[test]
fn every_detector_has_its_arguments() {
    let (threshold, duration) = ((Key::Threshold, 60), (Key::Duration, 30));
    has(
        "pressure_above",
        r#"{"cgroup": "a", "resource": "io", "threshold": "60", "duration": 30}"#,
        &[(Key::Resource, 1), threshold, duration],
    );
    let args =
        r#"{"cgroup": "a", "resource": "memory", "threshold": 60, "duration": "30", "fast_fall_ratio": 0.5}"#;
    has("pressure_rising_beyond", args, &[threshold, duration, (Key::FastFallRatio, 500_000)]);
    let args = args.replace(r#", "fast_fall_ratio": 0.5"#, "");
    has("pressure_rising_beyond", &args, &[threshold, duration, (Key::FastFallRatio, 850_000)]);
    let second = (Key::Duration, 1);
    has(
        "memory_above",
        r#"{"cgroup": "a", "threshold": "1.5G", "duration": 1}"#,
        &[(Key::ThresholdAmount, 1_610_612_736), second],
    );
    let args = r#"{"cgroup": "a", "threshold_anon": "60%", "duration": 1, "debug": "1"}"#;
    let anon = (Key::ThresholdAnon, Amount::Percent(60).number());
    has("memory_above", args, &[anon, second, (Key::Debug, 1)]);
    action("memory_above", args, |plugin, _| {
        assert!(plugin.is_given(Key::ThresholdAnon) && !plugin.is_given(Key::ThresholdAmount));
        assert_eq!(plugin.amount(Key::ThresholdAnon), Amount::Percent(60));
    });
    // The other is not even parsed.
    let both = r#"{"cgroup": "a", "threshold": "??", "threshold_anon": 60, "duration": 1}"#;
    action("memory_above", both, |plugin, said| {
        assert!(plugin.is_given(Key::ThresholdAnon) && !plugin.is_given(Key::ThresholdAmount));
        assert_eq!(said.len(), 1, "{said:?}");
    });
    assert!(
        refused(&with_action("memory_above", r#"{"duration": 1}"#))
            .contains("memory_above without \"threshold\"")
    );
    has("memory_reclaim", r#"{"cgroup": "a", "duration": 10}"#, &[(Key::Duration, 10)]);
    has(
        "swap_free",
        r#"{"threshold_pct": 10, "swapout_bps_threshold": "-1"}"#,
        &[(Key::ThresholdPct, 10), (Key::SwapoutBpsThreshold, -1)],
    );
    has("exists", r#"{"cgroup": "a", "negate": "True", "debug": false}"#, &[(Key::Negate, 1)]);
    has(
        "nr_dying_descendants",
        r#"{"cgroup": "a", "count": 7, "lte": false, "negate": true}"#,
        &[(Key::Count, 7), (Key::Lte, 0), (Key::Negate, 1)],
    );
    has("nr_dying_descendants", r#"{"cgroup": "a", "count": 7}"#, &[(Key::Count, 7), (Key::Lte, 1)]);
    has("dump_cgroup_overview", r#"{"cgroup": "a", "always": true}"#, &[(Key::Always, 1)]);
}

#[test]
fn every_action_has_its_arguments() {
    let args = r#"{"cgroup": "a", "recursive": true, "post_action_delay": "20", "dry": 1, "always_continue": "true",
        "debug": true, "reap_memory": false, "kernelkill": true, "log_kmemalloc_prekill": false}"#;
    let all = [
        (Key::Recursive, 1),
        (Key::PostActionDelay, 20),
        (Key::Dry, 1),
        (Key::AlwaysContinue, 1),
        (Key::Debug, 1),
        (Key::ReapMemory, 0),
        (Key::Kernelkill, 1),
    ];
    has("kill_by_pg_scan", args, &all);
    action("kill_by_pg_scan", args, |plugin, _| assert_eq!(plugin.post_action_delay_s(), Some(20)));
    for (name, args, rank) in [
        (
            "kill_by_memory_size_or_growth",
            r#""size_threshold": 40, "growing_size_percentile": "0", "min_growth_ratio": "1.9""#,
            Rank::MemorySizeOrGrowth {
                size_threshold_pct: 40,
                growing_size_percentile: 0,
                min_growth_ratio: Millionths(1_900_000),
            },
        ),
        (
            "kill_by_memory_size_or_growth",
            r#""dry": false"#,
            Rank::MemorySizeOrGrowth {
                size_threshold_pct: 50,
                growing_size_percentile: 80,
                min_growth_ratio: Millionths(1_250_000),
            },
        ),
        (
            "kill_by_swap_usage",
            r#""threshold": "5%", "biased_swap_kill": true"#,
            Rank::SwapUsage { threshold: Amount::Percent(5), biased: true },
        ),
        (
            "kill_by_swap_usage",
            r#""threshold": "1""#,
            Rank::SwapUsage { threshold: Amount::Bytes(1 << 20), biased: false },
        ),
        ("kill_by_pressure", r#""resource": "io""#, Rank::Pressure { resource: Resource::Io }),
        ("kill_by_io_cost", r#""dry": "0""#, Rank::IoCost),
        ("kill_by_pg_scan", r#""dry": "0""#, Rank::PgScan),
    ] {
        action(name, &format!(r#"{{"cgroup": "a", {args}}}"#), |plugin, said| {
            assert!(said.is_empty() && plugin.name.is_kill());
            assert_eq!(plugin.rank(), Some(rank), "{name} {args}");
            assert_eq!(plugin.post_action_delay_s(), None);
            assert!(plugin.flag(Key::ReapMemory));
        });
    }
    let restart = r#"{"service": "a.service", "dry": true, "post_action_delay": 3}"#;
    has("systemd_restart", restart, &[(Key::Dry, 1), (Key::PostActionDelay, 3)]);
    action("systemd_restart", r#"{"service": "a.service", "machine_type": "user"}"#, |plugin, said| {
        assert_eq!((plugin.words, plugin.rank()), (&[&b"a.service\0"[..]][..], None));
        assert_eq!((plugin.unsigned(Key::PostActionDelay), said.len()), (15, 1));
    });
    action("exec", r#"{"command": "/bin/true"}"#, |plugin, said| {
        assert_eq!((plugin.words, plugin.timeout_ms()), (&[&b"/bin/true\0"[..]][..], 5000));
        assert!(said.is_empty());
    });
    let args =
        r#"{"command": ["/bin/a b", "", 5], "timeout": "0.25", "cgroup": "x", "post_action_delay": 1}"#;
    action("exec", args, |plugin, said| {
        assert_eq!(plugin.words, [&b"/bin/a b\0"[..], b"\0", b"5\0"]);
        assert_eq!((plugin.timeout_ms(), plugin.post_action_delay_s(), said.len()), (250, Some(1), 0));
        assert_eq!(plugin.cgroups.cgroup, [b"x"]);
    });
    has(
        "senpai",
        r#"{"cgroup": "a", "pressure_pct": "0.5", "limit_min_bytes": 1048576, "interval": 2}"#,
        &[
            (Key::PressurePct, 500_000),
            (Key::LimitMinBytes, 1 << 20),
            (Key::Interval, 2),
            (Key::LimitMaxBytes, 10 << 30),
            (Key::CoeffBackoff, 20_000_000),
            (Key::MaxProbe, 10_000),
            (Key::SwapThreshold, 800_000),
            (Key::SenpaiSwapout, 1 << 20),
        ],
    );
    let panic = Permits { panic: true, ..Permits::default() };
    let (parsed, _) = permitted(&with_action("kernel_panic", "{}"), panic);
    assert_eq!(parsed.unwrap().get().sets[0].actions[0].name, Name::KernelPanic);
}
