use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pinion::model::event::{EventKind, EventRecord};
use pinion::model::status::Status;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::sample::{self, Controller, TOKEN, client, now};

#[tokio::test]
async fn what_is_read_needs_no_secret() {
    let controller = Controller::start(sample::status(), Some(TOKEN)).await;
    let health = controller.get("/healthz").await;
    assert_eq!((health.status().as_u16(), health.text().await.unwrap().as_str()), (200, "ok\n"));
    let status: Status = controller.get("/api/v1/status").await.json().await.unwrap();
    assert_eq!(status, sample::status());
    let scrape = controller.get("/metrics").await;
    assert_eq!(scrape.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(scrape.text().await.unwrap().contains("pinion_resync_requested 3\n"));
    let page = controller.get("/").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(page.contains("prod/asg/web") && page.contains("1 of 3 targets needs attention"), "{page}");
    for (path, kind) in [("/style.css", "text/css"), ("/page.js", "text/javascript"), ("/icon.svg", "image/svg+xml")] {
        let asset = controller.get(path).await;
        assert!(asset.status().is_success() && asset.headers()["content-type"].to_str().unwrap().starts_with(kind));
    }
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_take_that() {
    let controller = Controller::start(sample::status(), Some(TOKEN)).await;
    for path in ["/", "/metrics", "/api/v1/status", "/style.css"] {
        let url = controller.url(path);
        let plain = client().get(&url).send().await.unwrap();
        assert_eq!(plain.headers().get("content-encoding"), None);
        let plain = plain.bytes().await.unwrap();
        let packed = client().get(&url).header("accept-encoding", "br, gzip;q=0.9").send().await.unwrap();
        assert_eq!(packed.headers()["content-encoding"], "gzip", "{path}");
        assert!(packed.headers()["vary"].to_str().unwrap().contains("accept-encoding"), "{path}");
        assert_eq!(packed.headers()["x-content-type-options"], "nosniff");
        let packed = packed.bytes().await.unwrap();
        assert!(2 * packed.len() < plain.len(), "{path}: {} of {} bytes", packed.len(), plain.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        // Times differ.
        assert_eq!(unpacked.len() / 100, plain.len() / 100, "{path}");
        let refused = client().get(&url).header("accept-encoding", "gzip;q=0, identity").send().await.unwrap();
        assert_eq!(refused.headers().get("content-encoding"), None, "{path}");
    }
    let short = client().get(controller.url("/healthz")).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(short.headers().get("content-encoding"), None);
    assert_eq!(short.text().await.unwrap(), "ok\n");
}

#[tokio::test]
async fn the_page_escapes_untrusted_text() {
    let mut status = sample::status();
    let web = status.environments.get_mut("prod").unwrap().targets.get_mut("asg/web").unwrap();
    web.pin.subject = "<script>alert('x')</script>".to_owned();
    web.pin.author = "\"><img src=x>".to_owned();
    web.desired = "1&2\u{202e}".to_owned();
    web.reason = Some("</table>".to_owned());
    let page = Controller::start(status, None).await.get("/").await.text().await.unwrap();
    for harmful in ["<script>", "<img src=x", "1&2", "\u{202e}"] {
        assert!(!page.contains(harmful), "{harmful} stands in {page}");
    }
    assert_eq!(page.matches("</table>").count(), 2, "one table for each environment");
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
}

#[tokio::test]
async fn readiness_waits_for_the_first_pass_and_says_whose() {
    let mut status = sample::status();
    status.ready = false;
    status.environments.get_mut("dev").unwrap().passes = 0;
    let controller = Controller::start(status, None).await;
    let answer = controller.get("/readyz").await;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.contains("environment dev: ec2:DescribeImages failed") && !text.contains("prod"), "{text}");
    controller.status.send_modify(|status| Arc::make_mut(status).ready = true);
    assert_eq!(controller.get("/readyz").await.status(), 200);
}

#[tokio::test]
async fn what_is_not_there_says_what_is() {
    let controller = Controller::start(sample::status(), Some(TOKEN)).await;
    for (answer, code, words) in [
        (controller.get("/nothing").await, 404, "/api/v1/status"),
        (controller.get("/api/v1/resync").await, 405, "POST"),
        (controller.post("/api/v1/status", None).await, 405, "GET"),
    ] {
        assert_eq!(answer.status(), code);
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(words), "{body}");
    }
}

#[tokio::test]
async fn a_resync_needs_the_token() {
    let closed = Controller::start(sample::status(), None).await;
    let empty = Controller::start(sample::status(), Some("")).await;
    let open = Controller::start(sample::status(), Some(TOKEN)).await;
    for (answer, code, words) in [
        (closed.post("/api/v1/resync", Some(TOKEN)).await, 403, "server.token_file"),
        (empty.post("/api/v1/resync", Some("")).await, 403, "server.token_file"),
        (open.post("/api/v1/resync", None).await, 401, "Authorization: Bearer"),
        (open.post("/api/v1/resync", Some("wrong horse")).await, 401, "wrong"),
        (open.post("/api/v1/resync", Some("correct hors")).await, 401, "wrong"),
    ] {
        assert_eq!(answer.status(), code);
        assert_eq!(answer.headers().contains_key("www-authenticate"), code == 401);
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(words), "{body}");
    }
    assert!(open.requests.retried.lock().unwrap().is_empty(), "nothing was asked for");

    let answer = open.post("/api/v1/resync", Some(TOKEN)).await;
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"number": 1, "completed": false}));
    let answer = open.post("/api/v1/resync?retry_quarantined=true", Some(TOKEN)).await;
    assert_eq!(answer.json::<Value>().await.unwrap()["number"], 2);
    assert_eq!(*open.requests.retried.lock().unwrap(), [false, true]);
}

#[tokio::test]
async fn a_waiting_resync_is_answered_when_all_environments_are_done() {
    let mut status = sample::status();
    status.resync.completed = 0;
    let controller = Controller::start(status, Some(TOKEN)).await;
    let url = controller.url("/api/v1/resync?wait=true");
    let waiting = tokio::spawn(client().post(url).bearer_auth(TOKEN).send());
    while controller.requests.retried.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!waiting.is_finished());
    controller.status.send_modify(|status| Arc::make_mut(status).resync.completed = 1);
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"number": 1, "completed": true}));
}

#[tokio::test]
async fn the_end_answers_who_waits_and_frees_the_port() {
    let mut status = sample::status();
    status.resync.completed = 0;
    let controller = Controller::start(status, Some(TOKEN)).await;
    let address = controller.running.address;
    let waiting = tokio::spawn(client().post(controller.url("/api/v1/resync?wait=true")).bearer_auth(TOKEN).send());
    while controller.requests.retried.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    controller.stop.cancel();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("stopping"));
    tokio::time::timeout(Duration::from_secs(5), controller.running.task).await.expect("the server ends").unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_out_of_bounds_is_refused() {
    let controller = Controller::start(sample::status(), Some(TOKEN)).await;
    let answer = controller.post("/api/v1/resync?quarantined=true", Some(TOKEN)).await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("retry_quarantined"));
    let large = client().post(controller.url("/api/v1/resync")).bearer_auth(TOKEN).body(vec![b'x'; 65 * 1024]);
    let large = large.send().await.unwrap();
    assert_eq!(large.status(), 413);
    let refusal: Value = large.json().await.unwrap();
    assert!(refusal["error"].as_str().unwrap().contains("length limit exceeded"), "{refusal}");
    assert!(controller.requests.retried.lock().unwrap().is_empty(), "nothing was asked for");
}

fn event(minute: i64, target: &str) -> EventRecord {
    EventRecord {
        at: now() - jiff::SignedDuration::from_mins(minute),
        kind: EventKind::Blocked,
        key: format!("{target}|{minute}"),
        environment: target.split('/').next().map(str::to_owned),
        target: Some(target.to_owned()),
        component: Some("frontend".to_owned()),
        version: Some("1.4.2".to_owned()),
        commit: Some(sample::COMMIT.to_owned()),
        ..EventRecord::default()
    }
}

#[tokio::test]
async fn the_history_is_read_in_pages_and_by_scope() {
    let controller = Controller::start(sample::status(), None).await;
    for minute in 1..=30 {
        controller.history.note(event(minute, if minute % 3 == 0 { "dev/asg/web" } else { "prod/asg/web" }));
    }
    controller.history.flush(Duration::from_secs(20)).await;
    let read = async |query: &str| -> Value {
        let answer = controller.get(&format!("/api/v1/history{query}")).await;
        assert_eq!(answer.status(), 200, "{query}");
        answer.json().await.unwrap()
    };
    let count = |page: &Value| page["events"].as_array().unwrap().len();
    let whole = read("").await;
    assert_eq!((count(&whole), &whole["next"], &whole["dropped"]), (30, &Value::Null, &json!(0)));
    assert_eq!(whole["events"][0]["at"], "2026-01-02T11:59:00Z", "the newest first");
    assert_eq!(whole["events"][0]["kind"], "blocked");
    let mut seen = Vec::new();
    let mut page = read("?limit=12").await;
    loop {
        seen.extend(page["events"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        page = read(&format!("?limit=12&before={next}")).await;
    }
    assert_eq!(Value::from(seen), whole["events"]);
    assert_eq!(count(&read("?environment=dev").await), 10);
    assert_eq!(count(&read("?target=prod/asg/web&since=15m").await), 10);
    assert_eq!(count(&read("?kind=blocked,drifted").await), 30);
    assert_eq!(count(&read("?kind=drifted").await), 0);
    assert_eq!(count(&read("?component=backend").await), 0);
    assert_eq!(count(&read("?limit=100000").await), 30);
    for (query, words) in [
        ("history?kind=exploded", "there are started, target-discovered"),
        ("history?since=yesterday", "7d"),
        ("history?before=x", "`next`"),
        ("history?limit=x", "`limit`"),
        ("history?limit=0", "`limit` is a number from 1 to 500, not `0`"),
        ("history?limit=-1", "`limit`"),
        ("history?limit=99999999999999999999", "`limit`"),
        ("history?since=9223372036854775807d", "is not a time"),
        ("history?until=1d", "this query can't be read: until: unknown field `until`"),
        ("history?color=red", "color"),
        ("dora?since=soon", "7d"),
        ("dora?target=x", "target"),
    ] {
        let answer = controller.get(&format!("/api/v1/{query}")).await;
        assert_eq!(answer.status(), 400, "{query}");
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(words), "{query}: {body}");
    }
    let figures: Value = controller.get("/api/v1/dora?since=7d").await.json().await.unwrap();
    assert_eq!(figures["since"], "2025-12-26T12:00:00Z");
    for path in ["/history", "/history?environment=prod&kind=blocked", "/targets/prod/asg/web", "/targets/gone/asg/x"] {
        assert_eq!(controller.get(path).await.status(), if path.contains("gone") { 404 } else { 200 }, "{path}");
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_is_answered_by_a_page() {
    let controller = Controller::start(sample::status(), None).await;
    for (path, words) in [
        ("/?q=a&q=b", "The filter in this address isn't valid."),
        ("/history?color=red", "start again at the history"),
        ("/history?since=1d&since=2d", "start again at the history"),
        ("/targets/prod/asg/web?before=1&before=2", "start again at the target"),
        ("/targets/prod/asg/web?before=x", "`next`"),
        ("/targets/prod/asg/%FF", "This isn't the name of a target."),
    ] {
        let answer = controller.get(path).await;
        assert_eq!(answer.status(), 400, "{path}");
        assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8", "{path}");
        let page = answer.text().await.unwrap().replace("&#39;", "'");
        assert!(page.contains(words) && page.contains("id=\"main\""), "{path}: {page}");
    }
}

#[tokio::test]
async fn a_page_that_is_as_before_is_not_sent_again() {
    let controller = Controller::start(sample::status(), None).await;
    let asked = async |path: &str, mark: &str| {
        client().get(controller.url(path)).header("if-none-match", mark).send().await.unwrap()
    };
    for path in ["/", "/history", "/targets/prod/asg/web"] {
        let mark = controller.get(path).await.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(asked(path, &mark).await.status(), 304, "{path}");
    }
    let mark = controller.get("/").await.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(asked("/?state=in-sync", &mark).await.status(), 200, "another filter is another page");
    let another_pass = |status: &mut Arc<Status>| {
        let prod = Arc::make_mut(status).environments.get_mut("prod").unwrap();
        prod.passes += 1;
        prod.targets.get_mut("asg/web").unwrap().observed = Some(now());
    };
    controller.status.send_modify(another_pass);
    assert_eq!(asked("/", &mark).await.status(), 304, "a pass that finds nothing new changes nothing");
    controller.status.send_modify(|status| {
        Arc::make_mut(status).environments.get_mut("prod").unwrap().targets.get_mut("asg/web").unwrap().updated += 1;
    });
    assert_eq!(asked("/", &mark).await.status(), 200);
}

/// A resync without the token, whose body never comes.
const STALLED: &[u8] = b"POST /api/v1/resync HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n";

/// What is answered to these bytes until the server closes the connection, within 5 s.
async fn answer(controller: &Controller, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(controller.running.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
    reading.await.expect("the answer comes at once").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_is_not_read_for_whom_the_head_refuses() {
    let controller = Controller::start(sample::status(), Some(TOKEN)).await;
    let refused = answer(&controller, STALLED).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let closed = Controller::start(sample::status(), None).await;
    let refused = answer(&closed, STALLED).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert_eq!(controller.requests.count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn health_is_told_while_everybody_else_stalls() {
    let controller = Controller::start(sample::status(), Some(TOKEN)).await;
    let mut stalled = Vec::new();
    for part in [STALLED, b"GET / HTTP/1.1\r\n", b""] {
        for _ in 0..60 {
            let mut stream = TcpStream::connect(controller.running.address).await.unwrap();
            stream.write_all(part).await.unwrap();
            stalled.push(stream);
        }
    }
    for path in ["healthz", "readyz"] {
        let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let told = answer(&controller, request.as_bytes()).await;
        assert!(told.starts_with("HTTP/1.1 200 "), "{path}: {told}");
    }
}

#[tokio::test]
async fn on_loopback_no_site_reads_by_a_name_of_its_own() {
    let controller = Controller::start(sample::status(), Some(TOKEN)).await;
    for path in ["/", "/api/v1/status", "/metrics", "/nothing"] {
        let rebound = client().get(controller.url(path)).header("host", "rebound.example:9780").send().await.unwrap();
        assert_eq!(rebound.status(), 421, "{path}");
        assert!(!rebound.text().await.unwrap().contains("prod"));
    }
    let local = client().get(controller.url("/")).header("host", "localhost:9780").send().await.unwrap();
    assert_eq!(local.status(), 200);
    // A push event is held to its signature instead.
    let event = client().post(controller.url("/hooks/git")).header("host", "hooks.example.com").send().await.unwrap();
    assert_eq!(event.status(), 403);
}
