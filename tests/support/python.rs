//! Python from where `make setup` puts it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Python with arguments, to be started.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let tools = std::env::var_os("PINION_TOOLS").map_or_else(here, PathBuf::from);
    let mut command = Command::new(tools.join("python/bin/python"));
    command.args(arguments);
    command
}

/// Runs Python with arguments and an input; what it printed. Fails if Python does.
pub(crate) fn run(arguments: &[&str], input: &str) -> String {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("can't start Python: {error}; `make setup` installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // One that fails early doesn't read; its own words come below.
    let _ = writer.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "Python says:\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}
