//! `POST /hooks/git`: a push event of the forge makes Pinion poll now. It is a hint and never a source of truth: of its
//! body only the repository and the branch are read, and what happens is decided by what the poll finds.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use secrecy::SecretString;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::json::Json;
use super::routes::{Shared, refuse};
use crate::config::Secret;
use crate::webhook::push::{self, Push};
use crate::webhook::signature::{self, Unsigned};

/// Where events are taken.
pub(super) const PATH: &str = "/hooks/git";
/// The longest body, in bytes. A push of a few hundred commits fits; what doesn't is found by the next poll.
const MAX_LENGTH: usize = 1024 * 1024;
/// How long a body may take to come.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bodies that are read at a time.
const READERS: usize = 16;
/// After how long to send an event again that had to give way.
const ROOM: Duration = Duration::from_secs(1);
/// Events in a row, and between two of them after that.
const BURST: u32 = 30;
const REFILL: Duration = Duration::from_secs(1);

/// Takes hints that a repository has moved.
pub trait TakeHints: Send + Sync {
    /// Poll the repository at this URL soon. Many hints may be answered by one poll.
    fn moved(&self, url: &str);
}

/// What takes push events.
#[derive(Clone)]
pub struct Hooks {
    secret: Secret,
    hints: Arc<dyn TakeHints>,
    readers: Arc<Readers>,
    bucket: Arc<Mutex<Bucket>>,
}

impl Hooks {
    /// Takes events that are signed with one of the secret's lines.
    #[must_use]
    pub fn new(secret: Secret, hints: Arc<dyn TakeHints>) -> Self {
        let bucket = Bucket { left: BURST, since: Instant::now() };
        Self { secret, hints, readers: Arc::default(), bucket: Arc::new(Mutex::new(bucket)) }
    }
}

/// Those whose bodies are read now, the oldest first. Nobody waits for a turn, so that nobody can wait in vain.
#[derive(Default)]
struct Readers(Mutex<VecDeque<oneshot::Sender<Infallible>>>);

impl Readers {
    /// Reads a body. Where there are too many, the oldest of them gives way: a body that comes slowly, of somebody who only
    /// seems to sign, must not keep out one that comes at once.
    async fn read(&self, body: Body) -> Result<Bytes, Refusal> {
        let gives_way = self.enter();
        tokio::select! {
            biased;
            body = read(body) => body,
            _ = gives_way => Err(limited(ROOM)),
        }
    }

    /// Takes one more in. What it gets ends when it has to give way; dropping that leaves.
    fn enter(&self) -> oneshot::Receiver<Infallible> {
        let (stays, gives_way) = oneshot::channel();
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| !reader.is_closed());
        if readers.len() >= READERS {
            readers.pop_front();
        }
        readers.push_back(stays);
        gives_way
    }
}

/// How many events may still come in a row.
struct Bucket {
    left: u32,
    since: Instant,
}

impl Bucket {
    /// Takes one, or says how long until there is one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.since);
        let gained = u32::try_from(elapsed.as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        if gained >= BURST.saturating_sub(self.left) {
            (self.left, self.since) = (BURST, now);
        } else {
            self.left += gained;
            self.since += REFILL * gained;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err((self.since + REFILL).saturating_duration_since(now)),
        }
    }
}

/// What became of an event.
#[derive(Debug, Serialize)]
struct Answer {
    /// `polled` or `ignored`.
    result: &'static str,
    /// What that means.
    message: &'static str,
}

/// A refusal: the word for it in metrics, and the answer.
type Refusal = (&'static str, Box<Response>);

pub(super) async fn receive(State(shared): State<Shared>, request: Request) -> Response {
    let metrics = Arc::clone(&shared.server.metrics);
    let (result, response) = match take(&shared, request).await {
        Ok(answer) => (answer.result, (StatusCode::ACCEPTED, Json(answer)).into_response()),
        Err((result, response)) => (result, *response),
    };
    metrics.hook(result);
    response
}

async fn take(shared: &Shared, request: Request) -> Result<Answer, Refusal> {
    let Some(hooks) = &shared.server.hooks else {
        let advice = "push events are not taken here; name their secret in [hooks] in pinion.toml";
        return Err(refusal("denied", StatusCode::FORBIDDEN, advice));
    };
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let advice = "send the event as JSON: choose the content type application/json in the webhook's settings";
        return Err(refusal("invalid", StatusCode::UNSUPPORTED_MEDIA_TYPE, advice));
    }
    let secrets = secrets(hooks)?;
    // First what costs nothing: a request that doesn't even seem signed takes no reader from those that do.
    signature::expect(&head.headers, &secrets).map_err(|error| denied(&error))?;
    let body = hooks.readers.read(body).await?;
    let now = shared.server.clock.now();
    signature::verify(&head.headers, &body, &secrets, now).map_err(|error| denied(&error))?;
    // Only signed events count: a untrusted person must not be able to use up what the forge may send.
    hooks.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()).map_err(limited)?;
    let push = push::read(&body).map_err(|error| refusal("invalid", StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok(hint(shared, hooks, &push))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let too_long = || {
        let advice = format!("the event has more than {MAX_LENGTH} bytes; it is left to the next poll");
        refusal("invalid", StatusCode::PAYLOAD_TOO_LARGE, advice)
    };
    match tokio::time::timeout(TIMEOUT, axum::body::to_bytes(body, MAX_LENGTH)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(too_long()),
        Err(_) => {
            let advice = format!("the event's body took longer than {} s", TIMEOUT.as_secs());
            Err(refusal("invalid", StatusCode::REQUEST_TIMEOUT, advice))
        }
    }
}

fn secrets(hooks: &Hooks) -> Result<Vec<SecretString>, Refusal> {
    hooks.secret.read_lines().map_err(|error| {
        tracing::error!("push events can't be checked: {error}; correct [hooks] in pinion.toml, or the file");
        refusal("denied", StatusCode::SERVICE_UNAVAILABLE, "the secret for push events can't be read here")
    })
}

fn denied(error: &Unsigned) -> Refusal {
    tracing::debug!("a push event was refused: {error}");
    refusal("denied", StatusCode::UNAUTHORIZED, error.to_string())
}

/// Hints at the repository if it is one of ours, and the branch, too.
fn hint(shared: &Shared, hooks: &Hooks, push: &Push) -> Answer {
    if push.branch.is_none() {
        return Answer { result: "ignored", message: "this is no push to a branch" };
    }
    let status = Arc::clone(&shared.server.status.borrow());
    let mut known = false;
    for repository in &status.repositories {
        if !push.is_of(&repository.url) {
            continue;
        }
        known = true;
        if push.branch.as_deref() == Some(repository.branch.as_str()) {
            tracing::info!(repository = repository.url, branch = repository.branch, "push event: polling now");
            hooks.hints.moved(&repository.url);
            return Answer { result: "polled", message: "the repository is polled now" };
        }
    }
    let message = if known { "the branch is not followed here" } else { "the repository is not followed here" };
    Answer { result: "ignored", message }
}

fn refusal(result: &'static str, status: StatusCode, advice: impl Into<String>) -> Refusal {
    (result, Box::new(refuse(status, advice)))
}

fn limited(wait: Duration) -> Refusal {
    let (result, mut response) =
        refusal("limited", StatusCode::TOO_MANY_REQUESTS, "too many push events; polls go on without them");
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    (result, response)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    /// A body of which nothing comes.
    fn stalled() -> Body {
        Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>())
    }

    async fn is_read(readers: &Readers) -> bool {
        readers.read(Body::from("{}")).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way_and_nobody_else() {
        let readers = Readers::default();
        let mut slow: VecDeque<_> = (0..READERS).map(|_| Box::pin(readers.read(stalled()))).collect();
        for reader in &mut slow {
            assert!(futures_util::poll!(reader).is_pending());
        }
        // All that come at once are read without having to wait.
        for _ in 0..3 {
            assert!(is_read(&readers).await);
            let refused = slow.pop_front().unwrap().await.unwrap_err();
            assert_eq!((refused.0, refused.1.status()), ("limited", StatusCode::TOO_MANY_REQUESTS));
            let mut late = Box::pin(readers.read(stalled()));
            assert!(futures_util::poll!(&mut late).is_pending());
            slow.push_back(late);
            for reader in &mut slow {
                assert!(futures_util::poll!(reader).is_pending());
            }
        }
        // Where somebody has left, whether they were read, gave up or were refused, nobody gives way.
        slow.truncate(READERS - 1);
        for _ in 0..READERS {
            assert!(is_read(&readers).await);
        }
        for reader in &mut slow {
            assert!(futures_util::poll!(reader).is_pending());
        }
        // And a crowd of the past doesn't send away who comes later and isn't done at once.
        drop(slow);
        let mut alone = pin!(readers.read(stalled()));
        assert!(futures_util::poll!(&mut alone).is_pending());
        assert_eq!(alone.await.unwrap_err().0, "invalid", "it took too long, and wasn't sent away");
    }

    #[tokio::test(start_paused = true)]
    async fn the_bucket_fills_up_again() {
        let mut bucket = Bucket { left: BURST, since: Instant::now() };
        for _ in 0..BURST {
            assert_eq!(bucket.take(Instant::now()), Ok(()));
        }
        assert_eq!(bucket.take(Instant::now()), Err(REFILL));
        tokio::time::sleep(REFILL.mul_f64(2.5)).await;
        assert_eq!(bucket.take(Instant::now()), Ok(()));
        assert_eq!(bucket.take(Instant::now()), Ok(()));
        assert_eq!(bucket.take(Instant::now()), Err(REFILL / 2));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let now = Instant::now();
        let taken = (0..BURST * 2).filter(|_| bucket.take(now).is_ok()).count();
        assert_eq!(taken, BURST as usize);
    }
}
