//! Turns a fact into a row of the log and a row back into an event.
//!
//! Touches: clock, sqlite.
//! Change here: when an event is kept with another column.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::Deserialize;

use super::{ReadError, StoreError, chain};
use crate::event::{Event, Fact, RunId};

/// The columns `read_event` expects, in its order.
pub const COLUMNS: &str = "seq, id, at, project, run, body, subject";

/// A fact on its way into the log.
pub struct Draft {
    project: String,
    run: Option<RunId>,
    expected_len: Option<u64>,
    kind: String,
    subject: String,
    body: String,
    /// The fact as it reads back.
    fact: Fact,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(rename = "type")]
    kind: String,
}

impl Draft {
    pub fn new(
        project: &str,
        run: Option<&RunId>,
        expected_len: Option<u64>,
        fact: &Fact,
    ) -> Result<Draft, StoreError> {
        let unfit = |source| StoreError::Unfit { source };
        let body = serde_json::to_string(fact).map_err(unfit)?;
        // A NaN is written as null and would make the run unreadable for good: find out now.
        let fact: Fact = serde_json::from_str(&body).map_err(unfit)?;
        let tag: Tag = serde_json::from_str(&body).map_err(unfit)?;
        Ok(Draft {
            project: project.to_owned(),
            run: run.cloned(),
            expected_len,
            kind: tag.kind,
            subject: fact.subject(project),
            body,
            fact,
        })
    }

    /// Writes the row as the next of the log and of its run.
    pub fn write(&self, tx: &Transaction<'_>) -> Result<Event, ReadError> {
        let version = self.next_version(tx)?;
        let last = chain::last(tx)?;
        let event = Event {
            seq: last.seq + 1,
            id: uuid::Uuid::now_v7().to_string(),
            at: Timestamp::now(),
            project: self.project.clone(),
            run: self.run.clone(),
            fact: self.fact.clone(),
        };
        let at = nanoseconds(event.at);
        let run = self.run.as_ref().map(|run| run.0.as_str());
        let row = chain::Row {
            seq: event.seq,
            id: &event.id,
            at,
            project: &self.project,
            run,
            version,
            kind: &self.kind,
            subject: &self.subject,
            body: &self.body,
        };
        let hash = row.hash_after(&last.hash);
        tx.prepare_cached(
            "INSERT INTO events (seq, id, at, project, run, version, type, subject, body, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            row.seq,
            row.id,
            at,
            row.project,
            run,
            version,
            row.kind,
            row.subject,
            row.body,
            hash
        ])?;
        Ok(event)
    }

    fn next_version(&self, tx: &Transaction<'_>) -> Result<Option<i64>, ReadError> {
        let Some(run) = &self.run else {
            return Ok(None);
        };
        let length = run_length(tx, run)?;
        match self.expected_len {
            Some(expected) if expected != length as u64 => Err(StoreError::Overtaken {
                run: run.clone(),
                expected,
                found: length as u64,
            }
            .into()),
            _ => Ok(Some(length + 1)),
        }
    }
}

fn run_length(tx: &Transaction<'_>, run: &RunId) -> rusqlite::Result<i64> {
    let longest = tx
        .prepare_cached("SELECT version FROM events WHERE run = ?1 ORDER BY version DESC LIMIT 1")?
        .query_row([&run.0], |row| row.get(0))
        .optional()?;
    Ok(longest.unwrap_or(0))
}

/// Reads a row of `COLUMNS`.
pub fn read_event(row: &Row<'_>) -> Result<Event, ReadError> {
    let seq: i64 = row.get(0)?;
    let run: Option<String> = row.get(4)?;
    let body = row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?;
    let fact = serde_json::from_str(body)
        .map_err(|source| ReadError::from(StoreError::Unreadable { seq, source }))?;
    Ok(Event {
        seq,
        id: row.get(1)?,
        at: timestamp(row.get(2)?),
        project: row.get(3)?,
        run: run.map(RunId),
        fact,
    })
}

/// Until the year 2262 the time fits; a clock beyond that counts as there.
pub fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

pub fn timestamp(nanoseconds: i64) -> Timestamp {
    // jiff's range holds every i64 of nanoseconds.
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::MAX)
}
