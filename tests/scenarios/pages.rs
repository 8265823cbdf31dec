//! The pages in `docs/scenarios`: their files are good ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::stage::process::{Process, pinion};

/// The TOML files on a page: each block begins with a line that says the file's path.
fn files(page: &str) -> BTreeMap<String, String> {
    let blocks = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .map(|block| {
            let (path, text) = block.split_once('\n').unwrap();
            (path.trim_start_matches("# ").to_owned(), text.to_owned())
        })
        .collect()
}

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scenarios");
    let mut pages: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.file_name().is_some_and(|name| name != "README.md"));
    pages.sort();
    pages
}

#[test]
fn the_files_on_the_pages_are_good() {
    let pages = pages();
    assert_eq!(pages.len(), 5);
    for page in pages {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&std::fs::read_to_string(&page).unwrap());
        assert!(files.keys().any(|path| path.ends_with("/pins.toml")), "{} shows no pins", page.display());
        for (path, text) in &files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            // So that nothing on this page is ever reached from here.
            std::fs::write(path, text.replace("https://github.com/", "https://127.0.0.1:9/")).unwrap();
        }
        let output = pinion(folder.path()).args(["validate", "."]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("no findings"), "{}: {text}", page.display());

        if files.contains_key("pinion.toml") {
            // Good enough to start with.
            let mut command = pinion(folder.path());
            command.args(["run", "--listen", "127.0.0.1:0", "--cache-dir", "cache"]);
            let mut run = Process::start("pinion run", &mut command, folder.path().join("log"));
            run.wait_for("that it listens", 0, |log| log.contains("\"listening\"").then_some(()));
        }
    }
}
