//! `pinion sim`: the AWS simulator alone.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::sim::{FASTEST, Options, Sim, SimError, World, WorldError};

/// Runs the AWS simulator.
#[derive(Debug, Clone, clap::Args)]
pub struct SimArgs {
    /// The world file (TOML): what the accounts hold. Without it, the world of the demo
    #[arg(long, value_name = "FILE", conflicts_with = "fleet")]
    pub world: Option<PathBuf>,
    /// A world of ACCOUNTS accounts with as many Auto Scaling groups and ECS services each, for trying sizes
    #[arg(long, value_name = "ACCOUNTS,GROUPS,SERVICES")]
    pub fleet: Option<FleetSize>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4599", env = "PINION_SIM_LISTEN")]
    pub listen: SocketAddr,
    /// Seconds of the simulator's time per second; 0: time passes only by the control API
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// The same seed and the same calls give the same story
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Keep the world in this file, and go on from it
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Note every answer down in this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// How quickly time passes for the simulator.
pub(super) fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.0..=FASTEST).contains(speed));
    speed.ok_or_else(|| format!("give 0 to {FASTEST} seconds per second"))
}

/// The size of a fleet: `10,25,25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetSize {
    accounts: usize,
    groups: usize,
    services: usize,
}

impl FromStr for FleetSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        match numbers.as_deref() {
            Ok([accounts, groups, services]) => Ok(Self { accounts: *accounts, groups: *groups, services: *services }),
            _ => Err("expected three numbers, such as 10,25,25".to_owned()),
        }
    }
}

/// Why the simulator can't run.
#[derive(Debug, thiserror::Error)]
pub enum SimCommandError {
    /// The world file.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The simulator itself.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// Standard output or signals.
    #[error("can't use the terminal")]
    Io(#[from] std::io::Error),
}

/// Runs the simulator until SIGINT or SIGTERM.
///
/// # Errors
///
/// If the world can't be read, or the simulator can't run.
pub async fn run(args: SimArgs) -> Result<(), SimCommandError> {
    let world = match (&args.world, args.fleet) {
        (Some(path), _) => World::load(path)?,
        (None, Some(fleet)) => World::fleet(fleet.accounts, fleet.groups, fleet.services)?,
        (None, None) => World::demo()?,
    };
    let options = Options {
        listen: args.listen,
        speed: args.speed,
        seed: args.seed,
        state: args.state,
        record: args.record,
        ..Options::default()
    };
    let sim = Sim::start(world, options).await?;
    let mut out = anstream::stdout();
    writeln!(out, "The AWS simulator listens. For any AWS client:")?;
    writeln!(out, "  export AWS_ENDPOINT_URL={}", sim.endpoint())?;
    writeln!(out, "  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-west-1")?;
    writeln!(out, "What runs: curl {}/_sim/fleet", sim.endpoint())?;
    out.flush()?;

    let stop = sim.stop_token();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    sim.wait().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::FleetSize;

    #[test]
    fn a_fleet_has_three_numbers() {
        assert_eq!("10,25, 3".parse(), Ok(FleetSize { accounts: 10, groups: 25, services: 3 }));
        for wrong in ["", "10", "10,25", "1,2,3,4", "a,b,c"] {
            assert!(wrong.parse::<FleetSize>().is_err(), "{wrong}");
        }
    }
}
