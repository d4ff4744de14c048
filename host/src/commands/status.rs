//! `changebus status`: every project in a line or two: its tip, what is under way, what came of the last runs.
//!
//! Touches: terminal, sqlite.
//! Change here: when an operator should see more at a glance. How it reads is in `story.rs`.

use std::collections::BTreeSet;

use super::{ExitCode, log};
use crate::config::Config;
use crate::story;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    json: bool,
}

/// Runs told of for each project.
const RUNS: usize = 3;

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let store = log(config)?;
    let mut names: BTreeSet<String> = config.projects.keys().cloned().collect();
    names.extend(store.runs(None, 1000).await?.into_iter().map(|r| r.project));
    let mut projects = Vec::new();
    for name in names {
        projects.push(story::ProjectStatus {
            tip: store.last_tip(&name).await?,
            sighting: store.last_sighting(&name).await?,
            runs: store.runs(Some(&name), RUNS).await?.into_iter().map(told).collect(),
            name,
        });
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&projects)?);
    } else {
        projects.iter().flat_map(story::status_lines).for_each(|line| println!("{line}"));
    }
    Ok(ExitCode::Ok)
}

fn told(run: crate::outside::store::RunSummary) -> story::RunLine {
    story::RunLine { run: run.run, opened_at: run.opened_at, closed: run.closed, head: run.change.head }
}
