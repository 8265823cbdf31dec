//! Sending what waits, one after the other: tried again with jittered backoff, slower when the other side asks for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::{self, Known};
use super::ledger::CommitReport;
use super::notifier;
use super::outbox::{Item, Outbox};
use super::{FAREWELL, words};
use crate::clock::{Clock, entropy};
use crate::config::{Address, Forge, ForgeKind, Notify};
use crate::model::cause::deepest;
use crate::model::escape::plain_json;
use crate::model::event::EventRecord;

/// The first and the longest wait after a failure.
const FIRST: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// The longest that is waited because the other side asks for it.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How often something is tried: with the waits above, about a day.
const TRIES: u32 = 300;
/// How long an answer may take, and how much of it is read, in bytes.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        // A redirect would take the token, or a signed body, elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("pinion/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(TIMEOUT)
        .timeout(TIMEOUT)
        .build()
}

/// What became of a try.
pub(super) enum Outcome {
    /// It was taken. The next may be sent after this wait at the earliest.
    Sent(Duration),
    /// There was nothing to say.
    Known,
    /// It may be taken later; after this wait at the earliest, if the other side said so.
    Later(Option<Duration>, String),
    /// It never will be.
    Never(String),
}

/// Delivers to one destination.
pub(super) trait Deliver<T>: Send {
    fn deliver(&mut self, value: &T, now: Timestamp) -> impl Future<Output = Outcome> + Send;
}

/// Sends what waits in an outbox.
pub(super) struct Sender<T, D> {
    outbox: Arc<Outbox<T>>,
    deliver: D,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    failures: u32,
    random: fastrand::Rng,
}

impl<T: Send + Sync, D: Deliver<T>> Sender<T, D> {
    pub(super) fn new(outbox: Arc<Outbox<T>>, deliver: D, clock: Arc<dyn Clock>, stop: CancellationToken) -> Self {
        Self { outbox, deliver, clock, stop, failures: 0, random: entropy() }
    }

    /// Until `stop`; then what waits is tried once more.
    pub(super) async fn run(mut self) {
        loop {
            let wait = match self.outbox.pop() {
                Some(item) => self.send(item).await,
                None => {
                    tokio::select! {
                        () = self.stop.cancelled() => break,
                        () = self.outbox.arrived() => {}
                    }
                    continue;
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        if self.failures > 0 {
            return;
        }
        let until = Instant::now() + FAREWELL;
        while let Some(item) = self.outbox.pop() {
            let sent = tokio::time::timeout_at(until, self.send(item)).await;
            if sent.is_err() || self.failures > 0 {
                return;
            }
        }
    }

    /// Tries one, and says how long to wait before the next.
    async fn send(&mut self, mut item: Item<T>) -> Duration {
        let outcome = self.deliver.deliver(&item.value, self.clock.now()).await;
        let (name, metrics) = (self.outbox.name.clone(), Arc::clone(&self.outbox.metrics));
        let recovered = |failures: u32| {
            if failures > 0 {
                tracing::info!(destination = name, failures, "sending works again");
            }
        };
        match outcome {
            Outcome::Sent(wait) => {
                recovered(std::mem::take(&mut self.failures));
                metrics.notified(&name, "sent");
                wait
            }
            Outcome::Known => Duration::ZERO,
            Outcome::Later(asked, why) => {
                if self.failures == 0 {
                    tracing::warn!(destination = name, "can't send: {why}; it is tried again");
                }
                let wait = self.wait(asked);
                item.tries += 1;
                if item.tries >= TRIES {
                    tracing::error!(destination = name, tries = item.tries, "can't send: {why}; given up");
                    metrics.notified(&name, "failed");
                } else {
                    metrics.notified(&name, "retried");
                    self.outbox.put_back(item);
                }
                wait
            }
            Outcome::Never(why) => {
                tracing::error!(destination = name, "can't send: {why}; it is not tried again");
                metrics.notified(&name, "failed");
                Duration::ZERO
            }
        }
    }

    /// Doubles from the first to the longest, drawn between half of it and all of it; never less than was asked for.
    fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        let drawn = doubled.mul_f64(0.5 + self.random.f64() / 2.0);
        drawn.max(asked.unwrap_or_default().min(MAX_RETRY_AFTER))
    }
}

/// Gives commits their statuses, at one forge.
pub(super) struct Statuses {
    forge: Forge,
    branch: String,
    client: reqwest::Client,
    /// The statuses that commits have, by commit and environment: read once, then as it was sent.
    known: BTreeMap<(String, String), Option<Known>>,
}

/// So many commits are remembered. One that is forgotten is asked for again.
const MEMORY: usize = 4096;
/// Between two statuses, as GitHub asks of those who write.
const INTERVALS: Duration = Duration::from_secs(1);

impl Statuses {
    pub(super) fn new(forge: Forge, branch: String, client: reqwest::Client) -> Self {
        Self { forge, branch, client, known: BTreeMap::new() }
    }

    /// With the token, and what else the forge wants to see.
    fn signed(&self, request: RequestBuilder) -> Result<RequestBuilder, Outcome> {
        let token = self.forge.token.read().map_err(|error| Outcome::Later(None, error.to_string()))?;
        let token = token.expose_secret();
        Ok(match self.forge.kind {
            ForgeKind::GitHub => request
                .header(AUTHORIZATION, format!("Bearer {token}"))
                .header(ACCEPT, "application/vnd.github+json")
                .header("X-GitHub-Api-Version", "2022-11-28"),
            ForgeKind::GitLab => request.header("PRIVATE-TOKEN", token),
            ForgeKind::Gitea => request.header(AUTHORIZATION, format!("token {token}")),
        })
    }

    async fn post(&mut self, report: &CommitReport, now: Timestamp) -> Result<Outcome, Outcome> {
        let never = || Outcome::Never("the forge's URL can't be put together".to_owned());
        let key = (report.commit.clone(), report.environment.clone());
        if !self.known.contains_key(&key) {
            let url = api::statuses(&self.forge, report).ok_or_else(never)?;
            let request = self.signed(self.client.get(url))?;
            let (_, answer) = answered(request, "asked for a commit's statuses", now).await?;
            let known = serde_json::from_str::<Value>(&answer)
                .map_err(|error| Outcome::Later(None, format!("the forge's answer isn't JSON: {error}")))
                .map(|answer| api::read(self.forge.kind, &answer, &report.environment))?;
            if self.known.len() >= MEMORY {
                self.known.pop_first();
            }
            self.known.insert(key.clone(), known);
        }
        let before = self.known.get(&key).and_then(Option::as_ref);
        if !api::is_news(self.forge.kind, before, report) {
            return Ok(Outcome::Known);
        }
        let (url, body) = api::status(&self.forge, &self.branch, report).ok_or_else(never)?;
        let request = self.signed(self.client.post(url))?.header(CONTENT_TYPE, "application/json");
        let wait = match answered(request.body(plain(&body)), "sent a commit's status", now).await {
            Ok((headers, _)) => asked(&headers, now, false).unwrap_or_default().max(INTERVALS),
            Err(Refused { status, answer, .. }) if api::is_repeat(self.forge.kind, status, &answer) => INTERVALS,
            Err(refused) => return Err(refused.into()),
        };
        self.known.insert(key, Some(api::known(self.forge.kind, report)));
        Ok(Outcome::Sent(wait))
    }
}

impl Deliver<CommitReport> for Statuses {
    async fn deliver(&mut self, report: &CommitReport, now: Timestamp) -> Outcome {
        self.post(report, now).await.unwrap_or_else(|outcome| outcome)
    }
}

/// Notifies one who wants to know of events.
pub(super) struct Webhook {
    notify: Notify,
    client: reqwest::Client,
}

impl Webhook {
    pub(super) fn new(notify: Notify, client: reqwest::Client) -> Self {
        Self { notify, client }
    }

    async fn post(&self, event: &EventRecord, now: Timestamp) -> Result<Outcome, Outcome> {
        let unread = |error: crate::config::SecretError| Outcome::Later(None, error.to_string());
        let url = match &self.notify.url {
            Address::Url(url) => url.clone(),
            Address::Secret(secret) => secret.read().map_err(unread)?.expose_secret().to_owned(),
        };
        let body = plain(&notifier::body(self.notify.format, event));
        let mut request = self.client.post(url).header(CONTENT_TYPE, "application/json");
        request = request
            .header("X-Pinion-Event", event.kind.as_str())
            .header("X-Pinion-Timestamp", now.as_second().to_string());
        if let Some(secret) = &self.notify.secret {
            let signature = notifier::signature(&secret.read().map_err(unread)?, now, &body);
            request = request.header("X-Pinion-Signature-256", signature);
        }
        let (headers, _) = answered(request.body(body), "sent an event", now).await?;
        Ok(Outcome::Sent(asked(&headers, now, false).unwrap_or_default()))
    }
}

impl Deliver<EventRecord> for Webhook {
    async fn deliver(&mut self, event: &EventRecord, now: Timestamp) -> Outcome {
        self.post(event, now).await.unwrap_or_else(|outcome| outcome)
    }
}

/// A body as it is sent: a log or a terminal that shows it is not steered by what untrusted people wrote.
fn plain(body: &Value) -> String {
    plain_json(&body.to_string()).into_owned()
}

/// An answer that isn't a success.
struct Refused {
    /// 0 if there was none.
    status: u16,
    answer: String,
    why: String,
    asked: Option<Duration>,
}

impl From<Refused> for Outcome {
    fn from(refused: Refused) -> Self {
        match refused.status {
            // Fixed by another token, or by themselves.
            0 | 401 | 403 | 408 | 409 | 425 | 429 | 500.. => Self::Later(refused.asked, refused.why),
            _ => Self::Never(refused.why),
        }
    }
}

/// Sends a request, and reads a good answer.
async fn answered(request: RequestBuilder, what: &str, now: Timestamp) -> Result<(HeaderMap, String), Refused> {
    let none = |error: reqwest::Error| {
        // Without the URL, which may be a secret.
        let error = error.without_url();
        let root = deepest(&error);
        Refused { status: 0, answer: String::new(), why: format!("{what}: {root}"), asked: None }
    };
    let response = request.send().await.map_err(none)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let answer = body(response).await.map_err(none)?;
    if status.is_success() {
        return Ok((headers, answer));
    }
    let said = serde_json::from_str::<Value>(&answer).ok();
    let said = said.as_ref().and_then(|said| ["message", "error"].iter().find_map(|key| said.get(key)?.as_str()));
    let said = words::fitting(said.unwrap_or(&answer).trim(), 200);
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; check that the token is right and may do this",
        StatusCode::NOT_FOUND => "; check that the address is right and the token may see it",
        _ => "",
    };
    let why = format!("{what}, and was answered {}: {said}{hint}", status.as_u16());
    let limited = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::FORBIDDEN;
    Err(Refused { status: status.as_u16(), answer, why, asked: asked(&headers, now, limited) })
}

async fn body(mut response: Response) -> Result<String, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_ANSWER_BYTES.saturating_sub(bytes.len());
        bytes.extend(chunk.iter().take(room));
        if room == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How long the other side asks us to wait: in so many words, or because no request is left until some time.
fn asked(headers: &HeaderMap, now: Timestamp, limited: bool) -> Option<Duration> {
    let number = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse::<i64>().ok());
    let until = |at: i64| Duration::from_secs(u64::try_from(at.saturating_sub(now.as_second())).unwrap_or(0) + 1);
    if let Some(seconds) = number(RETRY_AFTER.as_str()) {
        return Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    }
    for (remaining, reset) in
        [("x-ratelimit-remaining", "x-ratelimit-reset"), ("ratelimit-remaining", "ratelimit-reset")]
    {
        if number(remaining) == Some(0) {
            return number(reset).map(until);
        }
    }
    // GitHub: without either, at least a minute.
    (limited && headers.contains_key("x-github-request-id")).then_some(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_says_how_long_to_wait() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let asked = |headers: &[(&'static str, &str)], limited| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            asked(&headers, now, limited).map(|wait| wait.as_secs())
        };
        assert_eq!(asked(&[], false), None);
        assert_eq!(asked(&[("retry-after", "7")], true), Some(7));
        assert_eq!(asked(&[("retry-after", "-7")], true), Some(0));
        assert_eq!(asked(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000020")], true), Some(21));
        assert_eq!(asked(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1600000020")], false), Some(1));
        assert_eq!(asked(&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "1700000020")], false), None);
        assert_eq!(asked(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "1700000005")], false), Some(6));
        assert_eq!(asked(&[("x-github-request-id", "1")], true), Some(60));
    }
}
