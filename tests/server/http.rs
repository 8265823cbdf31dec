use std::sync::Arc;
use std::time::Duration;

use pinion::model::status::Status;
use serde_json::{Value, json};

use crate::sample::{self, Controller, TOKEN, client};

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
    assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(page.contains("prod/asg/web") && page.contains("1 of 3 targets in sync"), "{page}");
    assert!(controller.get("/style.css").await.status().is_success());
}

#[tokio::test]
async fn the_page_escapes_what_strangers_write() {
    let mut status = sample::status();
    let web = status.environments.get_mut("prod").unwrap().targets.get_mut("asg/web").unwrap();
    web.pin.subject = "<script>alert('x')</script>".to_owned();
    web.pin.author = "\"><img src=x>".to_owned();
    web.desired = "1&2\u{202e}".to_owned();
    web.reason = Some("</table>".to_owned());
    let page = Controller::start(status, None).await.get("/").await.text().await.unwrap();
    for harmful in ["<script", "<img", "1&2", "\u{202e}"] {
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
    assert_eq!(large.send().await.unwrap().status(), 413);
    assert!(controller.requests.retried.lock().unwrap().is_empty(), "nothing was asked for");
}
