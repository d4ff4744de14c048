//! `changebus sandbox-enter` and `sandbox-exec`: the two steps into a cell. Nobody calls them by hand.
//!
//! Touches: terminal.
//! Change here: when a cell is entered in another number of steps.

use super::ExitCode;
use crate::outside::sandbox;

pub use crate::outside::sandbox::{ENTER_VERB, EXEC_VERB};

#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    /// What to take away and what to become, as JSON.
    plan: String,
    /// Number of the open file that is bubblewrap's outer process.
    outside: i32,
}

/// Becomes bubblewrap; returns only to say why not. Must be called while there is one thread.
pub fn enter() -> ExitCode {
    match sandbox::enter() {
        Ok(never) => match never {},
        Err(error) => refused(&error),
    }
}

/// Becomes the command; returns only to say why not. Must be called while there is one thread.
pub fn exec(args: &ExecArgs) -> ExitCode {
    match sandbox::exec(&args.plan, args.outside) {
        Ok(never) => match never {},
        Err(error) => refused(&error),
    }
}

fn refused(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::Failed
}
