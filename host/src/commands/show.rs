//! `changebus show RUN`: the whole story of a run on one screen, or all of it as JSON.
//!
//! Touches: terminal, sqlite.
//! Change here: when `show` should find runs otherwise. What it says is in `story.rs`.

use std::io::IsTerminal;

use anyhow::{Context, bail};

use super::{ExitCode, log, progress};
use crate::config::Config;
use crate::event::RunId;
use crate::outside::store::Store;
use crate::story;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run's id, the beginning of one, or `last`.
    #[arg(default_value = "last")]
    run: String,
    #[arg(long)]
    json: bool,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let store = log(config)?;
    let run = find(&store, &args.run).await?;
    let events = store.run_events(&run).await?;
    if args.json {
        let all = serde_json::json!({ "story": story::Story::of(&events), "events": events });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        let look = progress::look(std::io::stdout().is_terminal());
        println!("{}", story::screen(&events, look).unwrap_or_default());
        let offered = store.pull_requests().await?;
        for offered in offered.iter().filter(|o| o.request.run == run) {
            let stands = story::pull_request_words(offered.fate.as_ref());
            let stands = story::text::line(&stands, look.width);
            println!(
                "Pull request: {} ({stands})",
                story::text::line(&offered.request.url, 200)
            );
        }
    }
    Ok(ExitCode::Ok)
}

/// The run that is meant. More than one is an error that names them.
pub async fn find(store: &Store, wanted: &str) -> anyhow::Result<RunId> {
    if wanted == "last" {
        let newest = store.runs(None, 1).await?.pop();
        return newest
            .map(|newest| newest.run)
            .context("there is no run yet");
    }
    let runs = store.runs(None, 1000).await?;
    let matching: Vec<_> = runs
        .iter()
        .filter(|r| r.run.0.starts_with(wanted) || r.run.0.ends_with(wanted))
        .collect();
    match matching.as_slice() {
        [one] => Ok(one.run.clone()),
        [] => bail!("{wanted}: no such run; `changebus status` lists them"),
        many => bail!(
            "{wanted}: {} runs match, such as {} and {}",
            many.len(),
            many[0].run,
            many[1].run
        ),
    }
}
