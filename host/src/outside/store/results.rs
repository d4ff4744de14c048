//! How runs came out, what their variants did, and what became of their fixes.
//!
//! Touches: sqlite.
//! Change here: when another figure is wanted of a run (`rules/learn/stats.rs`). The tables are kept by `store/derived.rs`
//! through here.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::{nanoseconds, timestamp};
use super::{ReadError, StoreError};
use crate::event::{
    Attempt, Delivery, Event, Finding, FixFate, FixOutcome, How, Kind, ModelAnswer, Oid, Ruling,
    RunId, RunResult, Triage, Trial, Usage, Verdict,
};

/// A run whose fix is somewhere, and what was seen of it last.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    pub run: RunId,
    /// Delivered, or offered.
    pub commit: Oid,
    pub delivered_at: Timestamp,
    /// Merged by ChangeBus; else it is for people to merge.
    pub merged: bool,
    pub fate: Option<FixFate>,
    pub fate_at: Option<Timestamp>,
}

pub fn found(
    tx: &Transaction<'_>,
    event: &Event,
    run: &RunId,
    triage: &Triage,
) -> Result<(), ReadError> {
    if !matches!(triage.finding, Finding::Real | Finding::Flaky) {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT OR REPLACE INTO results (run, project, at, kind, class, language)
         SELECT ?1, ?2, coalesce((SELECT events.at FROM runs JOIN events ON events.seq = opened_seq WHERE runs.run = ?1), ?3),
             ?4, ?5, ?6",
    )?
    .execute(params![
        run.0,
        event.project,
        nanoseconds(event.at),
        word(&triage.finding)?,
        word(&triage.class.unwrap_or_default())?,
        triage.language.as_deref().unwrap_or_default()
    ])?;
    Ok(())
}

/// A variant handed in a candidate that is tried on this tree.
pub fn handed_in(
    tx: &Transaction<'_>,
    run: &RunId,
    variant: &str,
    tree: &Oid,
) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE heats SET proposed = 1, tree = ?3 WHERE run = ?1 AND variant = ?2")?
        .execute([&run.0, variant, &tree.0])?;
    Ok(())
}

/// One run of the tests that is not clean makes all of them so.
pub fn tried(tx: &Transaction<'_>, run: &RunId, trial: &Trial) -> rusqlite::Result<()> {
    let clean = trial.unfixed.is_empty()
        && trial.broken.is_empty()
        && trial.missing.is_empty()
        && trial.problem.is_none();
    tx.prepare_cached(
        "UPDATE heats SET clean = min(coalesce(clean, 1), ?3) WHERE run = ?1 AND tree = ?2",
    )?
    .execute(params![run.0, trial.tree.0, clean])?;
    Ok(())
}

pub fn answered(
    tx: &Transaction<'_>,
    run: &RunId,
    variant: &str,
    answer: Option<&ModelAnswer>,
    spent: Usage,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE heats SET cost_usd = cost_usd + ?3, model = coalesce(?4, model)
         WHERE run = ?1 AND variant = ?2",
    )?
    .execute(params![
        run.0,
        variant,
        spent.cost_usd,
        answer.map(|answer| &answer.model)
    ])?;
    Ok(())
}

pub fn decided(tx: &Transaction<'_>, run: &RunId, verdict: &Verdict) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE results SET confidence = ?2, evidence = ?3 WHERE run = ?1")?
        .execute(params![run.0, verdict.confidence, verdict.evidence])?;
    Ok(())
}

pub fn ruled(tx: &Transaction<'_>, run: &RunId, ruling: &Ruling) -> rusqlite::Result<()> {
    if let Ruling::Approve { .. } = ruling {
        tx.prepare_cached("UPDATE results SET approved = 1 WHERE run = ?1")?
            .execute([&run.0])?;
    }
    Ok(())
}

pub fn delivered(
    tx: &Transaction<'_>,
    event: &Event,
    run: &RunId,
    delivery: &Delivery,
) -> rusqlite::Result<()> {
    let commit = match delivery {
        Delivery::Merged { commit, .. } => Some(commit),
        other => other.offers(),
    };
    tx.prepare_cached(
        "UPDATE results SET how = ?2, delivered_at = ?3, offered = coalesce(?4, offered) WHERE run = ?1",
    )?
    .execute(params![
        run.0,
        delivery.name(),
        nanoseconds(event.at),
        commit.map(|commit| &commit.0)
    ])?;
    Ok(())
}

/// What was seen last counts, in whatever order it comes.
pub fn observed(
    tx: &Transaction<'_>,
    event: &Event,
    outcome: &FixOutcome,
) -> Result<(), ReadError> {
    tx.prepare_cached(
        "INSERT INTO outcomes (run, fate, at, id) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (run) DO UPDATE SET fate = excluded.fate, at = excluded.at, id = excluded.id
         WHERE (excluded.at, excluded.id) > (at, id)",
    )?
    .execute(params![
        outcome.run.0,
        word(&outcome.fate)?,
        nanoseconds(event.at),
        event.id
    ])?;
    Ok(())
}

/// Of this project, or of all, since this moment; oldest first.
pub fn results(
    c: &Connection,
    project: Option<&str>,
    since: Timestamp,
) -> Result<Vec<RunResult>, ReadError> {
    let mut statement = c.prepare_cached(
        "SELECT results.run, results.project, results.at, kind, class, language, winner, confidence, approved, how,
             delivered_at, fate, coalesce(evidence, confidence)
         FROM results JOIN runs USING (run) LEFT JOIN outcomes USING (run)
         WHERE (?1 IS NULL OR results.project = ?1) AND results.at >= ?2 ORDER BY results.at, results.run",
    )?;
    let mut rows = statement.query(params![project, nanoseconds(since)])?;
    let mut results = vec![];
    while let Some(row) = rows.next()? {
        let at = timestamp(row.get(2)?);
        let (finding, fate): (String, Option<String>) = (row.get(3)?, row.get(11)?);
        let (approved, how): (bool, Option<String>) = (row.get(8)?, row.get(9)?);
        let delivered = row.get::<_, Option<i64>>(10)?.map(timestamp);
        let fate = fate.map(read).transpose()?;
        results.push(RunResult {
            run: RunId(row.get(0)?),
            project: row.get(1)?,
            at,
            kind: match read(finding)? {
                Finding::Flaky => Kind::Flaky,
                _ => Kind::Real,
            },
            class: read(row.get(4)?)?,
            language: row.get(5)?,
            winner: row.get(6)?,
            confidence: row.get(7)?,
            evidence: row.get(12)?,
            how: way(how.as_deref(), approved, fate),
            seconds: delivered.map(|end| end.duration_since(at).as_secs_f64()),
            fate,
        });
    }
    Ok(results)
}

/// What people merged of what was offered to them, they approved.
fn way(how: Option<&str>, approved: bool, fate: Option<FixFate>) -> How {
    let is_in = matches!(
        fate,
        Some(FixFate::Merged | FixFate::Survived | FixFate::Reverted | FixFate::Edited)
    );
    match how {
        Some("merged") if approved => How::Approved,
        Some("merged") => How::Merged,
        Some("proposed" | "escalated") if is_in => How::Approved,
        Some("proposed") => How::Proposed,
        Some("escalated") => How::Escalated,
        _ => How::Not,
    }
}

/// What entered the tournaments of these runs.
pub fn attempts(
    c: &Connection,
    project: Option<&str>,
    since: Timestamp,
) -> rusqlite::Result<Vec<Attempt>> {
    c.prepare_cached(
        "SELECT heats.run, variant, strategy, digest, edition, model, proposed, coalesce(clean, 0), won, cost_usd
         FROM results JOIN heats USING (run)
         WHERE (?1 IS NULL OR project = ?1) AND at >= ?2 ORDER BY at, heats.run, variant",
    )?
    .query_map(params![project, nanoseconds(since)], |row| {
        Ok(Attempt {
            run: RunId(row.get(0)?),
            variant: row.get(1)?,
            strategy: row.get(2)?,
            digest: row.get(3)?,
            edition: row.get(4)?,
            model: row.get(5)?,
            proposed: row.get(6)?,
            clean: row.get(7)?,
            won: row.get(8)?,
            cost_usd: row.get(9)?,
        })
    })?
    .collect()
}

/// Real failures of this project but that of `but`, newest first, and what was seen last of what was made of them.
pub fn earlier(
    c: &Connection,
    project: &str,
    but: &RunId,
    most: usize,
) -> Result<Vec<(RunId, Option<FixFate>)>, ReadError> {
    let mut statement = c.prepare_cached(
        "SELECT run, fate FROM results LEFT JOIN outcomes USING (run)
         WHERE project = ?1 AND kind = 'real' AND run <> ?2 ORDER BY results.at DESC, run LIMIT ?3",
    )?;
    let mut rows = statement.query(params![
        project,
        but.0,
        i64::try_from(most).unwrap_or(i64::MAX)
    ])?;
    let mut earlier = vec![];
    while let Some(row) = rows.next()? {
        let fate: Option<String> = row.get(1)?;
        earlier.push((RunId(row.get(0)?), fate.map(read).transpose()?));
    }
    Ok(earlier)
}

/// What was seen last of what this run brought.
pub fn fate(c: &Connection, run: &RunId) -> Result<Option<FixFate>, ReadError> {
    let mut statement = c.prepare_cached("SELECT fate FROM outcomes WHERE run = ?1")?;
    let fate = statement.query_row([&run.0], |row| row.get(0)).optional()?;
    fate.map(read).transpose()
}

/// What this project has put out since this moment, oldest first.
pub fn fixes(c: &Connection, project: &str, since: Timestamp) -> Result<Vec<Fix>, ReadError> {
    let mut statement = c.prepare_cached(
        "SELECT run, offered, delivered_at, how = 'merged', fate, outcomes.at
         FROM results LEFT JOIN outcomes USING (run)
         WHERE project = ?1 AND offered IS NOT NULL AND delivered_at >= ?2 ORDER BY delivered_at, run",
    )?;
    let mut rows = statement.query(params![project, nanoseconds(since)])?;
    let mut fixes = vec![];
    while let Some(row) = rows.next()? {
        let fate: Option<String> = row.get(4)?;
        fixes.push(Fix {
            run: RunId(row.get(0)?),
            commit: Oid(row.get(1)?),
            delivered_at: timestamp(row.get(2)?),
            merged: row.get(3)?,
            fate: fate.map(read).transpose()?,
            fate_at: row.get::<_, Option<i64>>(5)?.map(timestamp),
        });
    }
    Ok(fixes)
}

/// As it stands in JSON, without the quotes.
fn word(value: &impl Serialize) -> Result<String, ReadError> {
    let unfit = |source| ReadError::from(StoreError::Unfit { source });
    let value = serde_json::to_value(value).map_err(unfit)?;
    serde_json::from_value(value).map_err(unfit)
}

fn read<T: DeserializeOwned>(word: String) -> Result<T, ReadError> {
    let unfit = |source| ReadError::from(StoreError::Unfit { source });
    serde_json::from_value(serde_json::Value::String(word)).map_err(unfit)
}
