//! `changebus flakes`: the tests that flipped in each project's last runs, those that did so most often first.
//!
//! Touches: clock, terminal, sqlite.
//! Change here: when an operator should see more of a flaky test. How a line reads is in `story/lines.rs`.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use serde_json::json;

use super::{ExitCode, log, progress};
use crate::config::Config;
use crate::outside::store::Flake;
use crate::story;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this project.
    #[arg(long)]
    project: Option<String>,
    #[arg(long)]
    json: bool,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let store = log(config)?;
    let mut projects: BTreeSet<String> = config.projects.keys().cloned().collect();
    projects.extend(store.runs(None, 1000).await?.into_iter().map(|r| r.project));
    match &args.project {
        Some(wanted) if !projects.contains(wanted) => {
            let known: Vec<_> = projects.into_iter().collect();
            anyhow::bail!(
                "--project {wanted}: the configuration and the log know {}",
                known.join(", ")
            );
        }
        Some(wanted) => projects = BTreeSet::from([wanted.clone()]),
        None => {}
    }
    let look = progress::look(std::io::stdout().is_terminal());
    let now = jiff::Timestamp::now();
    let mut objects = vec![];
    for project in projects {
        for flake in store.flakes(&project, None).await? {
            if args.json {
                objects.push(object(&project, &flake));
            } else {
                let Flake { test, seen, last } = &flake;
                println!(
                    "{}",
                    story::flake_line(&project, test, *seen, *last, now, look)
                );
            }
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&objects)?);
    }
    Ok(ExitCode::Ok)
}

fn object(project: &str, flake: &Flake) -> serde_json::Value {
    json!({
        "project": project,
        "test": flake.test,
        "flips": flake.seen.flips,
        "runs": flake.seen.runs,
        "last": flake.last,
    })
}
