//! Prometheus' own opinion on a scrape.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// From where `make setup` puts it, or from the machine's packages.
fn promtool() -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let ours = std::env::var_os("PINION_TOOLS").map_or_else(here, PathBuf::from).join("prometheus/usr/bin/promtool");
    if ours.exists() { ours } else { PathBuf::from("promtool") }
}

/// Fails unless `promtool check metrics` has nothing at all to say of a scrape.
pub(crate) fn check(scrape: &str) {
    let mut child = Command::new(promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("can't start promtool: {error}; `make setup` installs it"));
    child.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim().is_empty(), "promtool says:\n{said}\nof:\n{scrape}");
}
