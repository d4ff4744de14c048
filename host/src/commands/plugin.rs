//! `changebus plugin`: what somebody who writes or runs plugins needs, one file a verb.
//!
//! Touches: terminal.
//! Change here: when a verb comes or goes; `docs/commands.md` lists them.

use super::ExitCode;
use crate::config::Config;

mod case;
mod new;
mod opened;
mod record;
mod source;
mod test;

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Write a plugin that works, to start from.
    New(new::Args),
    /// Run a plugin on the cases on disk, without a model, a network or a daemon.
    Test(test::Args),
    /// Make a case from a run, or from a repository and two of its commits.
    Record(record::Args),
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

pub async fn run(config: Config, args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::New(args) => new::run(&args),
        Verb::Test(args) => test::run(&config, &args).await,
        Verb::Record(args) => record::run(config, args).await,
    }
}
