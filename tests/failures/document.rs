//! The table in `docs/failure-modes.md`, and what holds it to the tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::stage::Stage;

/// A row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// The target's state; a dash where no target is concerned.
    state: String,
    /// A pattern: `…` stands for any text.
    pub(crate) reason: String,
    /// `name{label="value"} = 1`, or `>= 1`; the sum of all series that have these labels.
    metric: String,
    test: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn plain(cell: &str) -> String {
    cell.trim().trim_matches('`').to_owned()
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("docs/failure-modes.md")).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 7, "a row has seven cells: {line}");
        let [id, state, metric, test] = [0, 2, 4, 6].map(|index| plain(cells[index]));
        let reason = cells[3].trim();
        Row { id, state, reason: if reason == "–" { String::new() } else { reason.to_owned() }, metric, test }
    };
    lines.map(row).collect()
}

/// The row of a situation.
pub(crate) fn failure_mode(id: &str) -> Row {
    rows().into_iter().find(|row| row.id == id).unwrap_or_else(|| panic!("docs/failure-modes.md has no row `{id}`"))
}

/// Whether a text is as a pattern says, in which `…` stands for any text.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Row {
    /// Waits until a target is as the row says: its state, its reason, its metric.
    pub(crate) fn holds(&self, stage: &Stage, target: &str) {
        stage.wait_until(&format!("{target} is {} as `{}` has it", self.state, self.id), |stage| {
            let seen = stage.target(target);
            seen["state"] == self.state.as_str() && is_like(seen["reason"].as_str().unwrap_or_default(), &self.reason)
        });
        self.is_counted(stage, target);
    }

    /// Waits until a text is as the row says: an error of a repository or an environment.
    pub(crate) fn says(&self, stage: &Stage, text: impl Fn(&Stage) -> String) {
        stage.wait_until(&format!("it says `{}`", self.reason), |stage| is_like(&text(stage), &self.reason));
    }

    /// Waits until the metric is as the row says; `within` is what the labels of its series must have in them.
    pub(crate) fn is_counted(&self, stage: &Stage, within: &str) {
        if self.metric == "–" {
            return;
        }
        let (series, limit) = self.metric.rsplit_once(' ').unwrap();
        let (series, relation) = series.rsplit_once(' ').unwrap();
        let limit: f64 = limit.parse().unwrap();
        let environment = format!("environment=\"{}\"", within.split('/').next().unwrap());
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels: Vec<&str> = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).collect();
        stage.wait_until(&format!("`{}` of {within} as `{}` has it", self.metric, self.id), |stage| {
            let (_, text) = stage.get("/metrics").unwrap_or_default();
            let found: Vec<f64> = text
                .lines()
                .filter_map(|line| {
                    let (series, value) = line.rsplit_once(' ')?;
                    let rest = series.strip_prefix(name)?;
                    let mine = (rest.is_empty() || rest.starts_with('{'))
                        && (rest.contains(within) || (!rest.contains("target=") && rest.contains(&environment)))
                        && labels.iter().all(|label| rest.contains(label));
                    mine.then(|| value.parse().unwrap())
                })
                .collect();
            let sum: f64 = found.iter().sum();
            !found.is_empty()
                && match relation {
                    "=" => sum == limit,
                    ">=" => sum >= limit,
                    other => panic!("`{other}` is no relation"),
                }
        });
    }
}

fn source(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The body of a test, from its name to the next function.
fn body<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\nfn {name}()")).or_else(|| text.split_once(&format!("fn {name}()")))?;
    Some(rest.split("\n#[test]").next().unwrap_or(rest))
}

#[test]
fn each_row_has_its_test_and_each_test_its_row() {
    let rows = rows();
    assert!(rows.len() > 40, "{} rows", rows.len());
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "an id stands for one situation");
    let mut named = BTreeSet::new();
    for row in &rows {
        let (file, test) = row.test.split_once("::").unwrap_or_else(|| panic!("`{}` names no test: {row:?}", row.id));
        let text = source(&root().join(file));
        let body = body(&text, test).unwrap_or_else(|| panic!("`{}`: {file} has no test {test}", row.id));
        if file.starts_with("tests/failures/") {
            assert!(
                body.contains(&format!("failure_mode(\"{}\")", row.id)),
                "{file}::{test} doesn't look `{}` up",
                row.id
            );
            named.insert((file.to_owned(), test.to_owned()));
        }
    }
    for entry in std::fs::read_dir(root().join("tests/failures")).unwrap() {
        let path = entry.unwrap().path();
        let file = format!("tests/failures/{}", path.file_name().unwrap().to_str().unwrap());
        let text = source(&path);
        if file.ends_with("/document.rs") {
            continue;
        }
        for part in text.split("#[test]\nfn ").skip(1) {
            let name = part.split('(').next().unwrap().to_owned();
            assert!(named.contains(&(file.clone(), name.clone())), "no row names {file}::{name}");
        }
        for part in text.split("failure_mode(\"").skip(1) {
            let id = part.split('"').next().unwrap();
            assert!(ids.contains(id), "{file} looks up `{id}`, which isn't there");
        }
    }
}

#[test]
fn states_and_metrics_of_the_rows_exist() {
    let metrics: BTreeSet<&str> = pinion::metrics::CATALOGUE.iter().map(|definition| definition.name).collect();
    let states: BTreeSet<&str> = pinion::model::State::ALL.iter().map(|state| state.as_str()).collect();
    for row in rows() {
        assert!(row.state == "–" || states.contains(row.state.as_str()), "{row:?}");
        let name = row.metric.split(['{', ' ']).next().unwrap();
        assert!(row.metric == "–" || metrics.contains(name), "{row:?}");
        if let Some((_, state)) = row.metric.split_once("state=\"") {
            assert_eq!(state.split('"').next(), Some(row.state.as_str()), "{row:?}");
        }
    }
}

#[test]
fn patterns_match_what_they_should() {
    assert!(is_like("waits for r-1 (InProgress)", "waits for … (…)"));
    assert!(is_like("as it is", "as it is"));
    assert!(!is_like("as it isn't", "as it is"));
    assert!(!is_like("waits for r-1", "waits for … (…)"));
    assert!(is_like("a b c", "…b…"));
}
