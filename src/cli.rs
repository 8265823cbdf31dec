//! The command line: one file per subcommand. The only place that puts parts together.

pub mod bump;
pub mod client;
pub mod completions;
pub mod controller;
#[cfg(feature = "sim")]
pub mod demo;
pub mod error;
pub mod history;
pub mod iam;
pub mod init;
pub mod markdown;
pub mod output;
mod pins;
pub mod plan;
pub mod policy;
pub mod promote;
pub mod resync;
pub mod run;
pub mod schema;
pub mod signers;
#[cfg(feature = "sim")]
pub mod sim;
pub mod status;
pub mod suspend;
mod unknown;
pub mod validate;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser, Subcommand};

use self::error::CliError;

/// GitOps for AWS compute: Auto Scaling groups and ECS Fargate services follow the pins in Git.
#[derive(Debug, Parser)]
#[command(name = "pinion", version, propagate_version = true, max_term_width = 120)]
#[command(after_help = "Exit codes: 0 done; 1 failed; 2 only from `plan --detailed-exitcode`: there are changes; \
                        64 wrong usage.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller
    Run(run::Args),
    /// Show what a merge would do: live look-ups and observed state, read-only
    Plan(plan::Args),
    /// Check files and policies offline
    Validate(validate::Args),
    /// Ask the guardrails
    Policy(policy::Args),
    /// Show the targets of a running controller
    Status(status::Args),
    /// Show what has happened, or the four DORA figures
    History(history::Args),
    /// Pin a version, keeping comments and layout, and commit
    Bump(bump::Args),
    /// Pin in other environments what is in sync in one, and commit
    Promote(promote::Args),
    /// Switch targets, environments or everything off for a while
    Suspend(suspend::Args),
    /// Switch on again what was suspended
    Resume(suspend::ResumeArgs),
    /// Ask a running controller for a resync, and wait for the acknowledgement
    Resync(resync::Args),
    /// Run an AWS simulator, an environments repository and the controller, all on this machine
    #[cfg(feature = "sim")]
    Demo(demo::Args),
    /// Run the AWS simulator alone
    #[cfg(feature = "sim")]
    Sim(sim::SimArgs),
    /// Write an environment's files from what runs in an account
    Init(init::Args),
    /// Print the policies that environments need in AWS
    Iam(iam::Args),
    /// Print or write the JSON Schemas of the TOML files
    Schema(schema::Args),
    /// Print a shell's completion script
    Completions(completions::Args),
}

/// The whole program: the arguments of the process in, its exit code out.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            plain_usage(&mut error, std::env::args_os().skip(1));
            // Help and version are "errors" of clap's that go to standard output and are no failure.
            let wrong = error.use_stderr();
            // Nobody is left to be told if this can't be written.
            let _ = error.print();
            return if wrong { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = CliError::from_error(&error).context("can't start the runtime");
            output::complain(&error);
            return error.exit_code();
        }
    };
    let ended = runtime.block_on(dispatch(cli.command));
    // Whatever still blocks a thread, such as a fetch from a server that hangs, was given its grace period already.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) => {
            output::complain(&error);
            error.exit_code()
        }
    }
}

/// Shows how the command is used in general. Clap's own line would also name each option to which a variable of the environment gives a
/// value, as if it were required.
fn plain_usage(error: &mut clap::Error, arguments: impl Iterator<Item = OsString>) {
    if error.get(ContextKind::Usage).is_none() {
        return;
    }
    let mut command = Cli::command();
    command.build();
    for argument in arguments {
        let Some(inner) = command.find_subcommand(&argument).cloned() else { break };
        command = inner;
    }
    error.insert(ContextKind::Usage, ContextValue::StyledStr(command.render_usage()));
}

async fn dispatch(command: Command) -> Result<ExitCode, CliError> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Run(args) => run::run(args).await.map(done),
        Command::Plan(args) => plan::run(args).await,
        Command::Bump(args) => bump::run(args).await.map(done),
        Command::Promote(args) => promote::run(args).await.map(done),
        Command::Policy(args) => policy::run(args).await.map(done),
        Command::Validate(args) => validate::run(args).await.map(done),
        Command::Status(args) => status::run(args).await.map(done),
        Command::History(args) => history::run(args).await.map(done),
        Command::Suspend(args) => suspend::suspend(args).await.map(done),
        Command::Resume(args) => suspend::resume(args).await.map(done),
        Command::Resync(args) => resync::run(args).await.map(done),
        #[cfg(feature = "sim")]
        Command::Demo(args) => demo::run(args).await,
        #[cfg(feature = "sim")]
        Command::Sim(args) => Ok(sim::run(args).await.map(done)?),
        Command::Init(args) => init::run(args).await.map(done),
        Command::Iam(args) => iam::run(args).await.map(done),
        Command::Schema(args) => schema::run(args).await.map(done),
        Command::Completions(args) => completions::run(args, Cli::command()).await.map(done),
    }
}
