//! Words that don't come back: the field has others for them, or a reader has to read them twice. CHANGELOG.md may name them, as it
//! lists what was renamed.

use std::fs;
use std::path::{Path, PathBuf};

use super::{sources, without_tests};

/// Each with what to write instead.
const GONE: &[(&str, &str)] = &[
    ("anew", "again"),
    ("brake", "change limit"),
    ("brakes", "change limits"),
    ("heed", "honor, follow"),
    ("heeded", "honored, followed"),
    ("heeds", "honors, follows"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mending", "fixing"),
    ("mends", "fixes"),
    ("misfit", "architecture mismatch"),
    ("misfits", "architecture mismatches"),
    ("stand-in", "simulator"),
    ("stand-ins", "simulators"),
    ("stranger", "somebody else, untrusted"),
    ("strangers", "others, untrusted"),
    ("underway", "in progress"),
    ("unheeded", "ignored"),
    ("whoever", "anyone who, the one who"),
];

/// Where people read besides the sources.
const READ: &[&str] = &[
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "charts",
    "schemas",
    "environments",
    "policies",
    ".ci",
    ".github",
    "Makefile",
    "Dockerfile",
];

#[test]
fn no_word_has_come_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<(PathBuf, String)> =
        sources().into_iter().map(|(path, text)| (path, without_tests(&text).to_owned())).collect();
    READ.iter().for_each(|name| read(&root.join(name), root, &mut texts));
    assert!(texts.len() > 300, "only {} files are found", texts.len());
    let back: Vec<String> = texts
        .iter()
        .flat_map(|(path, text)| found(text).map(move |(line, word)| format!("{}:{line}: {word}", path.display())))
        .collect();
    assert!(back.is_empty(), "{GONE:?}:\n{}", back.join("\n"));
}

#[test]
fn a_word_that_comes_back_is_found() {
    let words = |text: &str| found(text).map(|(line, word)| format!("{line} {word}")).collect::<Vec<_>>();
    assert_eq!(
        words("fine\nMend it, whoever you are.\nA stand-in, unheeded"),
        ["2 mend", "2 whoever", "3 stand-in", "3 unheeded"]
    );
    assert!(words("we recommend an amended standing order; broken brakeman").is_empty());
}

/// The words of a text that are gone, each with its line.
fn found(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    text.lines().enumerate().flat_map(|(line, text)| {
        let lower = text.to_lowercase();
        let words: Vec<String> =
            lower.split(|at: char| !(at.is_alphanumeric() || at == '_' || at == '-')).map(str::to_owned).collect();
        words
            .into_iter()
            .filter_map(move |word| GONE.iter().find(|(gone, _)| *gone == word).map(|(gone, _)| (line + 1, *gone)))
    })
}

/// All texts below a path; what isn't text is left out.
fn read(path: &Path, root: &Path, texts: &mut Vec<(PathBuf, String)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            read(&entry.unwrap().path(), root, texts);
        }
    } else if let Ok(text) = fs::read_to_string(path) {
        texts.push((path.strip_prefix(root).unwrap().to_owned(), text));
    }
}
