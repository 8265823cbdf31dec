//! `docs/supported-configurations.md` and the tests that show what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::stage::Stage;

/// A row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// `served`, `warned` or `blocked`.
    pub(crate) outcome: String,
    /// The text of reason or warning, with `…` for what differs; what Pinion does where it is served.
    pub(crate) text: String,
    test: String,
}

/// The rows by shape.
pub(crate) fn rows() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/supported-configurations.md");
    let text = fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in
        text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| shape") && !line.starts_with("| -"))
    {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [shape, outcome, text, test] = cells.as_slice() else { panic!("not four cells: {line}") };
        let row =
            Row { outcome: (*outcome).to_owned(), text: (*text).to_owned(), test: test.trim_matches('`').to_owned() };
        assert!(rows.insert((*shape).to_owned(), row).is_none(), "{shape} is there twice");
    }
    assert!(rows.len() > 30, "the table is found");
    rows
}

fn row(shape: &str, outcome: &str) -> Row {
    let row = rows().remove(shape).unwrap_or_else(|| panic!("docs/supported-configurations.md has no row `{shape}`"));
    assert_eq!(row.outcome, outcome, "{shape}");
    row
}

/// Whether the parts between `…` stand in the text in this order, from its beginning to its end.
fn matches(pattern: &str, text: &str) -> bool {
    let parts: Vec<&str> = pattern.split('…').collect();
    let mut rest = text;
    for (index, part) in parts.iter().enumerate() {
        let Some(at) = rest.find(part) else { return false };
        if index == 0 && at != 0 {
            return false;
        }
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || pattern.ends_with('…')
}

/// Waits until a target is blocked for the reason that the table has for its shape.
pub(crate) fn blocked(stage: &Stage, target: &str, shape: &str) {
    let row = row(shape, "blocked");
    stage.wait_for(target, "blocked");
    let reason = stage.reason(target);
    assert!(matches(&row.text, &reason), "{shape}, {target}\n   is: {reason}\ntable: {}", row.text);
}

/// Waits until a target has the warning that the table has for its shape.
pub(crate) fn warned(stage: &Stage, target: &str, shape: &str) {
    let row = row(shape, "warned");
    stage.wait_until(&format!("{target} warns of {shape}: {}", row.text), |stage| {
        let warnings = stage.target(target)["warnings"].clone();
        warnings.as_array().into_iter().flatten().any(|one| matches(&row.text, one.as_str().unwrap()))
    });
}

/// The tests of a file under `tests/`, as `file::name`.
fn tests_in(path: &Path) -> BTreeSet<String> {
    let file = path.file_stem().unwrap().to_str().unwrap();
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let mut found = BTreeSet::new();
    while let Some(line) = lines.next() {
        if line.trim() == "#[test]" {
            let name = lines.next().unwrap().trim().trim_start_matches("fn ");
            found.insert(format!("{file}::{}", name.split('(').next().unwrap()));
        }
    }
    found
}

#[test]
fn table_and_tests_are_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shapes");
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().unwrap() != "table" {
            there.extend(tests_in(&path));
        }
    }
    let rows = rows();
    let named: BTreeSet<String> = rows.values().map(|row| row.test.clone()).collect();
    assert_eq!(named, there, "each row names its test, and each test has a row");
    for (shape, row) in &rows {
        assert!(["served", "warned", "blocked"].contains(&row.outcome.as_str()), "{shape}: {}", row.outcome);
        // A shape that is blocked or warned of is looked up by name, so that the table's text is what is tested.
        if row.outcome != "served" {
            let (file, _) = row.test.split_once("::").unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/shapes/{file}.rs"));
            let quoted = format!("{shape:?}");
            assert!(fs::read_to_string(path).unwrap().contains(&quoted), "no test of {file} looks up {quoted}");
        }
    }
}

#[test]
fn this_test_can_fail() {
    assert!(matches("group … is gone; make …", "group web is gone; make one"));
    assert!(matches("all of it", "all of it"));
    assert!(!matches("all of it", "all of it and more"));
    assert!(!matches("group … is gone", "the group web is gone"));
    assert!(!matches("a … b … c", "a c b"));
}
