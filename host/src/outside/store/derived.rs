//! Keeps the derived tables in step with the events, in the same transaction.
//!
//! Touches: sqlite.
//! Change here: when a question needs a table of its own. `rebuild` must come to the same rows.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use super::record::{self, nanoseconds, read_event};
use super::{ReadError, StoreError, memory, readers, reviews};
use crate::event::{
    AppMessage, Delivery, Event, Fact, Oid, Opening, RunId, RunStatus, Sighting, Usage,
    VariantState, Verdict,
};

const TABLES: [&str; 10] = [
    "runs",
    "reviews",
    "heard",
    "tips",
    "own_commits",
    "tested",
    "spending",
    "heats",
    "flips",
    "failures",
];

/// What this event means to the derived tables. Taking one in twice changes nothing.
pub fn take_in(tx: &Transaction<'_>, event: &Event) -> Result<(), ReadError> {
    let Some(run) = &event.run else {
        return note(tx, event);
    };
    let version = record::number(event.version.unwrap_or(0));
    let of_others = |condition: &str| {
        let query = format!("SELECT EXISTS (SELECT 1 FROM events WHERE run = ?1 AND {condition})");
        tx.prepare_cached(&query)?.query_row(
            params![run.0, record::number(event.epoch), version],
            |row| row.get::<_, bool>(0),
        )
    };
    note(tx, event)?;
    if of_others("epoch > ?2 AND version <= ?3")? {
        // Money it cost is spent, and commits it made are ours; of the run it says nothing any more.
        return Ok(());
    }
    // It takes the place of others, or comes late.
    if of_others("(epoch <> ?2 OR version <> ?3) AND version >= ?3")? {
        return tell_anew(tx, run);
    }
    take_in_for_run(tx, run, event)
}

/// What the run's events come to without those that were stated in vain.
fn tell_anew(tx: &Transaction<'_>, run: &RunId) -> Result<(), ReadError> {
    tx.execute("DELETE FROM runs WHERE run = ?1", [&run.0])?;
    tx.execute("DELETE FROM heats WHERE run = ?1", [&run.0])?;
    tx.execute("DELETE FROM reviews WHERE run = ?1", [&run.0])?;
    for event in readers::run_events(tx, run)? {
        take_in_for_run(tx, run, &event)?;
    }
    Ok(())
}

/// What holds whatever becomes of the run.
fn note(tx: &Transaction<'_>, event: &Event) -> Result<(), ReadError> {
    match &event.fact {
        Fact::Watched {
            sighting: Sighting::Adopted { tip } | Sighting::Ignored { tip, .. },
        } => note_tip(tx, event, &tip.0)?,
        Fact::ChangeSeen { change } => {
            note_tip(tx, event, &change.head.0)?;
        }
        // Only a report that can be taken at its word may stand in for a new one.
        Fact::Tested { report, suite, .. } if !report.partial && report.problem.is_none() => {
            note_tested(tx, event, &report.tree, suite)?
        }
        Fact::Tried { trial } => {
            if let Some(report) = &trial.report {
                note_tested(tx, event, &trial.tree, &report.suite)?;
            }
        }
        Fact::AppSaid { message } => note_heard(tx, event, message)?,
        Fact::Triaged { triage } => memory::take_in(tx, event, triage)?,
        Fact::ModelAnswered { answer, .. } => {
            let spent = match answer {
                Ok(answer) => Some(answer.usage),
                Err(fault) => fault.usage.map(Usage::from),
            };
            if let Some(usage) = spent {
                note_spending(tx, event, usage)?;
            }
        }
        Fact::MergePrepared { merge } => {
            note_own_commit(tx, event, &merge.commit.0, Some(&merge.onto.0))?;
        }
        Fact::Delivered {
            delivery: Delivery::Merged { commit, .. },
        } => {
            if nothing_between(tx, event, &commit.0)? {
                note_tip(tx, event, &commit.0)?;
            }
            note_own_commit(tx, event, &commit.0, None)?;
        }
        _ => {}
    }
    Ok(())
}

fn note_heard(tx: &Transaction<'_>, event: &Event, message: &AppMessage) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO heard (app, event, count, last_at, last_seq) VALUES (?1, ?2, 1, ?3, ?4)
         ON CONFLICT (app, event) DO UPDATE SET
           count = count + 1, last_at = max(last_at, excluded.last_at), last_seq = excluded.last_seq
         WHERE excluded.last_seq > last_seq",
    )?
    .execute(params![
        message.app,
        message.event,
        nanoseconds(event.at),
        event.seq
    ])?;
    Ok(())
}

fn take_in_for_run(tx: &Transaction<'_>, run: &RunId, event: &Event) -> Result<(), ReadError> {
    match &event.fact {
        Fact::ChangeSeen { .. } => open_run(tx, event)?,
        Fact::TournamentOpened { opening } => enter(tx, run, opening)?,
        Fact::Proposed { variant, .. } => mark(tx, "proposed", run, variant)?,
        Fact::Refused { variant, .. } => mark(tx, "refused", run, variant)?,
        Fact::Decided { verdict } => decide(tx, run, verdict)?,
        Fact::Delivered {
            delivery: Delivery::Escalated { .. } | Delivery::Proposed { .. },
        } => reviews::wait(tx, event, run)?,
        Fact::Reviewed { review, .. } => reviews::take(tx, run, review)?,
        Fact::Delivered {
            delivery: Delivery::Merged { .. },
        } => {
            reviews::settle(tx, event, run)?;
            tx.prepare_cached(
                "UPDATE heats SET merged = 1
                 WHERE run = ?1 AND variant = (SELECT winner FROM runs WHERE run = ?1)",
            )?
            .execute([&run.0])?;
        }
        Fact::RunClosed { status } => {
            if *status == RunStatus::Green {
                reviews::settle(tx, event, run)?;
            }
            tx.prepare_cached("UPDATE runs SET status = ?2 WHERE run = ?1")?
                .execute([&run.0, &status_name(*status)?])?;
        }
        _ => {}
    }
    Ok(())
}

/// Empties the derived tables and takes every event in anew.
pub fn rebuild(tx: &Transaction<'_>) -> Result<(), ReadError> {
    for table in TABLES {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    let all = format!("SELECT {} FROM events ORDER BY seq", record::COLUMNS);
    let mut statement = tx.prepare(&all)?;
    let mut rows = statement.query([])?;
    let mut runs = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let event = read_event(row)?;
        note(tx, &event)?;
        runs.extend(event.run);
    }
    for run in &runs {
        tell_anew(tx, run)?;
    }
    Ok(())
}

/// The status as it stands in JSON, without the quotes.
pub fn status_name(status: RunStatus) -> Result<String, ReadError> {
    let unfit = |source| ReadError::from(StoreError::Unfit { source });
    let value = serde_json::to_value(status).map_err(unfit)?;
    serde_json::from_value(value).map_err(unfit)
}

fn note_tip(tx: &Transaction<'_>, event: &Event, tip: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO tips (seq, project, tip, epoch) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        event.seq,
        event.project,
        tip,
        record::number(event.epoch)
    ])?;
    Ok(())
}

/// Whether a merge was made on the last tip that was taken note of. Where others had pushed meanwhile, the
/// watcher must still look at what they pushed.
fn nothing_between(tx: &Transaction<'_>, event: &Event, merge: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached(
        "SELECT NOT EXISTS (
             SELECT 1 FROM own_commits WHERE project = ?1 AND oid = ?2 AND onto IS NOT NULL
                AND onto <> (SELECT tip FROM tips WHERE project = ?1 ORDER BY epoch DESC, seq DESC LIMIT 1))",
    )?
    .query_row([&event.project, merge], |row| row.get(0))
}

fn note_own_commit(
    tx: &Transaction<'_>,
    event: &Event,
    oid: &str,
    onto: Option<&str>,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO own_commits (project, oid, onto) VALUES (?1, ?2, ?3)",
    )?
    .execute(params![event.project, oid, onto])?;
    Ok(())
}

fn open_run(tx: &Transaction<'_>, event: &Event) -> rusqlite::Result<()> {
    let Some(run) = &event.run else {
        return Ok(());
    };
    tx.prepare_cached("INSERT OR IGNORE INTO runs (run, project, opened_seq) VALUES (?1, ?2, ?3)")?
        .execute(params![run.0, event.project, event.seq])?;
    Ok(())
}

fn note_tested(
    tx: &Transaction<'_>,
    event: &Event,
    tree: &Oid,
    suite: &str,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO tested (seq, project, tree, suite) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![event.seq, event.project, tree.0, suite])?;
    Ok(())
}

fn note_spending(tx: &Transaction<'_>, event: &Event, usage: Usage) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO spending (seq, at, input_tokens, output_tokens, cache_read_tokens,
             cache_write_tokens, cost_usd) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        event.seq,
        nanoseconds(event.at),
        column(usage.input_tokens),
        column(usage.output_tokens),
        column(usage.cache_read_tokens),
        column(usage.cache_write_tokens),
        usage.cost_usd
    ])?;
    Ok(())
}

/// SQLite's integers are signed.
fn column(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

fn enter(tx: &Transaction<'_>, run: &RunId, opening: &Opening) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT OR IGNORE INTO heats (run, variant, strategy) VALUES (?1, ?2, ?3)",
    )?;
    for entry in &opening.entries {
        insert.execute([&run.0, &entry.name, &entry.strategy.name])?;
    }
    Ok(())
}

fn mark(
    tx: &Transaction<'_>,
    column: &'static str,
    run: &RunId,
    variant: &str,
) -> rusqlite::Result<()> {
    tx.prepare_cached(&format!(
        "UPDATE heats SET {column} = 1 WHERE run = ?1 AND variant = ?2"
    ))?
    .execute([&run.0, variant])?;
    Ok(())
}

/// A later verdict of the same run takes the place of an earlier one.
fn decide(tx: &Transaction<'_>, run: &RunId, verdict: &Verdict) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE runs SET winner = ?2 WHERE run = ?1")?
        .execute(params![run.0, verdict.winner])?;
    tx.prepare_cached("UPDATE heats SET won = 0 WHERE run = ?1")?
        .execute([&run.0])?;
    for standing in &verdict.standings {
        if standing.state == VariantState::Won {
            mark(tx, "won", run, &standing.variant)?;
        }
    }
    Ok(())
}
