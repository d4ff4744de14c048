//! The stories of updates as a table for people, `docs/updates.md`.
//!
//! Touches: files.
//! Change here: when the table should say something else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use changebus::event::{Event, Fact, Finding, RunId, RunStatus, Update};

use super::{Client, Told};

/// Stories that have a row.
const STORIES: usize = 12;

/// Rows of the stories that ended well, by the story's name.
static ROWS: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());

const HEAD: &str = "\
# Updates that were tried

Written by `cargo xtask updates`; do not edit. Every line is a real daemon that looks after a small project with real packages of
their registries. Everything is real but the model, which is scripted: it says the one right thing, or nothing of use. `exact` says
that the ecosystem's own client, run on the tip afterwards, leaves the lock file as it is to the byte. Seconds are those of the
machine this was written on, from the start of the daemon to the end of the last run, two stories side by side.

| client | tried | found | what became of it | exact | seconds |
|---|---|---|---|---|---|
";

pub fn keep(name: &'static str, client: Client, told: &Told, exact: Option<bool>, took: Duration) {
    let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    rows.insert(name, row(client, told, exact, took));
    let path = std::env::var_os("CHANGEBUS_UPDATES_TABLE").map(PathBuf::from);
    let Some(path) = path.filter(|_| rows.len() == STORIES) else {
        return;
    };
    let mut lines: Vec<&String> = rows.values().collect();
    lines.sort();
    let lines: String = lines.into_iter().map(String::as_str).collect();
    std::fs::write(&path, format!("{HEAD}{lines}"))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn row(client: Client, told: &Told, exact: Option<bool>, took: Duration) -> String {
    let each = |of: &dyn Fn(&(RunId, Update, RunStatus)) -> String| {
        told.updates.iter().map(of).collect::<Vec<_>>().join("; ")
    };
    let exact = match exact {
        Some(true) => "yes",
        Some(false) => "no",
        None => "no lock file",
    };
    format!(
        "| {} | {} | {} | {} | {exact} | {:.0} |\n",
        client.name(),
        each(&|(_, update, _)| tried(update)),
        each(&|(run, update, status)| found(&told.events, run, update, *status)),
        each(&|(run, _, status)| fate(&told.events, run, *status)),
        took.as_secs_f64(),
    )
}

fn tried(update: &Update) -> String {
    let steps = update
        .steps()
        .map(|s| format!("{} {} to {}", s.name, s.from, s.to));
    steps.collect::<Vec<_>>().join(", ")
}

fn found(events: &[Event], run: &RunId, update: &Update, status: RunStatus) -> String {
    let of_run = || {
        events
            .iter()
            .filter(|event| event.run.as_ref() == Some(run))
    };
    let triage = of_run().find_map(|event| match &event.fact {
        Fact::Triaged { triage } => Some(triage),
        _ => None,
    });
    let broken = match triage {
        Some(triage) if triage.finding == Finding::Real => match triage.failing.len() {
            1 => "1 test broken".to_owned(),
            n => format!("{n} tests broken"),
        },
        _ => return "nothing broken".to_owned(),
    };
    let bisection = of_run().find_map(|event| match &event.fact {
        Fact::Bisected { bisection } => bisection.culprit(),
        _ => None,
    });
    let guilty = update
        .moves
        .iter()
        .find(|one| Some(&one.commit) == bisection);
    match guilty.filter(|_| status == RunStatus::Split) {
        Some(guilty) => format!("{broken} by {}", guilty.steps[0].name),
        None => broken,
    }
}

fn fate(events: &[Event], run: &RunId, status: RunStatus) -> String {
    let winner = events.iter().find_map(|event| match &event.fact {
        Fact::Decided { verdict } if event.run.as_ref() == Some(run) => verdict.winner.clone(),
        _ => None,
    });
    match (status, winner.as_deref()) {
        (RunStatus::Updated, _) => "merged".to_owned(),
        (RunStatus::Split, _) => "taken apart".to_owned(),
        (RunStatus::Fixed, Some("pin-back")) => "held back".to_owned(),
        (RunStatus::Fixed, Some(winner)) => format!("adapted by {winner} and merged"),
        (status, _) => format!("{status:?}"),
    }
}
