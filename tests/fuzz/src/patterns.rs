//! Patterns against names: by the guard's matcher, which goes back to the last star
//! only, and by a slow one that tries everything.

use bustd::config::pattern::{Globs, glob_matches};
use bustd::config::policy::{Believed, Claim, Policy};
use bustd::read::process::Comm;

/// A list, and behind a newline the name.
pub fn globs(input: &[u8]) {
    let mut parts = input.splitn(2, |&byte| byte == b'\n');
    let (list, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(globs) = Globs::parse(list) else { return };
    let mut written = Vec::new();
    for item in globs.items() {
        assert!(!item.glob.is_empty());
        written.push(item.text);
        // The slow one takes the time that the other does not.
        if item.glob.len() <= 12 && name.len() <= 12 {
            assert_eq!(glob_matches(item.glob, name), matches_slowly(item.glob, name), "{item:?} {name:?}");
        } else {
            let _ = item.matches(name);
        }
    }
    assert_eq!(written.join(&b'|'), list);
    for believed in [Believed::Everybody, Believed::SystemUsers] {
        let policy = Policy {
            prefer: Some(globs),
            avoid: Some(globs),
            unkillables: Some(globs),
            believed,
            ..Policy::default()
        };
        let comm = Comm::new(name);
        for uid in [0, 999, 1000, u32::MAX] {
            let _ = policy.preference(&Claim { comm: &comm, uid, exe: Some(name), cgroup: Some(name) });
            let _ = policy.preference(&Claim { comm: &comm, uid, exe: None, cgroup: None });
        }
    }
}

fn matches_slowly(glob: &[u8], name: &[u8]) -> bool {
    let Some((&first, rest)) = glob.split_first() else { return name.is_empty() };
    let after_one = |rest: &[u8]| !name.is_empty() && matches_slowly(rest, &name[1..]);
    match first {
        b'*' => matches_slowly(rest, name) || after_one(glob),
        b'?' => after_one(rest),
        b'[' => {
            let negated = matches!(rest.first(), Some(b'!' | b'^'));
            let from = usize::from(negated);
            // A bracket that comes first is a member.
            let close = from + 1 + rest[from + 1..].iter().position(|&byte| byte == b']').expect("checked");
            let members = &rest[from..close];
            let held = |byte: u8| {
                let (mut at, mut held) = (0, false);
                while at < members.len() {
                    let is_range = at + 2 < members.len() && members[at + 1] == b'-';
                    let high = if is_range { members[at + 2] } else { members[at] };
                    held |= members[at] <= byte && byte <= high;
                    at += if is_range { 3 } else { 1 };
                }
                held
            };
            name.first().is_some_and(|&byte| held(byte) != negated) && after_one(&rest[close + 1..])
        }
        byte => name.first() == Some(&byte) && after_one(rest),
    }
}
