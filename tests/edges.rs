//! Holds the edges between the modules of `src` and of `crates/core`: who may name whom. Between crates Cargo does. Reads the
//! sources, without their comments, texts and tests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "edges/forgotten.rs"]
mod forgotten;
#[path = "edges/voice.rs"]
mod voice;
#[path = "edges/words.rs"]
mod words;

/// Beyond this many lines, tests aside, a file needs a first line that starts with `//! Long:` and says why.
const MAX_LENGTH: usize = 600;

/// What a module may name. `None`: anything that isn't closed to it below.
struct Module {
    name: &'static str,
    /// The modules it may name.
    modules: Option<&'static [&'static str]>,
    /// The external crates it may not name; a `*` at the end stands for any rest.
    never: &'static [&'static str],
    /// Whether it may be asynchronous.
    asynchronous: bool,
}

const IO: &[&str] = &["tokio*", "reqwest", "axum", "hyper*", "async_trait"];

/// Between crates Cargo holds the walls; here are those within `crates/core/src` and `src`.
const MODULES: &[Module] = &[
    Module { name: "model", modules: Some(&[]), never: IO, asynchronous: false },
    Module { name: "guardrail", modules: Some(&["model"]), never: IO, asynchronous: false },
    Module { name: "signature", modules: Some(&["model"]), never: IO, asynchronous: false },
    Module { name: "plan", modules: Some(&["model", "guardrail"]), never: IO, asynchronous: false },
    Module { name: "events", modules: Some(&["model", "plan"]), never: IO, asynchronous: false },
    Module { name: "ports", modules: Some(&["model", "plan", "events"]), never: &[], asynchronous: true },
    Module { name: "manifest", modules: Some(&["model", "plan", "guardrail"]), never: IO, asynchronous: false },
    Module { name: "config", modules: Some(&["model", "manifest", "plan"]), never: IO, asynchronous: false },
    Module { name: "webhook", modules: Some(&["config", "model"]), never: IO, asynchronous: false },
    Module { name: "iam", modules: Some(&["model"]), never: IO, asynchronous: false },
    Module {
        name: "reconcile",
        modules: Some(&["model", "manifest", "guardrail", "plan", "events", "ports", "metrics", "clock"]),
        never: &["axum", "hyper*"],
        asynchronous: true,
    },
    Module {
        name: "history",
        modules: Some(&["model", "metrics", "clock"]),
        never: &["axum", "hyper*", "reqwest"],
        asynchronous: true,
    },
    Module { name: "metrics", modules: Some(&["model", "ports"]), never: IO, asynchronous: false },
    Module {
        name: "server",
        modules: Some(&["model", "metrics", "history", "clock", "config", "webhook"]),
        never: &["reqwest"],
        asynchronous: true,
    },
    Module {
        name: "forge",
        modules: Some(&["model", "metrics", "clock", "config"]),
        never: &["axum", "hyper*"],
        asynchronous: true,
    },
    Module {
        name: "sinks",
        modules: Some(&["model", "events", "ports", "metrics", "history", "forge"]),
        never: IO,
        asynchronous: false,
    },
    Module { name: "telemetry", modules: Some(&["model", "clock"]), never: IO, asynchronous: false },
    Module { name: "shutdown", modules: Some(&[]), never: &[], asynchronous: true },
];

/// External crates that belong to one module.
const OWNED: &[(&str, &str)] = &[("cedar*", "guardrail"), ("ssh_key*", "signature"), ("pgp*", "signature")];

#[test]
fn modules_name_only_what_they_may() {
    let mut breaches = Vec::new();
    for (path, text) in sources() {
        breaches.extend(check(&path, &text));
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let lines = without_tests(&text).lines().count();
        if lines > MAX_LENGTH && !text.starts_with("//! Long:") {
            long.push(format!(
                "{} has {lines} lines; split it, or say why in a first line `//! Long: …`",
                path.display()
            ));
        }
    }
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn no_module_is_called_mod() {
    let found: Vec<PathBuf> =
        sources().into_iter().map(|(path, _)| path).filter(|path| path.ends_with("mod.rs")).collect();
    assert!(found.is_empty(), "use foo.rs with foo/ instead of {found:?}");
}

#[test]
fn this_test_can_fail() {
    let breaches = |path: &str, text: &str| check(Path::new(path), text).len();
    assert_eq!(breaches("crates/core/src/model/pin.rs", "use crate::plan::Action;"), 1);
    assert_eq!(breaches("crates/core/src/plan/decide.rs", "fn f() { crate::manifest::read() }"), 1);
    assert_eq!(breaches("crates/core/src/plan/decide.rs", "use crate::ports::Apply;"), 1);
    assert_eq!(breaches("crates/core/src/plan.rs", "async fn f() {}"), 1);
    assert_eq!(breaches("crates/core/src/plan.rs", "use cedar_policy::Entity;"), 1);
    assert_eq!(breaches("src/reconcile.rs", "use axum::Router;\nuse cedar_policy::Entity;"), 2);
    assert_eq!(breaches("src/history.rs", "use crate::{\n    aws::Client,\n    clock::Clock,\n};"), 1);
    assert_eq!(breaches("src/server.rs", "use super::reconcile;"), 1);
    assert_eq!(breaches("src/server/page.rs", "use super::super::git::Poll;"), 1);

    assert_eq!(
        breaches("crates/core/src/plan.rs", "use crate::model::{Target, State};\nuse crate::guardrail::Fleet;"),
        0
    );
    assert_eq!(
        breaches("crates/core/src/plan.rs", "// use tokio\n/// see crate::aws::x\nconst X: &str = \"crate::git::y\";"),
        0
    );
    assert_eq!(breaches("crates/core/src/plan.rs", "mod a;\n#[cfg(test)]\nmod tests { use tokio::x; }"), 0);
    assert_eq!(breaches("src/cli/run.rs", "use crate::{aws, git, reconcile};"), 0);
    assert_eq!(breaches("crates/aws/src/apply.rs", "use aws_sdk_ecs::Client;\nuse pinion_core::ports::Apply;"), 0);
}

/// The breaches in one file, whose path is relative to the repository.
fn check(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    // The other crates have Cargo's walls alone.
    let Ok(path) = path.strip_prefix("src").or_else(|_| path.strip_prefix("crates/core/src")) else {
        return Vec::new();
    };
    let name = module_of(path);
    let code = code(without_tests(text));
    let paths = paths(&code);
    let mut breaches = BTreeSet::new();
    let mut breach = |what: String| breaches.insert(format!("{shown}: {name} {what}"));
    let depth = path.components().count();
    let module = MODULES.iter().find(|module| module.name == name);
    for path in &paths {
        let Some(first) = path.first() else { continue };
        let inner: &[String] = match first.as_str() {
            "crate" => &path[1..],
            // `super` as often as the file is deep leads to the crate's root.
            "super" if path.iter().take_while(|part| *part == "super").count() >= depth => &path[depth..],
            "super" | "self" => continue,
            external => {
                for (owned, owner) in OWNED {
                    if matches(owned, external) && name != *owner {
                        breach(format!("names {external}, which only {owner} may"));
                    }
                }
                if module.is_some_and(|module| module.never.iter().any(|never| matches(never, external))) {
                    breach(format!("may not name {external}"));
                }
                continue;
            }
        };
        let (Some(other), Some(module)) = (inner.first(), module) else { continue };
        let known = ["aws", "cli", "clock", "git"].contains(&other.as_str())
            || MODULES.iter().any(|module| module.name == other);
        if other == name || !known {
            continue;
        }
        if module.modules.is_some_and(|modules| !modules.contains(&other.as_str())) {
            breach(format!("may not name crate::{other}"));
        }
    }
    if module.is_some_and(|module| !module.asynchronous) {
        for word in ["async", "await"] {
            if words(&code).any(|found| found == word) {
                breach(format!("says `{word}` but is synchronous"));
            }
        }
    }
    breaches.into_iter().collect()
}

/// `name` is the pattern, or begins with what stands before the pattern's `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// `plan/action.rs` and `plan.rs` are in the module `plan`.
fn module_of(path: &Path) -> &str {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first)
}

/// All sources with their paths relative to the repository; files that hold nothing but tests are left out.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if stem == "tests" {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.strip_prefix(root).unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join("src"), root, &mut found);
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        walk(&entry.unwrap().path().join("src"), root, &mut found);
    }
    assert!(found.len() > 20, "the sources are found");
    found.sort();
    found
}

/// The text before its test module, which by custom comes last.
fn without_tests(text: &str) -> &str {
    let mut at = 0;
    while let Some(found) = text[at..].find("#[cfg(test)]") {
        let start = at + found;
        let mut rest = text[start + "#[cfg(test)]".len()..].trim_start();
        while rest.starts_with("#[") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        }
        // `mod tests;` is one line among others; `mod tests {` is the end.
        if rest.starts_with("mod ") && rest.split_once('\n').map_or(rest, |(line, _)| line).contains('{') {
            return &text[..start];
        }
        at = start + 1;
    }
    text
}

/// The text with comments and string literals blanked.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest).filter(|_| !code.ends_with(is_word)) {
            length
        } else if first == '"' {
            string(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find('\'').map_or(rest.len(), |end| end + 2)
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

/// The length of the string literal at the start.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the raw string literal at the start, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |found| start + found + end.len()))
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character| !is_word(character)).filter(|word| !word.is_empty())
}

/// All paths of two and more parts, and all that `use` names; groups in braces are spelt out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    let mut used = false;
    while let Some(start) = rest.find(is_word) {
        rest = &rest[start..];
        let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        let word = &rest[..end];
        let after = rest[end..].trim_start();
        if used || after.starts_with("::") {
            rest = &rest[path(rest, &mut Vec::new(), &mut paths)..];
            used = false;
        } else {
            used = word == "use";
            rest = &rest[end..];
        }
    }
    paths
}

/// Reads one path, or one branch of a group, behind `prefix`; returns how much was read.
fn path(text: &str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') && !prefix.is_empty() {
            at += 1;
            loop {
                let read = path(&text[at..], prefix, paths);
                at += read;
                at += text[at..].find([',', '}']).map_or(text.len() - at, |found| found + 1);
                if text[..at].ends_with('}') || at >= text.len() {
                    break;
                }
            }
            break;
        }
        let end = text[at..].find(|character| !is_word(character)).unwrap_or(text.len() - at);
        if end == 0 {
            break;
        }
        prefix.push(text[at..at + end].to_owned());
        at += end;
        let blank = text[at..].len() - text[at..].trim_start().len();
        if !text[at + blank..].starts_with("::") {
            paths.push(prefix.clone());
            break;
        }
        at += blank + 2;
    }
    if at > 0 && prefix.len() > depth && paths.last().is_none_or(|last| !last.starts_with(prefix)) {
        paths.push(prefix.clone());
    }
    prefix.truncate(depth);
    at
}
