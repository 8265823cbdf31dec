//! Push events at `/hooks/git`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use pinion::config::hmac_sha256;
use pinion::model::hex::hex;
use serde_json::json;
use tempfile::TempDir;

use crate::support::shop::{self, DEV};
use crate::support::stage::process::now;
use crate::support::stage::{Git, Stage, http};
use crate::support::turn;

const SECRET: &str = "hook-secret-0123456789";

/// A stage where nothing but a push event makes Pinion poll.
fn stage(secrets: &TempDir, speed: f64) -> Stage {
    let file = secrets.path().join("hook-secret");
    std::fs::write(&file, format!("the-next-secret\n{SECRET}\n")).unwrap();
    let stage = Stage::of(&shop::world())
        .environments(shop::environments())
        .git(Git::http_with_token("ghp_shop_0123456789"))
        .configured_with(&format!("[hooks]\nsecret_file = {:?}\n", file.display().to_string()))
        .speed(speed)
        .polling_every("1h")
        .start();
    stage.wait_for_sync(&["dev/fargate/api", "prod/fargate/api"]);
    stage
}

fn event(stage: &Stage, branch: &str) -> String {
    let repository = json!({
        "full_name": "acme/environments",
        "clone_url": stage.git_url(),
        "html_url": stage.git_url().trim_end_matches(".git"),
    });
    json!({ "ref": format!("refs/heads/{branch}"), "repository": repository, "commits": [] }).to_string()
}

fn signed(secret: &str, body: &str) -> String {
    format!("sha256={}", hex(&hmac_sha256(secret.as_bytes(), body.as_bytes())))
}

/// Sends an event; the answer's status, its head and its body.
fn send(stage: &Stage, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let (head, answer) = http::answer("POST", &stage.url("/hooks/git"), headers, body).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), answer)
}

fn push(stage: &Stage, body: &str) -> (u16, String, String) {
    let signature = signed(SECRET, body);
    let headers =
        [("Content-Type", "application/json"), ("X-GitHub-Event", "push"), ("X-Hub-Signature-256", signature.as_str())];
    send(stage, &headers, body)
}

/// How often Git was asked where its branches are, since the last time.
fn polls(stage: &Stage) -> usize {
    let requests = stage.git_server().requests();
    requests.iter().filter(|request| request.command.as_deref() == Some("ls-refs")).count()
}

fn counted(stage: &Stage, result: &str) -> u32 {
    stage.metric(&format!("pinion_hooks_total{{result=\"{result}\"}}")).unwrap_or_default() as u32
}

/// How many of these are within two seconds.
fn quick(took: &[Duration]) -> usize {
    took.iter().filter(|took| **took < Duration::from_secs(2)).count()
}

#[test]
fn a_push_is_acted_on_within_two_seconds() {
    let _turn = turn::mine();
    let secrets = TempDir::new().unwrap();
    let stage = stage(&secrets, 1.0);
    // Twice, of five pushes: a machine that is busy with other tests may be late by itself. Without the pushes it takes an hour.
    let (mut pushes, mut took) = (0, Vec::new());
    for version in ["1.1.0", "1.2.0", "1.1.0", "1.2.0", "1.1.0"] {
        let from = stage.last();
        let began = now();
        stage.pin("dev", "backend", version);
        let pushed = now();
        assert_eq!(push(&stage, &event(&stage, "main")).0, 202);
        let mut writes = stage.writes(from);
        while writes.is_empty() {
            assert!(pushed.elapsed() < Duration::from_secs(20), "nothing was written");
            std::thread::sleep(Duration::from_millis(5));
            writes = stage.writes(from);
        }
        let (acted, whole) = (pushed.elapsed(), began.elapsed());
        pushes += 1;
        took.push(acted);
        println!(
            "from the push event to {}: {} ms; from before `git push`: {} ms",
            writes[0].operation,
            acted.as_millis(),
            whole.as_millis()
        );
        stage.wait_for("dev/fargate/api", "rolling-out");
        if quick(&took) == 2 {
            break;
        }
    }
    assert!(quick(&took) == 2, "{took:?}");
    assert!(polls(&stage) > pushes);
    assert_eq!(counted(&stage, "polled") as usize, pushes);
}

/// A push that suspends an environment: the rollout under way ends by itself, and nothing else is written to it until it is
/// resumed. The other environment goes on.
#[test]
fn a_push_that_suspends_comes_to_a_standstill() {
    let _turn = turn::mine();
    let secrets = TempDir::new().unwrap();
    let stage = stage(&secrets, 10.0);
    for (key, value) in [("user.name", "Ada Example"), ("user.email", "ada@example.com")] {
        stage.repo().git(&["config", key, value]);
    }
    let work = stage.repo().work().display().to_string();
    let commits = |arguments: &[&str]| {
        let output = stage.run(&[arguments, &["-e", "dev", "--dir", &work, "--push"]].concat());
        assert!(output.status.success(), "{output:?}");
        assert_eq!(push(&stage, &event(&stage, "main")).0, 202);
    };
    let releases = |environment: &str, version: &str| {
        stage.pin(environment, "backend", version);
        assert_eq!(push(&stage, &event(&stage, "main")).0, 202);
    };
    let mut took = Vec::new();
    // Twice, of five: a machine that is busy with other tests may be late by itself.
    for version in ["1.1.0", "1.2.0", "1.1.0", "1.2.0", "1.1.0"] {
        let from = stage.last();
        releases("dev", version);
        // Suspended any sooner, it wouldn't begin.
        stage.wait_until("it rolls out", |stage| stage.written(from).contains(&"UpdateService".to_owned()));
        commits(&["suspend", "--for", "9h", "--reason", "an incident"]);
        let pushed = now();
        stage.wait_for("dev/fargate/api", "suspended");
        took.push(pushed.elapsed());
        println!("from the push event to standstill: {} ms", pushed.elapsed().as_millis());
        let from = stage.last();
        releases("dev", "1.0.0");
        stage.wait_until("the rollout under way has ended", |stage| shop::runs(stage, DEV, version));
        assert!(stage.run(&["resync", "--retry-quarantined"]).status.success());
        assert_eq!((stage.state("dev/fargate/api").as_str(), stage.written(from)), ("suspended", Vec::new()));
        let reason = stage.reason("dev/fargate/api");
        assert!(
            reason.starts_with("suspended with its whole environment by Ada Example <ada@example.com>"),
            "{reason}"
        );
        commits(&["resume"]);
        stage.wait_until("it goes on", |stage| shop::runs(stage, DEV, "1.0.0"));
        stage.wait_for_sync(&["dev/fargate/api"]);
        if quick(&took) == 2 {
            break;
        }
    }
    assert!(quick(&took) == 2, "{took:?}");
    assert_eq!(stage.state("prod/fargate/api"), "in-sync");
}

#[test]
fn only_signed_pushes_to_what_is_followed_make_it_poll() {
    let secrets = TempDir::new().unwrap();
    let stage = stage(&secrets, 60.0);
    polls(&stage);
    let main = event(&stage, "main");
    let json = ("Content-Type", "application/json; charset=utf-8");
    let signature = signed(SECRET, &main);
    type Refused<'a> = (&'a [(&'a str, &'a str)], u16, &'a str);
    let refused: [Refused<'_>; 7] = [
        (&[json], 401, "isn't signed"),
        (&[json, ("X-Hub-Signature-256", "sha256=00")], 401, "is wrong"),
        (&[json, ("X-Hub-Signature", "sha1=00")], 401, "isn't signed"),
        (&[json, ("X-Gitlab-Token", "hook-secret")], 401, "is wrong"),
        (&[json, ("X-Gitea-Signature", signature.as_str())], 401, "is wrong"),
        (&[("X-Hub-Signature-256", signature.as_str())], 415, "application/json"),
        (
            &[("Content-Type", "application/x-www-form-urlencoded"), ("X-Hub-Signature-256", signature.as_str())],
            415,
            "JSON",
        ),
    ];
    for (headers, status, says) in refused {
        let (answered, _, answer) = send(&stage, headers, &main);
        assert!(answered == status && answer.contains(says), "{headers:?}: {answered} {answer}");
    }
    let long = format!("{{\"ref\":\"{}\"}}", "x".repeat(1024 * 1024));
    assert_eq!(push(&stage, &long).0, 413);
    assert_eq!(push(&stage, "[]").0, 400);
    assert_eq!((counted(&stage, "denied"), counted(&stage, "invalid")), (5, 4));

    let elsewhere = main.replace("/environments", "/elsewhere");
    let tag = main.replace("refs/heads/main", "refs/tags/v1");
    for (body, says) in [
        (event(&stage, "dev"), "branch is not followed"),
        (elsewhere, "repository is not followed"),
        (tag, "no push to a branch"),
        (r#"{"zen":"Keep it logically awesome.","hook_id":1}"#.to_owned(), "no push to a branch"),
    ] {
        let (status, _, answer) = push(&stage, &body);
        assert!(status == 202 && answer.contains("\"ignored\"") && answer.contains(says), "{answer}");
    }
    assert_eq!(counted(&stage, "ignored"), 4);
    assert_eq!(polls(&stage), 0, "none of these was a reason to poll");

    // Each forge's own way, and the secret that is about to be the one.
    let (gitea, next) = (hex(&hmac_sha256(SECRET.as_bytes(), main.as_bytes())), signed("the-next-secret", &main));
    for header in [
        ("X-Hub-Signature-256", signature.as_str()),
        ("X-Gitea-Signature", gitea.as_str()),
        ("X-Gitlab-Token", SECRET),
        ("X-Hub-Signature-256", next.as_str()),
    ] {
        let (status, _, answer) = send(&stage, &[json, header], &main);
        assert!(status == 202 && answer.contains("\"polled\""), "{header:?}: {answer}");
    }
    stage.wait_until("it polls", |stage| polls(stage) > 0);
    stage.pin("dev", "backend", "1.1.0");
    assert_eq!(push(&stage, &main).0, 202);
    stage.wait_until("dev runs 1.1", |stage| shop::runs(stage, DEV, "1.1.0"));
    let log = stage.logged();
    assert!(!log.contains(SECRET) && !log.contains("the-next-secret"), "no secret is logged");
}

#[test]
fn many_pushes_are_one_poll_and_too_many_are_put_off() {
    let secrets = TempDir::new().unwrap();
    let stage = stage(&secrets, 60.0);
    polls(&stage);
    let body = event(&stage, "main");
    let began = now();
    let answers: Vec<_> = (0..60).map(|_| push(&stage, &body)).collect();
    let took = began.elapsed();
    let taken = answers.iter().filter(|(status, _, _)| *status == 202).count();
    let limited: Vec<_> = answers.iter().filter(|(status, _, _)| *status == 429).collect();
    assert!(taken >= 30 && taken + limited.len() == 60, "{taken} of 60");
    assert!(!limited.is_empty() && limited.iter().all(|(_, head, _)| head.contains("retry-after: 1")), "{limited:?}");
    let polled = std::cell::Cell::new(0);
    stage.wait_until("it polls", |stage| {
        polled.set(polled.get() + polls(stage));
        polled.get() > 0
    });
    let polled = polled.get();
    assert!(polled <= 2 + took.as_secs() as usize, "{polled} polls for {taken} pushes in {took:?}");
    println!("60 push events in {} ms: {taken} taken, {polled} polls", took.as_millis());

    // Others can't use up what the forge may send.
    for _ in 0..50 {
        assert_eq!(send(&stage, &[("Content-Type", "application/json")], &body).0, 401);
    }
    stage.wait_until("the forge is heard again", |stage| push(stage, &body).0 == 202);
}

/// Sends the head of an event and nothing of its body, and leaves it at that.
fn hanging(stage: &Stage, header: &str) -> TcpStream {
    let url = stage.url("/");
    let mut stream = TcpStream::connect(url.trim_start_matches("http://").trim_end_matches('/')).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let json = "Content-Type: application/json\r\nContent-Length: 4096";
    let head = format!("POST /hooks/git HTTP/1.1\r\nHost: pinion\r\n{json}\r\n{header}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn first_line(stream: TcpStream) -> String {
    BufReader::new(stream).lines().next().unwrap().unwrap()
}

#[test]
fn bodies_that_come_slowly_keep_nobody_out() {
    let secrets = TempDir::new().unwrap();
    let stage = stage(&secrets, 60.0);
    // A sender who doesn't seem to sign is refused before their body is waited for.
    for header in ["X-GitHub-Event: push", "X-Hub-Signature-256: sha256=00", "X-Gitlab-Token: guessed"] {
        let streams: Vec<_> = (0..20).map(|_| hanging(&stage, header)).collect();
        for stream in streams {
            assert_eq!(first_line(stream), "HTTP/1.1 401 Unauthorized", "{header}");
        }
    }
    assert_eq!(counted(&stage, "denied"), 60);
    // One who does has to wait for their body, but not at the cost of one that comes at once.
    let header = format!("X-Hub-Signature-256: sha256={}", "0".repeat(64));
    let began = now();
    let mut streams: Vec<_> = (0..40).map(|_| hanging(&stage, &header)).collect();
    stage.wait_until("the oldest make room", |stage| counted(stage, "limited") == 24);
    assert_eq!(push(&stage, &event(&stage, "main")).0, 202);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?} is as long as a body may take");
    assert_eq!(first_line(streams.remove(0)), "HTTP/1.1 429 Too Many Requests");
    let last = streams.pop().unwrap();
    drop(streams);
    assert_eq!(first_line(last), "HTTP/1.1 408 Request Timeout");
}

#[test]
fn without_a_secret_nobody_is_heard() {
    let stage = Stage::of(&shop::world()).environments(shop::environments()).start();
    let body = "{}";
    let signature = signed("", body);
    let headers = [("Content-Type", "application/json"), ("X-Hub-Signature-256", signature.as_str())];
    let (status, _, answer) = send(&stage, &headers, body);
    assert!(status == 403 && answer.contains("[hooks]"), "{status} {answer}");
}
