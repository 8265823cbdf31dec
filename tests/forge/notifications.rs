//! Events over HTTP.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tempfile::TempDir;

use crate::support::forge::{Fault, Forge, Request, Speaks};
use crate::support::shop::{self, DEV};
use crate::support::stage::Stage;

const SECRET: &str = "notify-secret-0123456789";

/// A stage with two who are told: one of all in dev, in JSON and signed; one of what goes wrong, as Slack has it.
fn stage(receiver: &Forge, secrets: &TempDir) -> Stage {
    let secret = |name: &str, text: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let blocks = format!(
        "[[notify]]\nname = \"all\"\nurl = {:?}\nsecret_file = {:?}\nenvironments = [\"dev\"]\n\
         [[notify]]\nname = \"slack\"\nurl_file = {:?}\nformat = \"slack\"\nevents = [\"quarantined\"]\n",
        receiver.url("/webhook/all"),
        secret("secret", SECRET),
        secret("url", &receiver.url("/webhook/slack-T0123456789\n"))
    );
    let stage = Stage::of(&shop::world()).environments(shop::environments()).configured_with(&blocks).start();
    stage.wait_for_sync(&["dev/fargate/api", "prod/fargate/api"]);
    stage
}

/// Checks a notification as the documentation tells receivers to, and gives back its kind.
fn checked(request: &Request) -> String {
    let sent = request.header("x-pinion-timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{sent}.{}", request.body).as_bytes());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(request.header("x-pinion-signature-256"), format!("sha256={expected}"));
    let age = jiff::Timestamp::from_second(sent.parse().unwrap()).unwrap().duration_since(now());
    assert!(age.abs() < jiff::SignedDuration::from_mins(5), "{sent}");
    let body = request.json();
    assert_eq!(body["version"], 1);
    let kind = body["event"]["kind"].as_str().unwrap().to_owned();
    assert_eq!(request.header("x-pinion-event"), kind);
    assert!(body["summary"].as_str().is_some_and(|summary| summary.starts_with("dev/fargate/api: ")), "{body}");
    kind
}

fn now() -> jiff::Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a receiver has the real time")]
    jiff::Timestamp::now()
}

#[test]
fn a_release_and_a_failure_are_told_to_whom_they_concern() {
    let (receiver, secrets) = (Forge::speaking(Speaks::GitHub), TempDir::new().unwrap());
    let stage = stage(&receiver, &secrets);
    let good = stage.pin("dev", "backend", "1.1.0");
    stage.wait_until("it is in sync", |_| receiver.taken("/webhook/all").len() >= 4);
    let told = receiver.taken("/webhook/all");
    let kinds: Vec<_> = told.iter().map(checked).collect();
    assert_eq!(kinds, ["pin-changed", "rollout-started", "rollout-ended", "in-sync"]);
    let seen = told[0].json()["event"].clone();
    assert_eq!(seen["version"], "1.1.0");
    assert_eq!(seen["previous"], "1.0.0");
    assert_eq!(seen["commit"], good);
    assert_eq!(seen["author"], "Ada Example");
    let ended = told[2].json()["event"].clone();
    assert!(ended["result"] == "succeeded" && ended["seconds"].is_u64(), "{ended}");
    stage.pin("prod", "backend", "1.1.0");
    stage.wait_until("prod runs it", |stage| shop::runs(stage, shop::PROD, "1.1.0"));
    stage.wait_for_sync(&["prod/fargate/api"]);
    assert_eq!(receiver.taken("/webhook/all").len(), 4, "prod is none of their business");

    let hostile = "<!channel> <https://evil.example|click> & *bold* \u{202e}\u{1b}[2J";
    stage.commit(hostile, |repo| crate::support::stage::set_pin(repo, "dev", "backend", "2.0.0"));
    stage.wait_until("slack is told", |_| !receiver.taken("/webhook/slack-T0123456789").is_empty());
    let slack = receiver.taken("/webhook/slack-T0123456789");
    println!("{}", slack[0].body);
    let body = slack[0].json();
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("dev/fargate/api: 2.0.0 is quarantined: the rollout ended as"), "{text}");
    assert_eq!(body["blocks"][0]["text"]["text"], text);
    let context = body["blocks"][1]["elements"][0]["text"].as_str().unwrap();
    assert!(context.contains("&lt;!channel&gt; &lt;https://evil.example|click&gt; &amp;"), "{context}");
    assert!(!slack[0].body.contains(['<', '>', '\u{202e}', '\u{1b}']), "{}", slack[0].body);
    assert_eq!(slack[0].header("x-pinion-signature-256"), "", "no secret, no signature");
    stage.wait_until("all is told", |_| receiver.taken("/webhook/all").len() >= 8);
    let kinds: Vec<_> = receiver.taken("/webhook/all")[4..].iter().map(checked).collect();
    assert_eq!(kinds, ["pin-changed", "rollout-started", "rollout-ended", "quarantined"]);
    let log = stage.logged();
    assert!(!log.contains(SECRET) && !log.contains("T0123456789"), "neither secret is logged");
}

#[test]
fn what_cannot_be_sent_waits_in_its_order_and_a_restart_tells_nothing_twice() {
    let (receiver, secrets) = (Forge::speaking(Speaks::GitHub), TempDir::new().unwrap());
    let mut stage = stage(&receiver, &secrets);
    receiver.is_down(Some(Fault::Status(503)));
    stage.pin("dev", "backend", "1.1.0");
    stage.wait_until("dev runs it", |stage| shop::runs(stage, DEV, "1.1.0"));
    stage.wait_for_sync(&["dev/fargate/api"]);
    let queued = "pinion_notifications_queued{destination=\"all\"}";
    stage.wait_until("all of it waits", |stage| stage.metric(queued) >= Some(3.0));
    receiver.is_down(None);
    stage.wait_until("it is told", |_| receiver.taken("/webhook/all").len() >= 4);
    let kinds: Vec<_> = receiver.taken("/webhook/all").iter().map(checked).collect();
    assert_eq!(kinds, ["pin-changed", "rollout-started", "rollout-ended", "in-sync"]);
    stage.wait_until("nothing waits", |stage| stage.metric(queued) == Some(0.0));
    let sent = "pinion_notifications_total{destination=\"all\",result=\"sent\"}";
    assert_eq!(stage.metric(sent), Some(4.0));

    stage.kill_controller();
    stage.start_controller();
    stage.wait_for_sync(&["dev/fargate/api", "prod/fargate/api"]);
    stage.settles();
    stage.stays("nothing is told again", Duration::from_secs(1), |_| receiver.taken("/webhook/all").len() == 4);
}
