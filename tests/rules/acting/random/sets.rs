//! Rule sets of all detectors and kills, for cgroups that there are or that may come.

use super::super::{CONTINUE, STOP, plugin, set};
use super::name_of;
use super::states::END;
use crate::tree::dice::Dice;

/// What makes them.
pub struct Sets<'d> {
    pub dice: &'d mut Dice,
    /// The paths of cgroups.
    pub paths: Vec<String>,
    /// There is a device, so io costs something.
    pub has_device: bool,
    /// One set may, for of such a kill oomd does not tell which set it is of.
    pub may_kill_among_detectors: bool,
    /// The numbers of sets that drop-ins are for.
    pub targets: Vec<usize>,
}

impl Sets<'_> {
    pub fn make(&mut self, count: usize) -> Vec<String> {
        (0..count)
            .map(|number| {
                self.may_kill_among_detectors = number == 0;
                self.set(number)
            })
            .collect()
    }

    fn set(&mut self, number: usize) -> String {
        // Of a kill among detectors it could not be told whose it is.
        let has_drop_ins = number > 0 && self.dice.chance(30);
        let mut groups = self.groups();
        let is_always = groups.iter().any(|group| group.iter().all(|detector| detector == CONTINUE));
        let actions = self.actions(is_always && !has_drop_ins);
        self.delay_io(&mut groups, &actions);
        let mut more = format!(r#""post_action_delay": {}"#, self.dice.below(4));
        if self.dice.chance(10) {
            more += r#", "silence-logs": "engine""#;
        }
        if has_drop_ins {
            self.targets.push(number);
            let [detectors, actions, instead] = [90, 90, 30].map(|per_cent| self.dice.chance(per_cent));
            more += &format!(
                r#", "drop-in": {{"detectors": {detectors}, "actions": {actions}, "disable-on-drop-in": {instead}}}"#
            );
        }
        let groups: Vec<Vec<&str>> =
            groups.iter().map(|group| group.iter().map(String::as_str).collect()).collect();
        let groups: Vec<&[&str]> = groups.iter().map(Vec::as_slice).collect();
        set(&name_of(number), &groups, &actions, &more)
    }

    /// A file for the directory of drop-ins.
    pub fn drop_in(&mut self) -> String {
        let mut sets = Vec::new();
        while sets.is_empty() || self.dice.chance(30) {
            let target = self.dice.pick(&self.targets);
            let mut keys = format!(r#""name": "{}""#, name_of(target));
            let mut groups = self.groups();
            let actions = self.actions(false);
            self.delay_io(&mut groups, &actions);
            if self.dice.chance(60) {
                let groups: Vec<_> = groups
                    .iter()
                    .zip('S'..)
                    .map(|(detectors, letter)| format!("[\"{letter}\", {}]", detectors.join(", ")))
                    .collect();
                keys += &format!(r#", "detectors": [{}]"#, groups.join(", "));
            }
            if self.dice.chance(60) {
                keys += &format!(r#", "actions": [{}]"#, actions.join(", "));
            }
            sets.push(format!("{{{keys}}}"));
        }
        format!("{{\"rulesets\": [{}]}}", sets.join(", "))
    }

    fn groups(&mut self) -> Vec<Vec<String>> {
        let mut groups = Vec::new();
        for _ in 0..self.dice.between(1, 3) {
            let count = self.dice.between(1, 3);
            groups.push((0..count).map(|_| self.detector()).collect());
        }
        if self.dice.chance(40) {
            groups.push(vec![CONTINUE.to_owned()]);
        }
        groups
    }

    fn actions(&mut self, is_always: bool) -> Vec<String> {
        let mut actions = Vec::new();
        for _ in 0..self.dice.between(1, 2) {
            let action = if self.dice.chance(10) { self.detector() } else { self.kill(false, is_always) };
            actions.push(action);
        }
        if self.dice.chance(50) {
            // Tells that whatever came before it did nothing.
            let end = format!(r#""cgroup": "{END}", "dry": true, "always_continue": true"#);
            actions.push(plugin("kill_by_memory_size_or_growth", &end));
        }
        actions
    }

    /// At the first tick nobody's io is known to cost anything.
    fn delay_io(&mut self, groups: &mut [Vec<String>], actions: &[String]) {
        if actions.iter().any(|action| action.contains("kill_by_io_cost")) && self.dice.chance(85) {
            let later = format!(r#""cgroup": "{END}", "threshold": 0, "duration": 1"#);
            groups.iter_mut().for_each(|group| group.push(plugin("memory_above", &later)));
        }
    }

    /// What matches some of them, or none.
    fn pattern(&mut self) -> String {
        if self.dice.chance(4) {
            return "nowhere".into();
        }
        let path = self.dice.pick(&self.paths);
        let mut segments: Vec<_> = path.split('/').map(|name| self.segment(name)).collect();
        if self.dice.chance(20) {
            segments.pop();
        }
        if segments.is_empty() || self.dice.chance(25) {
            segments.push("*".into());
        }
        let slash = if self.dice.chance(5) { "//" } else { "/" };
        let end = if self.dice.chance(5) { "/" } else { "" };
        segments.join(slash) + end
    }

    fn segment(&mut self, name: &str) -> String {
        let mut letters = name.chars();
        let (first, rest) = (letters.next().unwrap(), letters.as_str());
        match self.dice.below(10) {
            0..5 => name.into(),
            // `.*` would match `..` there.
            5 if first != '.' => format!("{first}*"),
            6 => format!("?{rest}"),
            7 => format!("[{}]{rest}", self.dice.pick(&["ab", "a-c", "!a", "b-", "c-a"])),
            _ => "*".into(),
        }
    }

    fn cgroups(&mut self, may_be_root: bool) -> String {
        let mut patterns = vec![self.pattern()];
        while self.dice.chance(30) {
            patterns.push(self.pattern());
        }
        if may_be_root && self.dice.chance(5) {
            patterns.push("/".into());
        }
        if self.dice.chance(3) {
            patterns.push(String::new());
        }
        format!(r#""cgroup": "{}""#, patterns.join(","))
    }

    fn resource(&mut self) -> String {
        format!(r#""resource": "{}""#, self.dice.pick(&["memory", "io"]))
    }

    fn detector(&mut self) -> String {
        let duration = format!(r#""duration": {}"#, self.dice.pick(&[0, 0, 0, 1, 2]));
        match self.dice.below(20) {
            0..4 => {
                let threshold = self.dice.below(101);
                let args =
                    [self.cgroups(true), self.resource(), format!(r#""threshold": "{threshold}""#), duration];
                plugin("pressure_above", &args.join(", "))
            }
            4..7 => {
                let threshold = self.dice.below(60);
                let mut args = vec![
                    self.cgroups(true),
                    self.resource(),
                    format!(r#""threshold": {threshold}"#),
                    duration,
                ];
                if self.dice.chance(50) {
                    let ratio = self.dice.pick(&["0", "0.25", "0.5", "1", "1.5", "\"0.75\""]);
                    args.push(format!(r#""fast_fall_ratio": {ratio}"#));
                }
                plugin("pressure_rising_beyond", &args.join(", "))
            }
            7..10 => {
                let threshold = self.dice.between(1, 1500);
                let threshold = match self.dice.below(4) {
                    0 => format!("{threshold}"),
                    1 => format!("\"{threshold}M\""),
                    2 => format!("\"{}%\"", threshold % 101),
                    _ => format!("\"{}K\"", threshold * 700),
                };
                let name = self.dice.pick(&["threshold", "threshold_anon"]);
                let args = [self.cgroups(true), format!(r#""{name}": {threshold}"#), duration];
                plugin("memory_above", &args.join(", "))
            }
            10..12 => plugin("memory_reclaim", &[self.cgroups(true), duration].join(", ")),
            12 => plugin("swap_free", &format!(r#""threshold_pct": {}"#, self.dice.below(120))),
            13..15 => {
                let negate = self.dice.chance(50);
                plugin("exists", &format!(r#"{}, "negate": {negate}"#, self.cgroups(true)))
            }
            15..17 => {
                let (count, lte) = (self.dice.below(11), self.dice.chance(50));
                let cgroups = self.cgroups(true);
                plugin("nr_dying_descendants", &format!(r#"{cgroups}, "count": {count}, "lte": {lte}"#))
            }
            17 => {
                let always = self.dice.chance(50);
                plugin("dump_cgroup_overview", &format!(r#"{}, "always": {always}"#, self.cgroups(true)))
            }
            18 => if self.dice.chance(70) { CONTINUE } else { STOP }.into(),
            _ if self.may_kill_among_detectors => self.kill(true, false),
            _ => CONTINUE.into(),
        }
    }

    /// As a detector it does not rank by what may be 0, for its line tells no set.
    fn kill(&mut self, is_detector: bool, is_always: bool) -> String {
        let mut args = vec![self.cgroups(false), r#""dry": true"#.to_owned()];
        let kind = self.dice.below(if is_detector { 8 } else { 12 });
        let name = match kind {
            0..4 => {
                if self.dice.chance(60) {
                    let threshold = self.dice.pick(&[0, 1, 5, 10, 20, 30, 50, 60, 90, 100, 150]);
                    args.push(format!(r#""size_threshold": {threshold}"#));
                }
                if self.dice.chance(60) {
                    args.push(format!(r#""growing_size_percentile": {}"#, self.dice.below(100)));
                }
                if self.dice.chance(40) {
                    args.push(format!(r#""min_growth_ratio": {}"#, self.dice.below(4)));
                }
                "memory_size_or_growth"
            }
            4..6 => {
                if self.dice.chance(60) {
                    let threshold = self.dice.between(1, 600);
                    let threshold = match self.dice.below(3) {
                        0 => format!("{threshold}"),
                        1 => format!("\"{threshold}M\""),
                        _ => format!("\"{}%\"", 1 + threshold % 50),
                    };
                    args.push(format!(r#""threshold": {threshold}"#));
                }
                "swap_usage"
            }
            6..8 => {
                args.push(self.resource());
                "pressure"
            }
            8..10 if self.has_device => "io_cost",
            _ => "pg_scan",
        };
        if self.dice.chance(50) {
            args.push(r#""recursive": true"#.into());
        }
        // Its own delay is lost there once the detectors are quiet, and that of one among the
        // detectors has the set rest.
        if !is_detector && (name != "pg_scan" || is_always) && self.dice.chance(40) {
            args.push(format!(r#""post_action_delay": {}"#, self.dice.below(4)));
        }
        if self.dice.chance(25) {
            args.push(r#""always_continue": true"#.into());
        }
        plugin(&format!("kill_by_{name}"), &args.join(", "))
    }
}
