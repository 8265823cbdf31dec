use std::process::Command;
use std::time::Duration;

use pinion::shutdown::{Signal, listen};

fn send(signal: &str) {
    let me = std::process::id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &me]).status().unwrap().success());
}

// One test, because a process has its signals only once.
#[tokio::test]
async fn signals_ask_and_end() {
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
