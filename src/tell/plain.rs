//! Rules in plain words: when …, then ….

use crate::config::rules::model::{Amount, Cgroups, Patterns, Plugin, Resource, RuleSet};
use crate::config::rules::words::{Form, KILL_BEFORE, KILL_BEHIND, Key};
use crate::sys::line::{Line, lit};

/// Appends when a detector says continue: "… is above 60% for 30 s".
pub fn push_condition(line: &mut Line, plugin: &Plugin<'_>) {
    match plugin.name.when() {
        [] => {
            push_action(line, plugin);
            line.bytes(lit!(", and this did not help"));
        }
        when => push(line, plugin, when),
    }
}

/// Appends what an action does: "kill the largest of …".
#[inline(never)]
pub fn push_action(line: &mut Line, plugin: &Plugin<'_>) {
    match plugin.name.then() {
        [] => push(line.bytes(lit!("go on if ")), plugin, plugin.name.when()),
        then if plugin.name.is_kill() => {
            push(line.bytes(KILL_BEFORE), plugin, then);
            push(line, plugin, KILL_BEHIND);
        }
        then => push(line, plugin, then),
    }
}

/// Appends what comes after an action has acted: "and rest 15 s".
pub fn push_rest<'l>(line: &'l mut Line, set: &RuleSet<'_>) -> &'l mut Line {
    line.bytes(lit!("after an action has done something, rest "))
        .number(set.post_action_delay_s.into())
        .bytes(lit!(" s"))
}

/// Appends words as they stand in the table; see [`when`](crate::config::rules::words::Name::when).
#[inline(never)]
fn push(line: &mut Line, plugin: &Plugin<'_>, words: &[u8]) {
    let mut is_said = true;
    let mut rest = words;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'{' | b'<' => {
                let is_end = |byte: &u8| matches!(byte, b'}' | b'?' | b'!');
                let (word, behind) = rest.split_at(rest.iter().position(is_end).unwrap_or(0));
                let Some((end, behind)) = behind.split_first() else { return };
                rest = behind;
                let Some(key) = plugin.name.key(&mut |known| known == word) else { continue };
                match end {
                    b'?' => is_said = plugin.number(key) > 0,
                    b'!' => is_said = plugin.is_given(key),
                    _ if is_said => push_value(line, plugin, key),
                    _ => {}
                }
            }
            b'@' if is_said => push_cgroups(line, &plugin.cgroups),
            b'|' => is_said = !is_said,
            b'>' => is_said = true,
            _ if is_said => _ = line.bytes(&[byte]),
            _ => {}
        }
    }
}

#[inline(never)]
fn push_value(line: &mut Line, plugin: &Plugin<'_>, key: Key) {
    let number = plugin.number(key);
    match key.form() {
        Form::Command | Form::Unit => {
            for (at, word) in plugin.words.iter().enumerate() {
                line.bytes(if at > 0 { lit!(" ") } else { b"" });
                // Without its NUL.
                line.escaped(word.split_last().map_or(b"", |(_, text)| text));
            }
        }
        Form::Resource => {
            line.bytes(match plugin.resource() {
                Resource::Memory => lit!("memory"),
                Resource::Io => lit!("io"),
            });
        }
        Form::Amount => match plugin.amount(key) {
            Amount::Percent(percent) => {
                line.number(percent.into()).bytes(lit!("% of all "));
                line.bytes(if plugin.name.is_kill() { lit!("swap") } else { lit!("memory") });
            }
            Amount::Bytes(bytes) if bytes < 1024 => {
                line.signed(bytes).bytes(if bytes == 1 { lit!(" byte") } else { lit!(" bytes") });
            }
            Amount::Bytes(bytes) => _ = line.size(bytes.unsigned_abs() / 1024),
        },
        Form::Ratio => _ = line.hundredths(plugin.ratio(key).0 / 10_000),
        Form::Timeout => _ = line.number(plugin.timeout_ms().into()),
        _ => _ = line.signed(number),
    }
}

#[inline(never)]
fn push_cgroups(line: &mut Line, cgroups: &Cgroups<'_>) {
    let is_of_both = !cgroups.cgroup.is_empty() && !cgroups.ruleset_cgroup.is_empty();
    push_patterns(line, cgroups.cgroup, b"");
    line.bytes(if is_of_both { lit!(", ") } else { b"" });
    push_patterns(line, cgroups.ruleset_cgroup, lit!("the rule set's cgroup"));
}

/// Appends patterns as a list, which are below `root`.
#[inline(never)]
fn push_patterns(line: &mut Line, patterns: Patterns<'_>, root: &[u8]) {
    for (at, pattern) in patterns.iter().enumerate() {
        line.bytes(if at > 0 { lit!(", ") } else { b"" }).bytes(root);
        if root.is_empty() == pattern.is_empty() {
            line.bytes(lit!("/"));
        }
        line.escaped(pattern);
    }
}
