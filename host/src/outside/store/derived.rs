//! Keeps the derived tables in step with the events, in the same transaction.
//!
//! Touches: sqlite.
//! Change here: when a question needs a table of its own. `rebuild` must come to the same rows.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use rusqlite::{Row, Transaction, params};

use super::record::{self, Place, nanoseconds, read_event};
use super::{ReadError, StoreError, memory, readers, results, reviews};
use crate::event::{
    AppMessage, Delivery, Event, Fact, Fault, IgnoreReason, ModelAnswer, Oid, Opening,
    PullRequestFate, RunId, RunStatus, Sighting, Usage, VariantState, Verdict,
};

pub const TABLES: [&str; 12] = [
    "results",
    "outcomes",
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
pub fn take_in(tx: &Transaction<'_>, event: &Event, place: Place) -> Result<(), ReadError> {
    note(tx, event)?;
    let Some(run) = &event.run else {
        return Ok(());
    };
    if place == Place::Next {
        return take_in_for_run(tx, run, event);
    }
    let version = record::number(event.version.unwrap_or(0));
    let of_others = |condition: &str| {
        let query = format!("SELECT EXISTS (SELECT 1 FROM events WHERE run = ?1 AND {condition})");
        tx.prepare_cached(&query)?.query_row(
            params![run.0, record::number(event.epoch), version],
            |row| row.get::<_, bool>(0),
        )
    };
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
    for delete in [
        "DELETE FROM runs WHERE run = ?1",
        "DELETE FROM heats WHERE run = ?1",
        "DELETE FROM reviews WHERE run = ?1",
        "DELETE FROM results WHERE run = ?1",
    ] {
        tx.prepare_cached(delete)?.execute([&run.0])?;
    }
    for event in readers::run_events(tx, run)? {
        take_in_for_run(tx, run, &event)?;
    }
    Ok(())
}

/// What holds whatever becomes of the run.
fn note(tx: &Transaction<'_>, event: &Event) -> Result<(), ReadError> {
    match &event.fact {
        Fact::Watched {
            sighting: Sighting::Adopted { tip },
        } => note_tip(tx, event, &tip.0)?,
        Fact::Watched {
            sighting: Sighting::Ignored { tip, reason },
        } => {
            note_tip(tx, event, &tip.0)?;
            if *reason == IgnoreReason::TreeAlreadyGreen {
                reviews::settle(tx, event)?;
            }
        }
        // Of an update no remote knows.
        Fact::ChangeSeen { change } if change.update.is_none() => {
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
        Fact::OutcomeObserved { outcome } => results::observed(tx, event, outcome)?,
        Fact::PullRequestEnded { end } if matches!(end.fate, PullRequestFate::Merged { .. }) => {
            reviews::merged_elsewhere(tx, end)?;
        }
        Fact::Triaged { triage } => memory::take_in(tx, event, triage)?,
        Fact::ModelAnswered { answer, .. } => {
            if let Some(usage) = spent(answer) {
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
        Fact::ChangeSeen { change } => open_run(tx, event, change.update.is_some())?,
        Fact::TournamentOpened { opening } => enter(tx, run, opening)?,
        Fact::Triaged { triage } => results::found(tx, event, run, triage)?,
        Fact::Proposed { variant, candidate } => {
            results::handed_in(tx, run, variant, &candidate.trial_tree)?;
        }
        Fact::Tried { trial } => results::tried(tx, run, trial)?,
        Fact::ModelAnswered {
            variant, answer, ..
        } => results::answered(
            tx,
            run,
            variant,
            answer.as_ref().ok(),
            spent(answer).unwrap_or_default(),
        )?,
        Fact::Refused { variant, .. } => mark(tx, "refused", run, variant)?,
        Fact::Decided { verdict } => {
            decide(tx, run, verdict)?;
            results::decided(tx, run, verdict)?;
        }
        Fact::Delivered { delivery } => deliver(tx, event, run, delivery)?,
        Fact::Reviewed { review, .. } => {
            reviews::take(tx, run, review)?;
            results::ruled(tx, run, &review.ruling)?;
        }
        Fact::RunClosed { status } => {
            if *status == RunStatus::Green {
                reviews::settle(tx, event)?;
            }
            tx.prepare_cached("UPDATE runs SET status = ?2 WHERE run = ?1")?
                .execute([&run.0, &status_name(*status)?])?;
        }
        _ => {}
    }
    Ok(())
}

fn deliver(
    tx: &Transaction<'_>,
    event: &Event,
    run: &RunId,
    delivery: &Delivery,
) -> Result<(), ReadError> {
    results::delivered(tx, event, run, delivery)?;
    match delivery {
        Delivery::Escalated { .. } | Delivery::Proposed { .. } => reviews::wait(tx, event, run)?,
        Delivery::Merged { .. } => {
            reviews::settle(tx, event)?;
            tx.prepare_cached(
                "UPDATE heats SET merged = 1
                 WHERE run = ?1 AND variant = (SELECT winner FROM runs WHERE run = ?1)",
            )?
            .execute([&run.0])?;
        }
        Delivery::Moot { .. } | Delivery::Withheld { .. } => {}
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

/// A row of a derived table that is not what the events come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its key, as `run app-1a2b3c, variant A`.
    pub row: String,
    pub how: String,
}

/// Makes the derived tables anew beside those of the log, in temporary ones: a name means the temporary table wherever there
/// is one. The connection is of no other use afterwards.
pub fn make_beside(tx: &Transaction<'_>) -> Result<(), ReadError> {
    for table in TABLES {
        let mut statement = tx.prepare(
            "SELECT sql FROM main.sqlite_schema WHERE tbl_name = ?1 AND sql IS NOT NULL
             ORDER BY type = 'table' DESC",
        )?;
        let made: Vec<String> = statement
            .query_map([table], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for sql in made {
            let beside = sql
                .replacen("CREATE TABLE ", "CREATE TABLE temp.", 1)
                .replacen("CREATE INDEX ", "CREATE INDEX temp.", 1);
            tx.execute_batch(&beside)?;
        }
    }
    rebuild(tx)
}

/// Tells each row of this table that differs from the one made beside it.
pub fn compare(
    tx: &Transaction<'_>,
    table: &'static str,
    mut tell: impl FnMut(Difference),
) -> Result<(), ReadError> {
    let columns: Vec<(String, bool)> = tx
        .prepare("SELECT name, pk > 0 FROM pragma_table_info(?1, 'main')")?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let key: Vec<&str> = columns
        .iter()
        .filter(|(_, in_key)| *in_key)
        .map(|(name, _)| name.as_str())
        .collect();
    let each = |names: &mut dyn Iterator<Item = &str>, form: &str, between: &str| {
        let all: Vec<String> = names.map(|name| form.replace('?', name)).collect();
        all.join(between)
    };
    let mut names = columns.iter().map(|(name, _)| name.as_str());
    let (stands, made) = (
        each(&mut names.clone(), "stands.?", ", "),
        each(&mut names.clone(), "made.?", ", "),
    );
    let query = format!(
        "SELECT {stands}, {made} FROM main.{table} AS stands FULL JOIN temp.{table} AS made ON {} WHERE {}
         ORDER BY {}",
        each(&mut key.iter().copied(), "stands.? = made.?", " AND "),
        each(&mut names, "stands.? IS NOT made.?", " OR "),
        each(&mut key.iter().copied(), "coalesce(stands.?, made.?)", ", "),
    );
    let mut statement = tx.prepare(&query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        tell(difference(row, &columns)?);
    }
    Ok(())
}

fn difference(row: &Row<'_>, columns: &[(String, bool)]) -> rusqlite::Result<Difference> {
    let is_there = |from: usize| {
        let mut values = (from..from + columns.len()).map(|index| row.get_ref(index));
        values.any(|value| value.is_ok_and(|value| value != ValueRef::Null))
    };
    let (stands, made) = (is_there(0), is_there(columns.len()));
    let key_from = if stands { 0 } else { columns.len() };
    let (mut key, mut how) = (vec![], vec![]);
    for (index, (name, in_key)) in columns.iter().enumerate() {
        let (then, now) = (row.get_ref(index)?, row.get_ref(columns.len() + index)?);
        if *in_key {
            key.push(format!("{name} {}", shown(row.get_ref(key_from + index)?)));
        } else if then != now {
            how.push(format!(
                "{name} is {}, and the events say {}",
                shown(then),
                shown(now)
            ));
        }
    }
    Ok(Difference {
        row: key.join(", "),
        how: match (stands, made) {
            (true, false) => "no event says so".to_owned(),
            (false, _) => "it is missing".to_owned(),
            (true, true) => how.join("; "),
        },
    })
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "nothing".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()),
    }
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

fn open_run(tx: &Transaction<'_>, event: &Event, is_update: bool) -> rusqlite::Result<()> {
    let Some(run) = &event.run else {
        return Ok(());
    };
    tx.prepare_cached(
        "INSERT OR IGNORE INTO runs (run, project, opened_seq, is_update) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![run.0, event.project, event.seq, is_update])?;
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

/// What an answer cost, or the fault in its place; None where it cost nothing.
fn spent(answer: &Result<ModelAnswer, Fault>) -> Option<Usage> {
    match answer {
        Ok(answer) => Some(answer.usage),
        Err(fault) => fault.usage.map(Usage::from),
    }
}

/// SQLite's integers are signed.
fn column(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

fn enter(tx: &Transaction<'_>, run: &RunId, opening: &Opening) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT OR IGNORE INTO heats (run, variant, strategy, digest, edition) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for entry in &opening.entries {
        insert.execute([
            &run.0,
            &entry.name,
            &entry.strategy.name,
            &entry.strategy.digest,
            &entry.edition(),
        ])?;
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
