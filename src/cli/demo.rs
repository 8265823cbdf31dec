//! `pinion demo`: the AWS simulator, an environments repository and the controller, all on this machine.
//!
//! Everything lives in one folder. Kill the demo at any moment and start it again: it goes on, because Git and the
//! simulator's state file remember, and Pinion needs nothing else.

mod hands;
mod live;
mod script;
mod workshop;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use self::hands::Hands;
use self::workshop::Workshop;
use super::controller::{Branch, Controller, ResyncDesk, Wiring};
use super::error::{CliError, ResultExt as _};
use super::output;
use crate::aws::Keys;
use crate::claims::Coverage;
use crate::git::Auth;
use crate::reconcile::Intervals;
use crate::server::Server;
use crate::shutdown::{self, Drained, Signal, Signals};
use crate::sim::{Options, Sim, World};
use crate::telemetry::{self, LogFormat};

/// How often the demo looks: quicker than anybody would in earnest, so that it is a pleasure to watch.
const INTERVALS: Intervals = Intervals {
    steady: Duration::from_secs(5),
    in_flight: Duration::from_millis(500),
    base: Duration::from_secs(5),
    after_write: Duration::from_millis(250),
    backoff_first: Duration::from_millis(500),
    backoff_longest: Duration::from_secs(5),
};

/// The arguments of `pinion demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Play a release from commit to converged without a person, and end.
    #[arg(long)]
    script: bool,
    /// Where everything is kept. A demo that was stopped goes on from here.
    #[arg(long, value_name = "DIR", default_value = "pinion-demo")]
    dir: PathBuf,
    /// Start over: remove what an earlier demo left in the folder.
    #[arg(long)]
    fresh: bool,
    /// Seconds of the simulator's time per second.
    #[arg(long, value_name = "FACTOR", default_value_t = 10.0, value_parser = super::sim::speed)]
    speed: f64,
    /// Where the status page, the API and the metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9780")]
    listen: SocketAddr,
    /// Where the simulator serves the AWS API.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4599")]
    aws: SocketAddr,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] if something can't be set up, or the script didn't come to its good end.
pub async fn run(args: Args) -> Result<ExitCode, CliError> {
    let workshop = Workshop::open(&args.dir, args.fresh).await?;
    telemetry::init_file(telemetry::DEFAULT_FILTER, LogFormat::Human { colour: false }, workshop.log_file()?)?;
    let signals = shutdown::listen()?;
    let options = Options { listen: args.aws, speed: args.speed, state: Some(workshop.state()), ..Options::default() };
    let sim = Sim::start(World::demo()?, options)
        .await
        .hint(|| "is another demo running? `--aws 127.0.0.1:0 --listen 127.0.0.1:0` takes free ports".to_owned())?;
    let endpoint = sim.endpoint();

    let controller = Arc::new(Controller::new(&workshop.cache(), crate::history::Retention::default())?);
    let desk = Arc::new(ResyncDesk {
        resyncs: Arc::clone(&controller.resyncs),
        status_store: Arc::clone(&controller.status_store),
    });
    let server = Server {
        metrics: Arc::clone(&controller.metrics),
        status: controller.status_store.subscribe(),
        history: Arc::clone(&controller.history),
        resync: Arc::clone(&desk) as Arc<dyn crate::server::RequestResync>,
        token: None,
        hooks: None,
        clock: Arc::clone(&controller.clock),
    };
    let running = server.start(args.listen, signals.stop.clone()).await?;
    let wiring = Wiring {
        installation: crate::model::Installation::default(),
        branches: vec![Branch {
            verify: None,
            url: workshop.url(),
            auth: Auth::None,
            branch: "main".to_owned(),
            interval: Duration::from_secs(1),
            coverage: Coverage::All,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            poll_timeout: Duration::from_secs(600),
        }],
        cache: workshop.cache(),
        endpoint_url: Some(endpoint.clone()),
        keys: Some(Keys {
            access_key_id: "AKIADEMOCONTROLLER00".to_owned(),
            secret_access_key: SecretString::from("demo"),
        }),
        pace: INTERVALS,
        concurrency: 16,
        change_limits: crate::plan::change_limit::ChangeLimits::default(),
        reported: Vec::new(),
        notify: Vec::new(),
        probe_hosts: std::collections::BTreeSet::new(),
    };
    let Signals { stop, abort, requests } = signals;
    tokio::spawn(honor(requests, desk));
    controller.started();
    let status = controller.status_store.subscribe();
    let work = {
        let (controller, stop) = (Arc::clone(&controller), stop.clone());
        tokio::spawn(async move { controller.run(wiring, stop).await })
    };

    let scene = Scene {
        workshop,
        hands: Hands::new(endpoint)?,
        address: running.address,
        status,
        clock: Arc::clone(&controller.clock),
        stop: stop.clone(),
    };
    let shown = tokio::select! {
        shown = async { if args.script { script::play(&scene).await } else { live::show(&scene).await } } => shown,
        () = stop.cancelled() => if args.script { Err(CliError::failed("the script was interrupted; run it again to go on")) } else { Ok(()) },
    };
    stop.cancel();
    let (drained, ended) = shutdown::drain(work, &stop, &abort, Duration::from_secs(10)).await;
    controller.history.flush(Duration::from_secs(2)).await;
    sim.stop_token().cancel();
    sim.wait().await?;
    shown?;
    match (drained, ended) {
        (Drained::Done, Some(Ok(result))) => result?,
        (Drained::Done, Some(Err(error))) => {
            return Err(CliError::failed(format!("the controller ended unexpectedly: {error}")));
        }
        _ => output::note("the controller needed too long to stop and was left\n"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What the live table and the script work with.
struct Scene {
    workshop: Workshop,
    hands: Hands,
    address: SocketAddr,
    status: tokio::sync::watch::Receiver<Arc<crate::model::status::Snapshot>>,
    clock: Arc<dyn crate::clock::Clock>,
    stop: CancellationToken,
}

impl Scene {
    fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }
}

/// Passes signals on as requests.
async fn honor(mut requests: tokio::sync::mpsc::UnboundedReceiver<Signal>, desk: Arc<ResyncDesk>) {
    use crate::server::RequestResync as _;
    while let Some(signal) = requests.recv().await {
        desk.request(signal == Signal::ResyncRetrying);
    }
}
