//! `changebus review`: what waits for people, and what they decide about it.
//!
//! Touches: files (what is left for the daemon), terminal, sqlite, clock.
//! Change here: when people can decide something else, or should see more before they do.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use serde_json::json;

use super::{ExitCode, database, log, progress, show};
use crate::config::Config;
use crate::event::{Channel, Review, Ruling, RunId};
use crate::outside::store::{Store, Waiting, holder};
use crate::reception::{self, Left};
use crate::rules::review;
use crate::rules::run::Run;
use crate::story;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What waits for people, oldest first.
    List {
        #[arg(long)]
        json: bool,
    },
    /// Everything it takes to decide about one run.
    Show(show::Args),
    /// Have a candidate merged, once its result was tested on the branch as it is.
    Approve {
        run: String,
        /// Another one than the one that stands first.
        #[arg(long)]
        variant: Option<String>,
        #[arg(long, default_value = "")]
        reason: String,
        /// Who decides; else the user of this terminal.
        #[arg(long = "as")]
        by: Option<String>,
    },
    /// Have none of them merged.
    Reject {
        run: String,
        /// Strategies are told.
        #[arg(long)]
        reason: String,
        #[arg(long = "as")]
        by: Option<String>,
    },
}

pub async fn run(config: &Config, args: Args) -> anyhow::Result<ExitCode> {
    let store = log(config)?;
    match args.what {
        What::List { json } => list(&store, json).await,
        What::Show(args) => show::run(config, &args).await,
        What::Approve {
            run,
            variant,
            reason,
            by,
        } => {
            let ruling = Ruling::Approve { variant };
            decide(config, &store, &run, ruling, reason, by).await
        }
        What::Reject { run, reason, by } => {
            decide(config, &store, &run, Ruling::Reject, reason, by).await
        }
    }
}

async fn list(store: &Store, json: bool) -> anyhow::Result<ExitCode> {
    let look = progress::look(std::io::stdout().is_terminal());
    let mut objects = vec![];
    for waiting in store.waiting_for_people().await? {
        let events = store.run_events(&waiting.run).await?;
        if json {
            objects.push(object(&waiting, Run::replay(&events)?.as_ref()));
        } else if let Some(line) = story::run_line(&events, jiff::Timestamp::now(), look) {
            println!("{line}");
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&objects)?);
    }
    Ok(ExitCode::Ok)
}

fn object(waiting: &Waiting, run: Option<&Run>) -> serde_json::Value {
    let verdict = run.and_then(|run| run.verdict.as_ref());
    json!({
        "run": waiting.run,
        "project": waiting.project,
        "since": waiting.since,
        "failing": run.and_then(|r| r.triage.as_ref()).map(|t| &t.failing),
        "winner": verdict.and_then(|v| v.winner.as_ref()),
        "reasons": verdict.map(|v| &v.reasons),
        "candidates": run.map(review::candidates),
    })
}

async fn decide(
    config: &Config,
    store: &Store,
    wanted: &str,
    ruling: Ruling,
    reason: String,
    by: Option<String>,
) -> anyhow::Result<ExitCode> {
    let id: RunId = show::find(store, wanted).await?;
    let run = Run::replay(&store.run_events(&id).await?)?;
    let run = run.with_context(|| format!("{id} has no events"))?;
    if !config.projects.contains_key(&run.project) {
        bail!(
            "{id}: no [projects.{}] in the configuration; merge its branch by hand",
            run.project
        );
    }
    let review = Review {
        run: id.clone(),
        ruling,
        reason,
        by: by.unwrap_or_else(user),
        via: Channel::CommandLine,
    };
    review::chosen(&run, &review)?;
    let project = run.project.clone();
    reception::reviews(&config.host.state).put(&Left { project, review })?;
    match holder(&database(config)) {
        Some(_) => eprintln!("handed to the daemon; `changebus show {id}` tells what comes of it"),
        None => eprintln!("no daemon runs here; it takes the decision when it is started"),
    }
    Ok(ExitCode::Ok)
}

fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"];
    let name = named.into_iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("user {}", nix::unistd::getuid()))
}
