//! `pinion completions SHELL`.

use std::io::Write as _;

use super::error::CliError;

/// Prints a completion script for a shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the script for `command`, which is the whole command line, to standard output.
///
/// # Errors
/// If standard output can't be written.
pub async fn run(args: Args, mut command: clap::Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "pinion", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(())
}
