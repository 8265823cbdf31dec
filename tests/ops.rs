//! What operators get: the alerts with their runbook, the Helm chart, the ways to install, and the workflows that make a release. The
//! tools that will use them judge them; Python, from `make setup`, drives most of those.

mod arrival;
mod scrape;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use pinion::config::{Config, Overrides};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs a script of tests/ops and gives back what it prints.
fn script(name: &str, argument: Option<&str>) -> String {
    let tools = std::env::var_os("PINION_TOOLS").map_or_else(|| Path::new(ROOT).join(".tools"), PathBuf::from);
    let python = tools.join("python/bin/python");
    let output = Command::new(&python)
        .arg(Path::new(ROOT).join("tests/ops").join(name))
        .args(argument)
        .env("PINION_BIN", env!("CARGO_BIN_EXE_pinion"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap_or_else(|error| panic!("can't start {}: {error}; `make setup` installs it", python.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} fails:\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn alerts() {
    script("alerts.py", None);
}

#[test]
fn the_dashboard_and_the_alerts_look_at_what_there_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), scrape::of_everything()).unwrap();
    script("dashboard.py", Some(file.path().to_str().unwrap()));
}

#[test]
fn chart() {
    script("chart.py", None);
}

#[test]
fn pages() {
    script("pages.py", None);
}

#[test]
fn workflows() {
    script("workflows.py", None);
}

#[test]
fn install() {
    script("install.py", None);
}

#[test]
fn the_way_to_a_first_release_is_as_its_page_says() {
    script("first.py", None);
}

#[test]
fn pinion_takes_the_configurations_of_the_chart_and_the_documentation() {
    let mut read = 0;
    for name in ["chart.py", "install.py"] {
        let texts: BTreeMap<String, String> = serde_json::from_str(&script(name, Some("render"))).unwrap();
        for (from, text) in texts {
            let path = Path::new("/etc/pinion/pinion.toml");
            let config = Config::parse(path, text.as_bytes(), &Overrides::default(), &|_| Some("token".to_owned()));
            assert!(config.is_ok(), "{from}: {config:?}\n{text}");
            read += 1;
        }
    }
    assert!(read >= 4, "only {read} were read");
}
