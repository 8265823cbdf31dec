//! The `pinion` program: parse, run, map errors to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pinion::cli::main()
}
