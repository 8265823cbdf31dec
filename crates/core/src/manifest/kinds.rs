//! What is said of a kind of targets as a whole, and by which words: `[defaults.KIND]` is laid under the table of each target
//! of its kind, and `[ecs.NAME]` is `[fargate.NAME]`. Both happen to the tree, before anything is read of it, so that all that
//! reads an environment finds what it would find had it been written out, and every value keeps its place.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use schemars::Schema;
use serde_json::Value as Json;

use super::finding::{Findings, Place};
use super::raw::{RawAsg, RawFargate};
use super::shape::{Field, Shape};
use super::tree::{Entry, Node, Value};
use crate::model::{Kind, LocalRef};

/// The tables of targets, by kind.
const KINDS: [&str; 2] = ["asg", "fargate"];
/// The other word, and what it stands for.
const ALIAS: (&str, &str) = ("ecs", "fargate");
const DEFAULTS: &str = "defaults";
/// The key that names one target, and can't hold for several.
const OF_ONE: &str = "take_over";

/// The most bytes that the defaults of an environment may come to, each counted once for every target that it is laid under:
/// as many as a file may have.
const MAX_LAID: usize = 1 << 20;
/// The same for all environments together.
const MAX_LAID_IN_ALL: usize = 16 << 20;

/// The table of another key, by another word. [`unify`] has moved what it holds before it is read.
pub(super) struct Alias<T>(PhantomData<T>);

/// A target's table, as it holds for all of a kind. [`Spread`] has put what it holds into theirs before it is read.
pub(super) struct Shared<T>(PhantomData<T>);

/// What a schema has in `$comment` where the keys are those of another table.
const SAME_AS: &str = "same keys as ";

/// The table that has the same keys, if a schema says so.
#[must_use]
pub fn described_at(schema: &Json) -> Option<&str> {
    schema.get("$comment")?.as_str()?.strip_prefix(SAME_AS)
}

fn same_as(mut schema: Schema, table: &str) -> Schema {
    schema.insert("$comment".to_owned(), format!("{SAME_AS}{table}").into());
    schema
}

impl Shape for Alias<BTreeMap<String, Field<RawFargate>>> {
    fn read(_: &Node, _: &mut Findings) -> Option<Self> {
        Some(Self(PhantomData))
    }

    fn schema() -> Schema {
        same_as(BTreeMap::<String, Field<RawFargate>>::schema(), "fargate.NAME")
    }
}

impl Shape for Alias<Shared<RawFargate>> {
    fn read(_: &Node, _: &mut Findings) -> Option<Self> {
        Some(Self(PhantomData))
    }

    fn schema() -> Schema {
        Shared::<RawFargate>::schema()
    }
}

/// A target's table.
trait OfTarget: Shape {
    /// What it is called in the documentation.
    const TABLE: &'static str;
}

impl OfTarget for RawAsg {
    const TABLE: &'static str = "asg.NAME";
}

impl OfTarget for RawFargate {
    const TABLE: &'static str = "fargate.NAME";
}

impl<T: OfTarget> Shape for Shared<T> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        T::read(node, findings)?;
        if let Some(entry) = entries(node).and_then(|entries| entries.get(OF_ONE)) {
            let message = format!("`{OF_ONE}` names one target, and can't hold for all");
            findings.report_with_help(&entry.key, "unknown-key", message, "put it into that target's own table");
        }
        Some(Self(PhantomData))
    }

    fn schema() -> Schema {
        let mut schema = T::schema();
        if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
            properties.remove(OF_ONE);
        }
        same_as(schema, T::TABLE)
    }
}

fn entries(node: &Node) -> Option<&BTreeMap<String, Entry>> {
    if let Value::Table(entries) = &node.value { Some(entries) } else { None }
}

fn entries_mut(node: &mut Node) -> Option<&mut BTreeMap<String, Entry>> {
    if let Value::Table(entries) = &mut node.value { Some(entries) } else { None }
}

/// What a file says of all targets of a kind, once its words are one.
pub(super) fn of_all(file: &Node, kind: Kind) -> Option<&Node> {
    let defaults = entries(&entries(file)?.get(DEFAULTS)?.node)?;
    defaults.get(kind.as_str()).map(|entry| &entry.node)
}

/// Whether a file has what was probably meant to be a target and isn't: a table of tables under an unknown word, or under a
/// kind's word what is no table, or has a name that no target can have.
pub(super) fn loses_targets(file: &Node, known: &[&str]) -> bool {
    let Some(top) = entries(file) else { return false };
    let is_table = |entry: &Entry| entries(&entry.node).is_some();
    top.iter().any(|(word, entry)| {
        let Some(inner) = entries(&entry.node) else { return false };
        if word == ALIAS.0 || KINDS.contains(&word.as_str()) {
            return inner.iter().any(|(name, target)| !is_table(target) || LocalRef::new(Kind::Asg, name).is_err());
        }
        !known.contains(&word.as_str()) && inner.values().any(is_table)
    })
}

/// Gives each kind of one file its one word. Where the other one stands is noted, for those who wonder what it is.
pub(super) fn unify(file: &mut Node, findings: &mut Findings, notes: &mut Findings) {
    let (alias, kind) = ALIAS;
    let Some(top) = entries_mut(file) else { return };
    if let Some(moved) = top.remove(alias) {
        merge_targets(moved, top, findings, notes);
    }
    for kind in KINDS {
        if let Some(targets) = top.get_mut(kind).and_then(|entry| entries_mut(&mut entry.node)) {
            targets.retain(|_, target| is_table(kind, &target.node, findings));
        }
    }
    let Some(defaults) = top.get_mut(DEFAULTS).and_then(|entry| entries_mut(&mut entry.node)) else { return };
    let Some(moved) = defaults.remove(alias) else { return };
    match defaults.get(kind) {
        Some(own) => report_twice(&moved, own, "one table", findings),
        None => drop(defaults.insert(kind.to_owned(), moved)),
    }
}

/// Moves the targets of `[ecs.NAME]` to those of `[fargate.NAME]`.
fn merge_targets(moved: Entry, top: &mut BTreeMap<String, Entry>, findings: &mut Findings, notes: &mut Findings) {
    let (alias, kind) = ALIAS;
    if let Some(first) = entries(&moved.node).and_then(|targets| targets.keys().next()) {
        let message = format!("[{alias}.NAME] is another word for [{kind}.NAME]");
        let help = format!("everywhere else the target is called {kind}/NAME: [{alias}.{first}] is {kind}/{first}");
        notes.report_with_help(&moved.key, "alias", message, help);
    }
    let Some(own) = top.get_mut(kind) else {
        top.insert(kind.to_owned(), moved);
        return;
    };
    let (Some(own), Value::Table(theirs)) = (entries_mut(&mut own.node), moved.node.value) else {
        let message = format!("[{alias}] and [{kind}] are one, and both hold tables of targets");
        findings.report_with_help(&moved.key, "wrong-type", message, format!("write [{kind}.NAME]"));
        return;
    };
    for (name, target) in theirs {
        match own.get(&name) {
            Some(other) => report_twice(&target, other, &format!("one target, {kind}/{name}"), findings),
            None => drop(own.insert(name, target)),
        }
    }
}

/// Reports a table that is written down under both words.
fn report_twice(alias: &Entry, own: &Entry, what: &str, findings: &mut Findings) {
    let message = format!("[{}] and [{}] ({}) are {what}", alias.key.key, own.key.key, own.key.line());
    let help = format!("`{}` is another word for `{}`: put both into one table", ALIAS.0, ALIAS.1);
    findings.report_with_help(&alias.key, "said-twice", message, help);
}

/// Whether what stands under a kind is a target's table; what isn't was probably meant for all targets.
fn is_table(kind: &str, node: &Node, findings: &mut Findings) -> bool {
    let is_table = matches!(node.value, Value::Table(_));
    if !is_table {
        let message = format!("expected a table, found {}", node.value.kind());
        let help =
            format!("a target is a table [{kind}.NAME]; what holds for all of them belongs under [{DEFAULTS}.{kind}]");
        findings.report_with_help(&node.place, "wrong-type", message, help);
    }
    is_table
}

/// Lays defaults of kinds under the tables of targets. What that comes to is limited: a short file could otherwise fill the
/// memory.
#[derive(Default)]
pub(super) struct Spread {
    /// How many bytes it came to so far, in all environments.
    laid: usize,
}

impl Spread {
    /// An environment with the defaults in each target's table. `None` if that would be too much, which is reported, or will
    /// be by [`Self::too_much`].
    pub(super) fn over(
        &mut self,
        mut environment: Node,
        findings: &mut Findings,
        whole: fn(&str) -> bool,
    ) -> Option<Node> {
        let Some(top) = entries_mut(&mut environment) else { return Some(environment) };
        let shared = top.get(DEFAULTS).and_then(|entry| entries(&entry.node)).cloned().unwrap_or_default();
        let mut laid = 0_usize;
        for kind in KINDS {
            let Some(default) = shared.get(kind) else { continue };
            let Some(targets) = top.get_mut(kind).and_then(|entry| entries_mut(&mut entry.node)) else { continue };
            laid = laid.saturating_add(size(&default.node).saturating_mul(targets.len()));
            if laid > MAX_LAID {
                let message = format!(
                    "in the tables of {} targets these defaults come to more than {MAX_LAID} bytes",
                    targets.len()
                );
                let help = "shorten them, or divide the environment: several may have the same account";
                findings.report_with_help(&default.key, "too-many-defaults", message, help);
                return None;
            }
            if self.laid.saturating_add(laid) > MAX_LAID_IN_ALL {
                self.laid = usize::MAX;
                return None;
            }
            for (_, target) in targets.iter_mut() {
                let node = target.node.clone();
                target.node = node.over(&default.node, whole);
            }
        }
        self.laid = self.laid.saturating_add(laid);
        Some(environment)
    }

    /// What is wrong with all environments, if their defaults come to too much together.
    pub(super) fn too_much(&self) -> Option<(String, &'static str)> {
        (self.laid > MAX_LAID_IN_ALL).then(|| {
            let message = format!(
                "the defaults of kinds come to more than {MAX_LAID_IN_ALL} bytes in the tables of all targets of all environments"
            );
            (message, "shorten them, or divide the environments between repositories")
        })
    }
}

/// About as many bytes as a value has where it is written down.
fn size(node: &Node) -> usize {
    /// For what stands between values.
    const BETWEEN: usize = 4;
    BETWEEN
        + match &node.value {
            Value::String(text) | Value::Datetime(text) => text.len(),
            Value::Integer(_) | Value::Float | Value::Boolean => BETWEEN,
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Table(entries) => entries.iter().map(|(name, entry)| name.len() + size(&entry.node)).sum(),
        }
}

/// Whether a place is in the defaults of a kind.
pub(super) fn is_shared(place: &Place) -> bool {
    place.key.strip_prefix(DEFAULTS).is_some_and(|rest| rest.starts_with('.'))
}
