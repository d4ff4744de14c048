//! `changebus events`: the log, line by line, and live with `--follow`.
//!
//! Touches: terminal, sqlite.
//! Change here: when the log should be filtered or followed otherwise.

use std::io::IsTerminal;

use serde_json::json;

use super::{ExitCode, log, progress};
use crate::config::Config;
use crate::event::{Event, RunId};
use crate::fleet;
use crate::outside::store::{EventFilter, Store};
use crate::story::{self, Look};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on as events arrive.
    #[arg(long)]
    follow: bool,
    /// Only events after this position.
    #[arg(long, default_value_t = 0)]
    since: i64,
    #[arg(long)]
    project: Option<String>,
    #[arg(long)]
    run: Option<String>,
    /// Beginning of the subject, such as `result.trial`.
    #[arg(long)]
    subject: Option<String>,
    /// What could not be told to the fleet, or not be understood of it.
    #[arg(long)]
    dead: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    then: Option<Then>,
}

#[derive(Debug, clap::Subcommand)]
enum Then {
    /// Have the daemon try one of the dead again, or all of them.
    Retry {
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let store = log(config)?;
    if let Some(Then::Retry { id, .. }) = &args.then {
        return match id {
            Some(id) => retry(config, &store, id).await,
            None => retry_all(config, &store).await,
        };
    }
    if args.dead {
        return dead(&store, args.json).await;
    }
    let filter = EventFilter {
        project: args.project.clone(),
        run: args.run.clone().map(RunId),
        subject_prefix: args.subject.clone(),
        before: None,
    };
    let look = progress::look(std::io::stdout().is_terminal());
    let mut seen = args.since;
    loop {
        let events = store.events_after(seen, 500, &filter).await?;
        for event in &events {
            print(event, args.json, look)?;
        }
        match events.last() {
            Some(last) => seen = last.seq,
            None if args.follow => seen = seen.max(store.wait_beyond(seen).await? - 1),
            None => return Ok(ExitCode::Ok),
        }
    }
}

async fn dead(store: &Store, json: bool) -> anyhow::Result<ExitCode> {
    for dead in store.dead().await? {
        if json {
            let body = String::from_utf8_lossy(&dead.body);
            println!(
                "{}",
                json!({
                    "id": dead.id, "coming": dead.coming, "subject": dead.subject, "why": dead.why,
                    "attempts": dead.attempts, "at": dead.at, "size": dead.size, "body": body,
                })
            );
        } else {
            let way = if dead.coming {
                "not understood"
            } else {
                "not told"
            };
            println!(
                "{} {} {way} ({} times): {}",
                dead.id, dead.subject, dead.attempts, dead.why
            );
        }
    }
    Ok(ExitCode::Ok)
}

async fn retry(config: &Config, store: &Store, id: &str) -> anyhow::Result<ExitCode> {
    let dead = store.dead().await?;
    let Some(found) = dead.iter().find(|dead| dead.id == id) else {
        anyhow::bail!("{id}: `changebus events --dead` lists no such id");
    };
    if found.is_cut() {
        anyhow::bail!(
            "{id}: of its {} bytes only {} were kept; have it sent again",
            found.size,
            found.body.len()
        );
    }
    fleet::ask_to_retry(&config.host.state, id)?;
    eprintln!(
        "asked; the daemon tries it within a moment, and `changebus events --dead` shows what became of it"
    );
    Ok(ExitCode::Ok)
}

/// All that can be tried; what was cut short has to be sent again.
async fn retry_all(config: &Config, store: &Store) -> anyhow::Result<ExitCode> {
    let dead = store.dead().await?;
    let (cut, whole): (Vec<_>, Vec<_>) = dead.iter().partition(|dead| dead.is_cut());
    for dead in &whole {
        fleet::ask_to_retry(&config.host.state, &dead.id)?;
    }
    eprintln!(
        "asked for {}; {} were cut short when they were kept and have to be sent again",
        whole.len(),
        cut.len()
    );
    Ok(ExitCode::Ok)
}

fn print(event: &Event, json: bool, look: Look) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(event)?);
    } else {
        println!("{}", story::event_line(event, look));
    }
    Ok(())
}
