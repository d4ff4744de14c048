//! Turns a fact into a row of the log and a row back into an event.
//!
//! Touches: clock, sqlite.
//! Change here: when an event is kept with another column.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::chain::Last;
use super::readers::IN_VAIN;
use super::{ReadError, StoreError, chain};
use crate::event::{Event, Fact, RunId};

/// Runs whose ends are remembered: more than are open at a time.
const RUNS_KNOWN: usize = 1024;

/// The columns `read_event` expects, in its order.
pub const COLUMNS: &str = "seq, id, at, project, run, body, subject, version, epoch, origin";

/// Where an event stands in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind all others, and all of them are of its tenure.
    Next,
    /// Anywhere: it may come late, or take the place of others.
    Anywhere,
}

/// A fact on its way into the log.
pub struct Draft {
    /// As whoever stated it gets it back. What only the writer knows is set when it is written.
    event: Event,
    expected_len: Option<u64>,
    kind: String,
    subject: String,
    body: String,
}

/// What the fact is called in its JSON. It stands first, and the body may be long.
fn kind(body: &str) -> serde_json::Result<String> {
    let rest = body.strip_prefix("{\"type\":\"");
    let kind = rest.and_then(|rest| rest.split_once('"'));
    kind.map(|(kind, _)| kind.to_owned())
        .ok_or_else(|| serde::de::Error::missing_field("type"))
}

impl Draft {
    pub fn new(
        project: &str,
        run: Option<&RunId>,
        expected_len: Option<u64>,
        fact: Fact,
    ) -> Result<Draft, StoreError> {
        let event = Event {
            seq: 0,
            id: String::new(),
            at: Timestamp::UNIX_EPOCH,
            project: project.to_owned(),
            run: run.cloned(),
            version: None,
            epoch: 0,
            origin: None,
            fact,
        };
        Ok(Draft {
            expected_len,
            ..Draft::of(event)?
        })
    }

    /// What another host stated, as it stated it.
    pub fn of(mut event: Event) -> Result<Draft, StoreError> {
        let unfit = |source| StoreError::Unfit { source };
        let body = serde_json::to_string(&event.fact).map_err(unfit)?;
        // A NaN is written as null and would make the run unreadable for good: find out now. The event has the fact as it
        // reads back.
        event.fact = serde_json::from_str(&body).map_err(unfit)?;
        Ok(Draft {
            expected_len: None,
            kind: kind(&body).map_err(unfit)?,
            subject: event.fact.subject(&event.project),
            body,
            event,
        })
    }

    pub fn project(&self) -> &str {
        &self.event.project
    }

    /// What it came to. Complete once it is written.
    pub fn event(&self) -> &Event {
        &self.event
    }

    pub fn into_event(self) -> Event {
        self.event
    }

    /// A change is opened only when nothing of its project is open that counts. What others opened may come in at any
    /// moment, so it is asked here, where nothing can come in between.
    pub fn comes_first(&self, tx: &Transaction<'_>) -> Result<(), ReadError> {
        if !matches!(self.event.fact, Fact::ChangeSeen { .. }) {
            return Ok(());
        }
        let query = format!(
            "SELECT run FROM runs WHERE project = ?1 AND status IS NULL AND NOT {IN_VAIN} LIMIT 1"
        );
        let open: Option<String> = tx
            .prepare_cached(&query)?
            .query_row([self.project()], |row| row.get(0))
            .optional()?;
        match open {
            None => Ok(()),
            Some(run) => Err(StoreError::StillOpen {
                project: self.event.project.clone(),
                run: RunId(run),
            }
            .into()),
        }
    }

    /// Writes the row as the next of the log and of its run, stated in this tenure.
    pub fn write(
        &mut self,
        tx: &Transaction<'_>,
        ends: &mut Ends,
        epoch: u64,
    ) -> Result<Place, ReadError> {
        let (version, place) = self.next(tx, ends, epoch)?;
        self.event.id = uuid::Uuid::now_v7().to_string();
        self.event.at = Timestamp::now();
        (self.event.version, self.event.epoch) = (version, epoch);
        self.insert(tx, &mut ends.last)?;
        ends.moved(&self.event);
        Ok(place)
    }

    /// Writes what another host stated, as it stated it. False where it is here already.
    ///
    /// # Errors
    /// `Contradicts` where another event has its place.
    pub fn import(&mut self, tx: &Transaction<'_>, ends: &mut Ends) -> Result<bool, ReadError> {
        let told = &self.event;
        let known: i64 = tx
            .prepare_cached("SELECT count(*) FROM events WHERE id = ?1")?
            .query_row([&told.id], |row| row.get(0))?;
        if known > 0 {
            return Ok(false);
        }
        if let (Some(run), Some(version)) = (&told.run, told.version) {
            let taken: Option<String> = tx
                .prepare_cached(
                    "SELECT id FROM events WHERE run = ?1 AND epoch = ?2 AND version = ?3",
                )?
                .query_row(params![run.0, number(told.epoch), number(version)], |row| {
                    row.get(0)
                })
                .optional()?;
            if let Some(other) = taken {
                return Err(StoreError::Contradicts {
                    id: told.id.clone(),
                    other,
                }
                .into());
            }
        }
        if let Some(run) = &told.run {
            ends.runs.remove(&run.0);
        }
        self.insert(tx, &mut ends.last)?;
        Ok(true)
    }

    /// The event gets its place in this log.
    fn insert(&mut self, tx: &Transaction<'_>, last: &mut Last) -> Result<(), ReadError> {
        self.event.seq = last.seq + 1;
        let event = &self.event;
        let row = chain::Row {
            seq: event.seq,
            id: &event.id,
            at: nanoseconds(event.at),
            project: &event.project,
            run: event.run.as_ref().map(|run| run.0.as_str()),
            version: event.version.map(number),
            epoch: number(event.epoch),
            origin: event.origin.as_deref(),
            kind: &self.kind,
            subject: &self.subject,
            body: &self.body,
        };
        let hash = row.hash_after(&last.hash);
        // Without IGNORE, SQLite would copy each page before the insert touches it, to be able to take back this statement
        // alone (`0008-appends.sql`). Here an event that was passed over takes back the whole transaction.
        let written = tx
            .prepare_cached(
                "INSERT OR IGNORE INTO events
                     (seq, id, at, project, run, version, epoch, origin, type, subject, body, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                row.seq,
                row.id,
                row.at,
                row.project,
                row.run,
                row.version,
                row.epoch,
                row.origin,
                row.kind,
                row.subject,
                row.body,
                hash
            ])?;
        if written != 1 {
            return Err(rusqlite::Error::StatementChangedRows(written).into());
        }
        *last = Last { seq: row.seq, hash };
        Ok(())
    }

    fn next(
        &self,
        tx: &Transaction<'_>,
        ends: &mut Ends,
        epoch: u64,
    ) -> Result<(Option<u64>, Place), ReadError> {
        let Some(run) = &self.event.run else {
            return Ok((None, Place::Anywhere));
        };
        let Reached {
            length,
            newest,
            oldest,
        } = ends.of_run(tx, run)?;
        let overtaken = || StoreError::Overtaken {
            run: run.clone(),
            expected: self.expected_len.unwrap_or(length),
            found: length,
        };
        if newest > epoch || self.expected_len.is_some_and(|expected| expected != length) {
            return Err(overtaken().into());
        }
        let place = match length == 0 || oldest == epoch {
            true => Place::Next,
            false => Place::Anywhere,
        };
        Ok((Some(length + 1), place))
    }
}

/// Where the log and its runs end. The one writer need not ask for it before each event, as long as all it writes is kept.
pub struct Ends {
    last: Last,
    runs: BTreeMap<String, Reached>,
}

impl Ends {
    pub fn read(tx: &Transaction<'_>) -> rusqlite::Result<Ends> {
        Ok(Ends {
            last: chain::last(tx)?,
            runs: BTreeMap::new(),
        })
    }

    fn of_run(&mut self, tx: &Transaction<'_>, run: &RunId) -> rusqlite::Result<Reached> {
        if let Some(known) = self.runs.get(&run.0) {
            return Ok(*known);
        }
        if self.runs.len() >= RUNS_KNOWN {
            self.runs.clear();
        }
        let reached = reached(tx, run)?;
        self.runs.insert(run.0.clone(), reached);
        Ok(reached)
    }

    /// What was written is the end of its run now.
    fn moved(&mut self, event: &Event) {
        let (Some(run), Some(version)) = (&event.run, event.version) else {
            return;
        };
        if let Some(end) = self.runs.get_mut(&run.0) {
            if end.length == 0 {
                end.oldest = event.epoch;
            }
            (end.length, end.newest) = (version, event.epoch);
        }
    }
}

/// How long a run's stream is, and the tenures it was stated in.
#[derive(Clone, Copy, Default)]
struct Reached {
    length: u64,
    newest: u64,
    oldest: u64,
}

fn reached(tx: &Transaction<'_>, run: &RunId) -> rusqlite::Result<Reached> {
    let reached = tx
        .prepare_cached(
            "SELECT version, epoch, (SELECT epoch FROM events WHERE run = ?1 ORDER BY epoch LIMIT 1)
             FROM events WHERE run = ?1 ORDER BY epoch DESC, version DESC LIMIT 1",
        )?
        .query_row([&run.0], |row| {
            Ok(Reached {
                length: unsigned(row.get(0)?),
                newest: unsigned(row.get(1)?),
                oldest: unsigned(row.get(2)?),
            })
        })
        .optional()?;
    Ok(reached.unwrap_or_default())
}

/// SQLite's integers are signed; nothing here comes near the end of them.
pub fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(column: i64) -> u64 {
    column.unsigned_abs()
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
        version: row.get::<_, Option<i64>>(7)?.map(unsigned),
        epoch: unsigned(row.get(8)?),
        origin: row.get(9)?,
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
