//! `pinion resync`: asks a running controller for a resync and waits until it is done.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::client::{Address, Controller};
use super::error::CliError;
use super::output;
use crate::config::Secret;
use crate::model::escape::one_line;

/// How often to look whether it is done.
const EVERY: Duration = Duration::from_millis(100);

/// After this long a controller that knows nothing of our resync must be another one.
const LAG: Duration = Duration::from_secs(5);

/// Asks a running controller to fetch, observe and plan everything now, and waits for it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also try quarantined pins again
    #[arg(long)]
    retry_quarantined: bool,

    /// The file that holds the controller's token; without it, PINION_TOKEN is the token
    #[arg(long, value_name = "FILE", env = "PINION_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// How many seconds to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=86_400))]
    timeout: u64,

    #[command(flatten)]
    address: Address,
}

/// Asks, waits, and prints what it came to.
///
/// # Errors
/// If the controller can't be reached, refuses, or isn't done in time, or couldn't read a repository.
pub async fn run(args: Args) -> Result<(), CliError> {
    let token = token(args.token_file)?;
    let controller = Controller::new(args.address)?;
    let started = Instant::now();
    let deadline = started + Duration::from_secs(args.timeout);
    let number = controller.resync(args.retry_quarantined, token.expose_secret()).await?;
    loop {
        let status = controller.status().await?;
        if status.resync.completed >= number {
            let broken = status.environments.values().filter(|env| !env.valid || env.error.is_some()).count();
            let mut text = format!("resync {number} completed in {}\n", output::seconds(started.elapsed()));
            if broken > 0 {
                text.push_str(&format!(
                    "{broken} of {} environments with errors: see `pinion status`\n",
                    status.environments.len()
                ));
            }
            output::print(&text)?;
            return match status.repositories.iter().find_map(|it| Some((it, it.error.as_ref()?))) {
                None => Ok(()),
                Some((repository, error)) => Err(CliError::failed(format!(
                    "{} {} couldn't be read, so nothing new from there was looked at: {}",
                    one_line(&repository.url),
                    one_line(&repository.branch),
                    one_line(&error.to_string())
                ))),
            };
        }
        // What the controller says may lag a little behind its answer to us.
        if status.resync.requested < number && started.elapsed() > LAG {
            return Err(CliError::failed(format!("the controller was restarted before it completed resync {number}"))
                .hint("a controller looks at everything when it starts; see `pinion status`"));
        }
        if Instant::now() >= deadline {
            return Err(CliError::failed(format!("resync {number} has not completed after {} s", args.timeout))
                .hint("it goes on; see `pinion status` for what takes so long"));
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn token(file: Option<PathBuf>) -> Result<SecretString, CliError> {
    if let Some(path) = file {
        return Ok(Secret::File(path).read()?);
    }
    let token = std::env::var("PINION_TOKEN").unwrap_or_default();
    let token = token.trim();
    if token.is_empty() {
        return Err(CliError::usage("a resync needs the controller's token")
            .hint("give it with --token-file or in PINION_TOKEN; it is the one that `server.token_file` names"));
    }
    Ok(SecretString::from(token.to_owned()))
}
