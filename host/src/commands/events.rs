//! `changebus events`: the log, line by line, and live with `--follow`.
//!
//! Touches: terminal, sqlite.
//! Change here: when the log should be filtered or followed otherwise.

use std::io::IsTerminal;

use super::{ExitCode, log, progress};
use crate::config::Config;
use crate::event::{Event, RunId};
use crate::outside::store::EventFilter;
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
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let store = log(config)?;
    let filter = EventFilter {
        project: args.project.clone(),
        run: args.run.clone().map(RunId),
        subject_prefix: args.subject.clone(),
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

fn print(event: &Event, json: bool, look: Look) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(event)?);
    } else {
        println!("{}", story::event_line(event, look));
    }
    Ok(())
}
