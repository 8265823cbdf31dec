//! Reports to others: statuses on the commits that set pins, at the forge; and notifications over HTTP. Reads what the
//! controller says about itself and drives nothing: what can't be sent waits here, and nowhere else.
//!
//! ```text
//!   state (a watch) ──► ledger: the status of each commit ──► outbox ──► sender ──► GitHub, GitLab, Gitea
//!   events ──► sinks::notifications ──► notifier: who wants it ──► outbox ──► sender ──► webhooks
//! ```

pub mod api;
pub mod ledger;
pub mod notifier;
mod outbox;
mod sender;
pub mod words;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::ledger::{CommitReport, Ledger};
use self::notifier::Listener;
use self::outbox::Outbox;
use self::sender::{Sender, Statuses, Webhook};
use crate::clock::Clock;
use crate::config::{Forge, Notify};
use crate::metrics::Metrics;
use crate::model::status::Snapshot;

/// How many statuses and notifications may wait for each destination.
const ROOM: usize = 1000;
/// How long what still waits may take to be sent at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// A branch whose commits get statuses.
#[derive(Debug, Clone)]
pub struct ReportedBranch {
    /// The repository's URL, without credentials.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// Where.
    pub forge: Forge,
}

/// What reports are made from.
#[derive(Debug)]
pub struct Parts {
    /// The branches whose commits get statuses.
    pub branches: Vec<ReportedBranch>,
    /// Who is notified of events.
    pub notify: Vec<Notify>,
    /// What the controller says about itself.
    pub status: watch::Receiver<Arc<Snapshot>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// The tasks that report. They end soon after `stop`.
#[derive(Debug)]
pub struct Reporting {
    tasks: JoinSet<()>,
    listeners: Vec<Listener>,
}

impl Reporting {
    /// Those who are notified of events, for the sink that notifies them. Asked for once.
    pub fn take_listeners(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }

    /// Waits for their end, but not for long.
    pub async fn ended(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // What couldn't be sent by then is sent by the next process, or has been lost to a forge that is down.
        let _ = tokio::time::timeout(FAREWELL * 2, all).await;
    }
}

/// Starts to report, until `stop`.
///
/// # Errors
/// If the TLS backend can't be set up.
pub fn start(parts: Parts, stop: &CancellationToken) -> Result<Reporting, reqwest::Error> {
    let client = sender::client()?;
    let mut tasks = JoinSet::new();
    for branch in parts.branches {
        let name = format!("{}:{}", branch.forge.kind.as_str(), branch.forge.project);
        let outbox = Arc::new(Outbox::new(name, ROOM, Arc::clone(&parts.metrics)));
        let statuses = Statuses::new(branch.forge.clone(), branch.branch.clone(), client.clone());
        let sender = Sender::new(Arc::clone(&outbox), statuses, Arc::clone(&parts.clock), stop.clone());
        tasks.spawn(sender.run());
        tasks.spawn(report(branch, parts.status.clone(), outbox, Arc::clone(&parts.clock), stop.clone()));
    }
    let mut listeners = Vec::new();
    for notify in parts.notify {
        let outbox = Arc::new(Outbox::new(notify.name.clone(), ROOM, Arc::clone(&parts.metrics)));
        let webhook = Webhook::new(notify.clone(), client.clone());
        let sender = Sender::new(Arc::clone(&outbox), webhook, Arc::clone(&parts.clock), stop.clone());
        tasks.spawn(sender.run());
        listeners.push(Listener::new(notify, outbox));
    }
    Ok(Reporting { tasks, listeners })
}

/// Hands on what changes of one branch's commits.
async fn report(
    branch: ReportedBranch,
    mut status: watch::Receiver<Arc<Snapshot>>,
    outbox: Arc<Outbox<CommitReport>>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut ledger = Ledger::new(&branch.url, &branch.branch);
    loop {
        let seen = Arc::clone(&status.borrow_and_update());
        let now: Timestamp = clock.now();
        for report in ledger.take(&seen, now) {
            outbox.push(Some(format!("{} {}", report.commit, report.environment)), report);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = status.changed() => if changed.is_err() { return },
        }
    }
}
