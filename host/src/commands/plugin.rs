//! `changebus plugin`: what somebody who writes or runs plugins needs, one file a verb.
//!
//! Touches: terminal.
//! Change here: when a verb comes or goes; `docs/commands.md` lists them.

use super::ExitCode;
use crate::config::Config;

mod bench;
mod carried;
mod case;
mod inspect;
mod install;
mod list;
mod lock;
mod new;
mod opened;
mod record;
pub mod source;
mod test;
mod wit;

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write a plugin that works, to start from.
    New(new::Args),
    /// Lay down the interface packages, for a plugin in another language than Rust.
    Wit(wit::Args),
    /// Run a plugin on the cases on disk, without a model, a network or a daemon.
    Test(test::Args),
    /// Make a case from a run, or from a repository and two of its commits.
    Record(record::Args),
    /// What the host makes of a file, and why it would not load it, if so.
    Inspect(inspect::Args),
    /// What a plugin costs: activation, calls, memory.
    Bench(bench::Args),
    /// What is active and how it behaves, and what is not and why.
    List(list::Args),
    /// Put a plugin into a plugin directory, once it is known that it would be loaded.
    Install(install::Args),
    /// A lock file of what is active.
    Lock(lock::LockArgs),
    /// Let a benched or quarantined plugin be called again.
    Clear(lock::ClearArgs),
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

pub async fn run(config: Config, args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::New(args) => new::run(&args),
        Verb::Wit(args) => wit::run(&args),
        Verb::Test(args) => test::run(&config, &args).await,
        Verb::Record(args) => record::run(config, args).await,
        Verb::Inspect(args) => inspect::run(&config, &args).await,
        Verb::Bench(args) => bench::run(&config, &args).await,
        Verb::List(args) => list::run(&config, &args).await,
        Verb::Install(args) => install::run(&config, &args).await,
        Verb::Lock(args) => lock::lock(&config, &args).await,
        Verb::Clear(args) => lock::clear(&config, &args).await,
    }
}
