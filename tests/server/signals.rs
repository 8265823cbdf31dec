use std::process::Command;
use std::time::Duration;

use pinion::shutdown::{Signal, listen};

/// Set in the process that gets the signals.
const CHILD: &str = "PINION_TEST_SIGNALS";

fn send(signal: &str) {
    let me = std::process::id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &me]).status().unwrap().success());
}

// One test, in a process of its own: a process has its signals only once, and those that stop it would else reach all tests.
#[tokio::test]
async fn signals_ask_and_end() {
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "server::signals::signals_ask_and_end", "--nocapture"]).env(CHILD, "1");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        return;
    }
    let mut signals = listen().unwrap();
    for (name, signal) in [("HUP", Signal::Reload), ("USR1", Signal::Resync), ("USR2", Signal::ResyncRetrying)] {
        send(name);
        let received = tokio::time::timeout(Duration::from_secs(5), signals.requests.recv()).await.unwrap();
        assert_eq!(received, Some(signal));
    }
    assert!(!signals.stop.is_cancelled());
    send("TERM");
    tokio::time::timeout(Duration::from_secs(5), signals.stop.cancelled()).await.unwrap();
    assert!(!signals.abort.is_cancelled(), "the first one leaves time");
    send("INT");
    tokio::time::timeout(Duration::from_secs(5), signals.abort.cancelled()).await.unwrap();
}
