//! Which runs wait for people.
//!
//! Touches: sqlite.
//! Change here: when a run stops waiting for another reason.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::ReadError;
use super::record::{COLUMNS, read_event, timestamp};
use crate::event::{
    Event, Fact, PullRequest, PullRequestEnd, PullRequestFate, Review, Ruling, RunId, Task,
};

/// A run that waits for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub run: RunId,
    pub project: String,
    pub since: Timestamp,
    /// The event that asked for people.
    pub because: String,
}

/// A pull request, and what came of it, if something did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    pub request: PullRequest,
    pub fate: Option<PullRequestFate>,
}

/// What settled it may have been taken in before. The log is looked through by project and type: left to itself, SQLite goes
/// through all that the project ever had, for each run that waits.
pub fn wait(tx: &Transaction<'_>, event: &Event, run: &RunId) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO reviews (run, project, seq, state)
         SELECT ?1, ?2, ?3, CASE WHEN EXISTS (
             SELECT 1 FROM events INDEXED BY events_by_type
             WHERE project = ?2 AND type = 'run-closed' AND seq > ?3 AND run IS NOT ?1
                 AND body ->> '$.status' = 'green')
             OR EXISTS (
             SELECT 1 FROM events INDEXED BY events_by_type
             WHERE project = ?2 AND type = 'delivered' AND seq > ?3 AND run IS NOT ?1
                 AND body ->> '$.delivery.how' = 'merged')
             OR EXISTS (
             SELECT 1 FROM events INDEXED BY events_by_type
             WHERE project = ?2 AND type = 'watched' AND seq > ?3 AND run IS NOT ?1
                 AND body ->> '$.sighting.reason' = 'tree-already-green')
             OR EXISTS (
             SELECT 1 FROM events INDEXED BY events_by_type
             WHERE project = ?2 AND type = 'pull-request-ended' AND instr(body, ?4)
                 AND body ->> '$.end.about' = ?4 AND body ->> '$.end.fate.how' = 'merged')
             THEN 'moot' ELSE 'waiting' END
         WHERE true
         ON CONFLICT (run) DO UPDATE SET seq = excluded.seq, state = excluded.state WHERE excluded.seq > seq",
    )?
    .execute(params![run.0, event.project, event.seq, event.id])?;
    Ok(())
}

/// People merged it on the forge. What was rejected before stays so: a run that is told anew takes the ruling in last.
pub fn merged_elsewhere(tx: &Transaction<'_>, end: &PullRequestEnd) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE reviews SET state = 'moot'
         WHERE run = ?1 AND state = 'waiting' AND seq = (SELECT seq FROM events WHERE id = ?2)",
    )?
    .execute(params![end.run.0, end.about])?;
    Ok(())
}

/// An approved run is open again, and waits again if it comes to that.
pub fn take(tx: &Transaction<'_>, run: &RunId, review: &Review) -> rusqlite::Result<()> {
    match &review.ruling {
        Ruling::Approve { variant } => {
            tx.prepare_cached("DELETE FROM reviews WHERE run = ?1")?
                .execute([&run.0])?;
            tx.prepare_cached(
                "UPDATE runs SET status = NULL, winner = coalesce(?2, winner) WHERE run = ?1",
            )?
            .execute(params![run.0, variant])?;
        }
        Ruling::Reject => {
            tx.prepare_cached("UPDATE reviews SET state = 'rejected' WHERE run = ?1")?
                .execute([&run.0])?;
        }
    }
    Ok(())
}

/// The branch is green, or was mended: nobody has to decide about earlier failures of it any more. What an update broke
/// never was on the branch.
pub fn settle(tx: &Transaction<'_>, event: &Event) -> rusqlite::Result<()> {
    let run = event.run.as_ref().map(|run| run.0.as_str());
    tx.prepare_cached(
        "UPDATE reviews SET state = 'moot' WHERE project = ?1 AND state = 'waiting' AND run IS NOT ?2 AND seq < ?3
         AND run NOT IN (SELECT run FROM runs WHERE is_update = 1)",
    )?
    .execute(params![event.project, run, event.seq])?;
    Ok(())
}

/// Oldest first.
pub fn waiting(c: &Connection) -> rusqlite::Result<Vec<Waiting>> {
    c.prepare_cached(
        "SELECT reviews.run, reviews.project, events.at, events.id FROM reviews JOIN events USING (seq)
         WHERE state = 'waiting' ORDER BY seq",
    )?
    .query_map([], |row| {
        Ok(Waiting {
            run: RunId(row.get(0)?),
            project: row.get(1)?,
            since: timestamp(row.get(2)?),
            because: row.get(3)?,
        })
    })?
    .collect()
}

/// Every task that was posted, and whether something came of it.
pub fn tasks(c: &Connection) -> Result<Vec<(Task, bool)>, ReadError> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE type IN ('task-posted', 'task-ended') AND at > 0 ORDER BY seq"
    );
    let mut statement = c.prepare_cached(&query)?;
    let mut rows = statement.query([])?;
    let (mut posted, mut ended) = (vec![], BTreeSet::new());
    while let Some(row) = rows.next()? {
        match read_event(row)?.fact {
            Fact::TaskPosted { task } => posted.push(task),
            Fact::TaskEnded { end } => drop(ended.insert(end.id)),
            _ => {}
        }
    }
    let with_end = |task: Task| {
        let has_ended = ended.contains(&task.id);
        (task, has_ended)
    };
    Ok(posted.into_iter().map(with_end).collect())
}

/// Every pull request that was opened, oldest first, and what came of it.
pub fn pull_requests(c: &Connection) -> Result<Vec<Offered>, ReadError> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE type IN ('pull-request-opened', 'pull-request-ended') AND at > 0
         ORDER BY seq"
    );
    let mut statement = c.prepare_cached(&query)?;
    let mut rows = statement.query([])?;
    let (mut opened, mut ended) = (vec![], BTreeMap::new());
    while let Some(row) = rows.next()? {
        match read_event(row)?.fact {
            Fact::PullRequestOpened { request } => opened.push(request),
            Fact::PullRequestEnded { end } => drop(ended.insert(end.about, end.fate)),
            _ => {}
        }
    }
    let with_end = |request: PullRequest| {
        let fate = ended.get(&request.about).cloned();
        Offered { request, fate }
    };
    Ok(opened.into_iter().map(with_end).collect())
}

/// Decisions about runs of this project that were given after this place in the log.
pub fn given(c: &Connection, project: &str, after: i64) -> Result<Vec<Event>, ReadError> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE project = ?1 AND type = 'review-given' AND seq > ?2 ORDER BY seq"
    );
    let mut statement = c.prepare_cached(&query)?;
    let mut rows = statement.query(params![project, after])?;
    let mut found = vec![];
    while let Some(row) = rows.next()? {
        found.push(read_event(row)?);
    }
    Ok(found)
}
