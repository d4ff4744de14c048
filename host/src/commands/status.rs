//! `changebus status`: every project in a line, and its last runs under it.
//!
//! Touches: clock, files, terminal, sqlite.
//! Change here: when an operator should see more at a glance. How it reads is in `story/lines.rs`.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use serde_json::{Value, json};

use super::{ExitCode, log, progress};
use crate::config::Config;
use crate::fleet;
use crate::outside::store::{RunSummary, Store};
use crate::story::{self, Look, ProjectStatus};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    json: bool,
}

/// Runs told of for each project.
const RUNS: usize = 3;
/// For the last one that says how the branch stands.
const LOOKED_THROUGH: usize = 12;

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let store = log(config)?;
    let mut names: BTreeSet<String> = config.projects.keys().cloned().collect();
    names.extend(store.runs(None, 1000).await?.into_iter().map(|r| r.project));
    let look = progress::look(std::io::stdout().is_terminal());
    let mut objects = vec![];
    for name in names {
        let branch = config
            .projects
            .get(&name)
            .map_or("-", |p| p.branch.as_str());
        let runs = store.runs(Some(&name), RUNS).await?;
        if args.json {
            objects.push(object(&store, &name, branch, &runs).await?);
        } else {
            lines(&store, &name, branch, &runs, look).await?;
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&objects)?);
    } else if let Ok(reason) = std::fs::read_to_string(fleet::drain_file(&config.host.state)) {
        println!("this host takes nothing new, until `changebus drain --off`: {reason}");
    }
    Ok(ExitCode::Ok)
}

async fn object(
    store: &Store,
    name: &str,
    branch: &str,
    runs: &[RunSummary],
) -> anyhow::Result<Value> {
    let run = |r: &RunSummary| json!({ "run": r.run, "opened_at": r.opened_at, "status": r.closed, "head": r.change.head });
    Ok(json!({
        "project": name,
        "branch": branch,
        "tip": store.last_tip(name).await?,
        "sighting": store.last_sighting(name).await?,
        "runs": runs.iter().map(run).collect::<Vec<_>>(),
    }))
}

async fn lines(
    store: &Store,
    name: &str,
    branch: &str,
    runs: &[RunSummary],
    look: Look,
) -> anyhow::Result<()> {
    let (tip, sighting) = (
        store.last_tip(name).await?,
        store.last_sighting(name).await?,
    );
    let newest = store.runs(Some(name), LOOKED_THROUGH).await?;
    let mut about_the_branch = newest.iter().filter(|run| run.is_about_the_branch());
    let project = ProjectStatus {
        name,
        branch,
        tip: tip.as_ref(),
        sighting: sighting.as_ref(),
        open_runs: runs.iter().filter(|r| r.closed.is_none()).count(),
        last: about_the_branch.find_map(|run| run.closed),
    };
    println!("{}", story::project_line(&project, look));
    for run in runs {
        let events = store.run_events(&run.run).await?;
        if let Some(line) = story::run_line(&events, jiff::Timestamp::now(), look) {
            println!("  {line}");
        }
    }
    Ok(())
}
