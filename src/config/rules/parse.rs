//! From JSON to rules.

use super::fields::Fields;
use super::json::{self, Kind, Value};
use super::model::{Book, DropIn, Group, Plugin, RuleSet, Rules, Silence, ones};
use super::reader::{Parser, Permits};
use super::teller::{List, Say, Teller, push_text, refuse_file};
use super::words::{Key, Name};
use crate::sys::block::{Block, with_room};
use crate::sys::line::{fingerprint, lit};

/// Bytes of room for each byte of a file: for its values, of which each takes a byte
/// and a comma, and for the rules, whose shortest parts are patterns of one byte.
const SCRATCH_FACTOR: usize = 40;
const RULES_FACTOR: usize = 24;
const LEAST_ROOM: usize = 32 * 1024;

/// Reads the text of a file of rules, and tells `say` what is wrong with it; `None`
/// if that is too much. `path` is what the file is called in messages.
#[inline(never)]
pub fn parse_rules(path: &[u8], text: &[u8], permits: Permits, say: &mut Say<'_>) -> Option<Block<Book>> {
    let mut has_refused = false;
    let parsed = with_room(text.len() * SCRATCH_FACTOR + LEAST_ROOM, |mut scratch| {
        Block::build(text.len() * RULES_FACTOR + LEAST_ROOM, |room| {
            // Copied, for what is read must live as long as what it is read into.
            let text = scratch.bytes(text)?;
            let teller = Teller::new(path, text, say);
            let mut parser = Parser { teller, room, scratch: &mut scratch, permits, has_relative: false };
            let rules = parser.rules(path, text);
            has_refused = parser.teller.has_refused;
            (!has_refused).then_some(rules)
        })
    });
    let parsed = parsed.flatten();
    if parsed.is_none() && !has_refused {
        refuse_file(say, path, lit!("no memory to read it"));
    }
    parsed
}

/// Where a plugin stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// In a group.
    Detector,
    /// Behind the groups.
    Action,
    /// Among the prekill hooks.
    Hook,
}

impl<'d, 'b> Parser<'_, 'd, 'b> {
    #[inline(never)]
    fn rules(&mut self, path: &[u8], text: &'d [u8]) -> Rules<'b> {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let file = self.keep(name);
        let mut rules =
            Rules { file, sets: &[], prekill_hooks: &[], warnings: 0, fingerprint: fingerprint(text) };
        let doc = match json::parse(text, self.scratch) {
            Ok(doc) => doc,
            Err(fault) => {
                self.teller.refuse_fault(&fault);
                return rules;
            }
        };
        if !matches!(doc.root.kind(), Kind::Object | Kind::Null) {
            self.teller.refuse_value(doc.root, lit!("an object with the key \"rulesets\""));
        }
        // What stands behind the end is not read, but may be meant.
        if let Some(at) = doc.rest {
            let mut line = self.teller.about_byte(at);
            self.teller.warn(line.bytes(lit!("warning: text behind the end is not read")));
        }
        let mut fields = Fields::new();
        self.fields(Name::File, doc.root, Some(doc.root), &mut fields);
        rules.sets = self.each(fields.part(Key::Rulesets), &NO_SET, Self::rule_set);
        rules.prekill_hooks = self.each(fields.part(Key::PrekillHooks), &NO_PLUGIN, Self::hook);
        if rules.sets.is_empty() {
            self.teller.warn_of(doc.root, lit!("there are no rule sets"));
        }
        rules.warnings = self.teller.warnings;
        rules
    }

    /// What `read` makes of each item of a list. What is no list is an empty one.
    fn each<T: Copy + 'b>(
        &mut self,
        list: Option<Value<'d>>,
        empty: &T,
        read: fn(&mut Self, Value<'d>, &mut T),
    ) -> &'b [T] {
        match list {
            Some(list) => self.each_behind(0, list, empty, read),
            None => &[],
        }
    }

    /// The same without the first so many.
    #[inline(never)]
    fn each_behind<T: Copy + 'b>(
        &mut self,
        first: usize,
        list: Value<'d>,
        empty: &T,
        read: fn(&mut Self, Value<'d>, &mut T),
    ) -> &'b [T] {
        let count = self.count(list).saturating_sub(first);
        let slots = self.keep_slice(count, *empty);
        for (slot, item) in slots.iter_mut().zip(list.items().skip(first)) {
            read(self, item, slot);
        }
        slots
    }

    /// How many items a list has.
    #[inline(never)]
    fn count(&mut self, list: Value<'d>) -> usize {
        if !matches!(list.kind(), Kind::Array | Kind::Object) {
            self.teller.warn_of(list, lit!("@ is no array, and counts as an empty one"));
        }
        list.items().count()
    }

    #[inline(never)]
    fn rule_set(&mut self, set: Value<'d>, out: &mut RuleSet<'b>) {
        if set.kind() != Kind::Object {
            return self.teller.refuse_value(set, lit!("a rule set, which is an object"));
        }
        let mut fields = Fields::new();
        self.fields(Name::RuleSet, set, Some(set), &mut fields);
        self.has_relative = false;
        out.groups = self.each(fields.part(Key::Detectors), &NO_GROUP, Self::group);
        out.actions = self.each(fields.part(Key::Actions), &NO_PLUGIN, Self::action);
        if !self.permits.is_drop_in {
            if out.groups.is_empty() {
                self.refuse_lack(set, Name::RuleSet, Key::Detectors);
            }
            if out.actions.is_empty() {
                self.refuse_lack(set, Name::RuleSet, Key::Actions);
            }
        }
        out.name = self.keep(fields.name);
        let silence = fields.number(Key::SilenceLogs);
        out.silence = Silence { engine: silence & 1 != 0, plugins: silence & 2 != 0 };
        out.post_action_delay_s = fields.number(Key::PostActionDelay) as u32;
        out.prekill_hook_timeout_s = fields.number(Key::PrekillHookTimeout) as u32;
        out.cgroup = fields.cgroups.cgroup;
        out.xattr_filter = self.keep(fields.xattr);
        out.fingerprint = fingerprint(set.source());
        if let Some(object) = fields.part(Key::DropIn) {
            self.drop_in(object, &mut out.drop_in);
        }
        if out.cgroup.is_empty() {
            if let Some(filter) = fields.part(Key::XattrFilter) {
                self.teller.warn_of(filter, lit!("key @ counts only together with \"cgroup\""));
            }
            if self.has_relative {
                let what = lit!("\"ruleset_cgroup\" matches nothing in a rule set without \"cgroup\"");
                self.teller.warn_of(set, what);
            }
        }
    }

    #[inline(never)]
    fn drop_in(&mut self, object: Value<'d>, out: &mut DropIn) {
        if !matches!(object.kind(), Kind::Object | Kind::Null) {
            return self.teller.refuse_value(object, lit!("an object"));
        }
        let mut fields = Fields::new();
        self.fields(Name::DropIn, object, Some(object), &mut fields);
        *out = DropIn {
            detectors: fields.number(Key::ReplaceDetectors) != 0,
            actions: fields.number(Key::ReplaceActions) != 0,
            disable_on_drop_in: fields.number(Key::DisableOnDropIn) != 0,
        };
    }

    #[inline(never)]
    fn group(&mut self, group: Value<'d>, out: &mut Group<'b>) {
        const SHAPE: &[u8] = lit!("a group, which is an array of its name and of detectors");
        if group.kind() != Kind::Array {
            return self.teller.refuse_value(group, SHAPE);
        }
        let named = group.members().next().unwrap_or(group);
        if named.kind() != Kind::Text {
            return self.teller.refuse_value(named, lit!("the name of a group, a text"));
        }
        let name = self.scalar(named);
        out.name = self.keep(name);
        if name.is_empty() {
            self.teller.refuse_value(named, lit!("a name that is not empty"));
        }
        out.detectors = self.each_behind(1, group, &NO_PLUGIN, Self::detector);
        if out.detectors.is_empty() {
            self.teller.refuse_value(group, SHAPE);
        }
    }

    fn detector(&mut self, value: Value<'d>, out: &mut Plugin<'b>) {
        self.plugin(value, Place::Detector, out);
    }

    fn action(&mut self, value: Value<'d>, out: &mut Plugin<'b>) {
        self.plugin(value, Place::Action, out);
    }

    fn hook(&mut self, value: Value<'d>, out: &mut Plugin<'b>) {
        self.plugin(value, Place::Hook, out);
    }

    #[inline(never)]
    fn plugin(&mut self, value: Value<'d>, place: Place, out: &mut Plugin<'b>) {
        if value.kind() != Kind::Object {
            return self.teller.refuse_value(value, lit!("an object with \"name\" and \"args\""));
        }
        let mut fields = Fields::new();
        self.fields(Name::Plugin, value, Some(value), &mut fields);
        let is_hook = place == Place::Hook;
        let Some(name) = Name::of(fields.name, is_hook) else {
            let mut line = self.teller.about(fields.part(Key::Name).unwrap_or(value).source());
            push_text(line.bytes(lit!("found ")), fields.name);
            let mut list = List::new(&mut line);
            Name::for_all(is_hook, &mut |word| list.push(word));
            // Those that oomd has learned since are not known.
            let instead = if is_hook { &b""[..] } else { lit!(", which runs a program for all else") };
            return self.teller.refuse(line.bytes(instead));
        };
        let args = fields.part(Key::Args);
        if let Some(args) = args.filter(|args| !matches!(args.kind(), Kind::Object | Kind::Null)) {
            self.teller.warn_of(args, lit!("@ is no object, and counts as no arguments"));
        }
        fields = Fields::new();
        if !name.takes_anything() {
            self.fields(name, value, args.filter(|args| args.kind() == Kind::Object), &mut fields);
        }
        let takes = name.takes();
        let numbers = self.keep_slice(ones(takes), 0);
        let mut rest = takes;
        for slot in numbers.iter_mut() {
            *slot = fields.numbers.get(rest.trailing_zeros() as usize).copied().unwrap_or(0);
            rest &= rest.wrapping_sub(1);
        }
        let Fields { given, cgroups, words, .. } = fields;
        self.has_relative |= !cgroups.ruleset_cgroup.is_empty();
        *out = Plugin { name, cgroups, takes, given, numbers, words };
        self.warn_of_plugin(value, place, out);
    }

    /// Warns of a plugin that hardly does what is meant.
    #[inline(never)]
    fn warn_of_plugin(&mut self, value: Value<'d>, place: Place, plugin: &Plugin<'b>) {
        let Plugin { name, cgroups, .. } = plugin;
        let has_none = cgroups.cgroup.is_empty() && cgroups.ruleset_cgroup.is_empty();
        let what = match name {
            Name::DummyPrekillHook => lit!(" does nothing; see --before-kill"),
            Name::KernelPanic if !self.permits.panic => {
                let mut line = self.teller.about(value.source());
                let what = lit!("found kernel_panic, allowed: only with --allow-panic");
                return self.teller.refuse(line.bytes(what));
            }
            Name::KillByIoCost if !self.permits.devices => lit!(" kills nobody without --device"),
            _ if has_none && *name != Name::Exec && name.looks_at_cgroups() => {
                lit!(" looks at no cgroup at all")
            }
            _ if !name.is_kill() => return,
            _ if cgroups.cgroup.contains(&&b""[..]) => {
                lit!(" includes the root, which is every process there is")
            }
            _ if place == Place::Detector => lit!(" kills each time that the group is looked at"),
            _ => return,
        };
        let mut line = self.teller.about(value.source());
        self.teller.warn(line.bytes(lit!("warning: ")).bytes(name.word()).bytes(what));
    }
}

static NO_PLUGIN: Plugin<'static> = Plugin::without_keys(Name::Stop);
static NO_SET: RuleSet<'static> = RuleSet {
    name: b"",
    groups: &[],
    actions: &[],
    silence: Silence { engine: false, plugins: false },
    post_action_delay_s: 0,
    prekill_hook_timeout_s: 0,
    cgroup: &[],
    xattr_filter: b"",
    drop_in: DropIn { detectors: false, actions: false, disable_on_drop_in: false },
    fingerprint: 0,
};
static NO_GROUP: Group<'static> = Group { name: b"", detectors: &[] };
