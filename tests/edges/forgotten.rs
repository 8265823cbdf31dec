//! Every source file is compiled: Cargo looks for no tests by itself here, and a file that no `mod` names would be silently
//! left out, with all the tests in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::code;

#[test]
fn no_file_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut packages = vec![root.to_owned()];
    packages.extend(fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path()));
    let mut forgotten = Vec::new();
    for package in packages {
        let (mut there, mut reached) = (BTreeSet::new(), BTreeSet::new());
        for folder in ["src", "tests"] {
            files(&package.join(folder), &mut there);
        }
        for target in targets(&package) {
            follow(&target, true, &mut reached);
        }
        forgotten.extend(there.difference(&reached).cloned());
    }
    assert!(forgotten.is_empty(), "no `mod` leads to these, and so nothing compiles them: {forgotten:#?}");
}

#[test]
fn a_forgotten_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "Cargo.toml",
        "[package]\nname = \"x\"\nautotests = false\n[[test]]\nname = \"it\"\npath = \"tests/main.rs\"",
    );
    write(
        "tests/main.rs",
        "pub(super) mod there;\n// mod commented;\nmod inner {\n    mod deep;\n}\n#[path = \"by/path.rs\"]\nmod other;\n",
    );
    for reached in ["there", "there/below", "inner/deep", "by/path"] {
        write(&format!("tests/{reached}.rs"), if reached == "there" { "pub(crate) mod below;" } else { "" });
    }
    for forgotten in ["commented", "there/left", "alone"] {
        write(&format!("tests/{forgotten}.rs"), "");
    }
    let (mut there, mut reached) = (BTreeSet::new(), BTreeSet::new());
    files(&folder.path().join("tests"), &mut there);
    for target in targets(folder.path()) {
        follow(&target, true, &mut reached);
    }
    let left: Vec<&str> = there
        .difference(&reached)
        .map(|path| path.strip_prefix(folder.path().join("tests")).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(left, ["alone.rs", "commented.rs", "there/left.rs"]);
}

/// All Rust files below a folder.
fn files(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path);
        }
    }
}

/// What Cargo compiles of a package: the files that the manifest names, and those that Cargo finds by itself.
fn targets(package: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let mut found: Vec<PathBuf> = ["src/lib.rs", "src/main.rs"].map(|path| package.join(path)).into();
    for target in manifest.get("test").and_then(toml::Value::as_array).into_iter().flatten() {
        found.push(package.join(target["path"].as_str().unwrap()));
    }
    let by_itself = manifest["package"].get("autotests").and_then(toml::Value::as_bool) != Some(false);
    if let Ok(entries) = fs::read_dir(package.join("tests"))
        && by_itself
    {
        found.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    found.retain(|path| path.exists());
    found
}

/// Adds a file and all that its `mod`s lead to. `root`: its modules lie beside it, not in a folder of its name.
fn follow(file: &Path, root: bool, reached: &mut BTreeSet<PathBuf>) {
    let Ok(text) = fs::read_to_string(file) else { return };
    if !reached.insert(file.to_owned()) {
        return;
    }
    let beside = file.parent().unwrap();
    let folder = if root { beside.to_owned() } else { file.with_extension("") };
    // The modules with a body around the line.
    let mut within: Vec<String> = Vec::new();
    let mut paths = text.lines().filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"));
    let mut path = None;
    for line in code(&text).lines() {
        if line.trim().starts_with("#[path = ") {
            path = paths.next();
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let declared = match words.as_slice() {
            ["mod", name @ ..] | [_, "mod", name @ ..] => Some(name.join(" ")),
            _ => None,
        };
        if line.trim() == "}" && line.len() == 4 * within.len().saturating_sub(1) + 1 {
            within.pop();
        }
        let Some(name) = declared else { continue };
        if let Some(name) = name.strip_suffix(" {") {
            within.push(name.to_owned());
        } else if let Some(name) = name.strip_suffix(';') {
            let inner = within.iter().fold(folder.clone(), |folder, module| folder.join(module));
            match path {
                Some(path) => follow(&beside.join(path), true, reached),
                None => follow(&inner.join(format!("{name}.rs")), false, reached),
            }
        }
        path = None;
    }
}
