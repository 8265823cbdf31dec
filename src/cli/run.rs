//! `pinion run`: the controller.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;

use super::controller::{Branch, Controller, ResyncDesk, Wiring};
use super::error::{CliError, ResultExt as _};
use super::signers::read_pins;
use crate::claims::Coverage;
use crate::config::{self, Config, LogFormat, Overrides, Secret};
use crate::forge::ReportedBranch;
use crate::git;
use crate::history::Retention;
use crate::reconcile::Intervals;
use crate::server::hooks::{Hooks, TakeHints};
use crate::server::{RequestResync as _, Server};
use crate::shutdown::{self, Drained, Signal, Signals};
use crate::telemetry;

/// After a write, how long until the next step: long enough for most reads to have caught up.
const AFTER_WRITE: Duration = Duration::from_secs(1);
/// The first wait after a failure; it doubles up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// How long the history may take at the end to write what it was given.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Run the controller
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG", default_value = config::DEFAULT_FILE)]
    config: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
}

/// Runs until SIGTERM or SIGINT. Nothing is bound or polled before the configuration is known to be good.
///
/// # Errors
/// [`CliError`] if the configuration is wrong, the address can't be bound, or a part of the controller broke off.
pub async fn run(args: Args) -> Result<(), CliError> {
    // Mirrors and history are for nobody else on this machine; gix writes some of them.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let mut config = load(&args)?;
    let filter = config.log.filter.as_deref().unwrap_or(telemetry::DEFAULT_FILTER);
    telemetry::init(filter, format(config.log.format))?;
    let token = config.server.token.as_ref().map(Secret::read).transpose();
    let token = token.hint(|| "`server.token_file` in pinion.toml names it".to_owned())?;
    let signals = shutdown::listen()?;

    let controller = Arc::new(Controller::new(&config.cache_dir, retention(&config))?);
    let desk = Arc::new(ResyncDesk {
        resyncs: Arc::clone(&controller.resyncs),
        status_store: Arc::clone(&controller.status_store),
    });
    let server = Server {
        metrics: Arc::clone(&controller.metrics),
        status: controller.status_store.subscribe(),
        history: Arc::clone(&controller.history),
        resync: Arc::clone(&desk) as Arc<dyn crate::server::RequestResync>,
        token,
        hooks: config.hooks.clone().map(|secret| Hooks::new(secret, Arc::clone(&desk) as Arc<dyn TakeHints>)),
        clock: Arc::clone(&controller.clock),
    };
    let serving = server.start(config.server.listen, signals.stop.clone()).await?;
    tracing::info!(address = %serving.address, version = env!("CARGO_PKG_VERSION"), "listening");
    controller.started();

    let Signals { stop, abort, mut requests } = signals;
    let verdict = loop {
        let inner = stop.child_token();
        let work = {
            let (controller, wiring, inner) = (Arc::clone(&controller), wiring(&config), inner.clone());
            tokio::spawn(async move { controller.run(wiring, inner).await })
        };
        tokio::pin!(work);
        // Until a reload that changes something, the end, or a failure.
        let reloaded = loop {
            tokio::select! {
                // First, as the controller ends because of it, and must not be taken to have ended by itself.
                biased;
                () = stop.cancelled() => break None,
                Some(signal) = requests.recv() => match signal {
                    Signal::Resync => { desk.request(false); }
                    Signal::ResyncRetrying => { desk.request(true); }
                    Signal::Reload => match reload(&args, &config) {
                        Some(fresh) => break Some(fresh),
                        None => { desk.request(false); }
                    },
                },
                ended = &mut work => return broke_off(ended),
            }
        };
        inner.cancel();
        let (drained, ended) = shutdown::drain(&mut work, &inner, &abort, config.grace_period).await;
        match (reloaded, drained, ended) {
            (_, Drained::Done, Some(ended)) if broke_off_result(&ended).is_err() => break broke_off(ended),
            (Some(fresh), Drained::Done, _) => {
                config = *fresh;
                desk.request(false);
            }
            (None, Drained::Done, _) => break Ok(()),
            (_, Drained::Aborted, _) => {
                break Err(CliError::failed("stopped at the second signal, with calls in flight"));
            }
            (_, _, _) => {
                let grace = config.grace_period.as_secs();
                break Err(CliError::failed(format!("calls were still in flight after the grace period of {grace} s"))
                    .hint("what they did is found by the next start; a longer `grace_period` lets them finish"));
            }
        }
    };
    stop.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(1), serving.task).await;
    controller.history.flush(LAST_WORDS).await;
    if verdict.is_ok() {
        tracing::info!("stopped");
    }
    verdict
}

type Ended = Result<Result<(), CliError>, tokio::task::JoinError>;

fn broke_off_result(ended: &Ended) -> Result<(), ()> {
    match ended {
        Ok(Ok(())) => Ok(()),
        _ => Err(()),
    }
}

fn broke_off(ended: Ended) -> Result<(), CliError> {
    match ended {
        Ok(Ok(())) => Err(CliError::failed("the controller ended unexpectedly")),
        Ok(Err(error)) => Err(error.context("the controller has ended")),
        Err(error) => Err(CliError::failed(format!("the controller ended unexpectedly: {error}"))),
    }
}

fn load(args: &Args) -> Result<Config, CliError> {
    let config = read(args)?;
    for repository in &config.repositories {
        // Keys that can't be read are a mistake in the configuration, and said as early.
        let verifier = repository.verify.clone().map(|verify| git::Verifier::new(verify, read_pins));
        verifier.transpose().context(|| {
            format!("the signatures of {} can't be checked as {} says", repository.url, args.config.display())
        })?;
    }
    Ok(config)
}

fn read(args: &Args) -> Result<Config, CliError> {
    Config::load(&args.config, &args.overrides).map_err(|error| match error {
        config::ConfigError::Invalid { ref findings, .. } => {
            let text = super::validate::text(findings, super::output::Screen::stderr());
            CliError::failed(format!("{error}\n{}", text.trim_end()))
        }
        error @ config::ConfigError::Unreadable { .. } => error.into(),
    })
}

/// Reads the configuration again. `None` if it says the same as before or is wrong; then the one in force stays.
fn reload(args: &Args, before: &Config) -> Option<Box<Config>> {
    match load(args) {
        Ok(fresh) if fresh == *before => {
            tracing::info!("configuration read again: nothing has changed");
            None
        }
        Ok(fresh) => {
            let late = |config: &'_ Config| {
                (config.server.clone(), config.hooks.clone(), config.history.clone(), config.log.clone())
            };
            if late(&fresh) != late(before) {
                tracing::warn!("`server`, `hooks`, `history` and `log` take effect at the next start only");
            }
            tracing::info!("configuration has changed: starting over with it");
            Some(Box::new(fresh))
        }
        Err(error) => {
            tracing::error!("{error}; the configuration in force stays");
            None
        }
    }
}

fn format(format: Option<LogFormat>) -> telemetry::LogFormat {
    match format {
        None => telemetry::LogFormat::for_stderr(),
        Some(LogFormat::Json) => telemetry::LogFormat::Json,
        Some(LogFormat::Human) => match telemetry::LogFormat::for_stderr() {
            human @ telemetry::LogFormat::Human { .. } => human,
            telemetry::LogFormat::Json => telemetry::LogFormat::Human { colour: false },
        },
    }
}

fn retention(config: &Config) -> Retention {
    Retention { events: config.history.events, age: config.history.keep }
}

fn wiring(config: &Config) -> Wiring {
    Wiring {
        installation: config.installation.clone(),
        branches: config
            .repositories
            .iter()
            .map(|repository| Branch {
                url: repository.url.clone(),
                auth: auth(&repository.auth),
                branch: repository.branch.clone(),
                interval: repository.interval,
                coverage: repository.environments.clone().map_or(Coverage::All, Coverage::Only),
                connect_timeout: repository.connect_timeout,
                stall_timeout: repository.stall_timeout,
                poll_timeout: repository.poll_timeout,
                verify: repository.verify.clone(),
            })
            .collect(),
        cache: config.cache_dir.clone(),
        change_limits: config.change_limits,
        endpoint_url: config.aws.endpoint_url.clone(),
        keys: None,
        pace: Intervals {
            steady: config.reconcile.interval,
            in_flight: config.reconcile.in_flight_interval,
            base: config.reconcile.base_interval,
            after_write: AFTER_WRITE.min(config.reconcile.in_flight_interval),
            backoff_first: BACKOFF_FIRST,
            backoff_longest: MAX_BACKOFF,
        },
        concurrency: config.reconcile.concurrency,
        reported: config.repositories.iter().filter_map(reported).collect(),
        notify: config.notify.clone(),
        probe_hosts: config.probe_hosts.clone(),
    }
}

fn reported(repository: &config::Repository) -> Option<ReportedBranch> {
    let forge = repository.forge.clone()?;
    Some(ReportedBranch { url: repository.url.clone(), branch: repository.branch.clone(), forge })
}

fn auth(auth: &config::Auth) -> git::Auth {
    match auth {
        config::Auth::None => git::Auth::None,
        config::Auth::SshKeyFile(path) => git::Auth::SshKeyFile(path.clone()),
        config::Auth::Token(Secret::File(path)) => git::Auth::Token(git::TokenSource::File(path.clone())),
        config::Auth::Token(Secret::Environment { variable, value }) => {
            git::Auth::Token(git::TokenSource::Environment { variable: variable.clone(), token: value.clone() })
        }
    }
}
