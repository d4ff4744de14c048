//! What earlier runs say about the tests of a project: which flipped, and which failures are in hand.
//!
//! Touches: sqlite.
//! Change here: when triage has a new question for the log. The tables are kept by `store/derived.rs` through here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::ReadError;
use super::record::{nanoseconds, timestamp};
use crate::event::{Event, Fact, Finding, Flips, InHand, RunId, Triage};

/// Of a project's runs, the newest that count.
const REMEMBERED: i64 = 40;
/// Runs that may have a failure in hand; older ones are forgotten.
const IN_HAND: i64 = 50;

/// A test that flipped in one of the last runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Flake {
    pub test: String,
    pub seen: Flips,
    pub last: Timestamp,
}

pub fn take_in(tx: &Transaction<'_>, event: &Event, triage: &Triage) -> rusqlite::Result<()> {
    let Some(run) = &event.run else {
        return Ok(());
    };
    let mut flip = tx.prepare_cached(
        "INSERT OR IGNORE INTO flips (project, test, run, at) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for test in &triage.flaky {
        flip.execute(params![event.project, test, run.0, nanoseconds(event.at)])?;
    }
    if triage.finding != Finding::Real {
        return Ok(());
    }
    let mut failure =
        tx.prepare_cached("INSERT OR IGNORE INTO failures (run, test, print) VALUES (?1, ?2, ?3)")?;
    for (test, print) in &triage.prints {
        if triage.failing.contains(test) {
            failure.execute([&run.0, test, print])?;
        }
    }
    Ok(())
}

/// The project's tests that flipped in its last runs, those that did so most often first. `but` is a run that does not
/// count: the one that asks.
pub fn flakes(c: &Connection, project: &str, but: Option<&RunId>) -> rusqlite::Result<Vec<Flake>> {
    c.prepare_cached(
        "WITH recent AS (SELECT run FROM runs WHERE project = ?1 AND run IS NOT ?2
             ORDER BY opened_seq DESC LIMIT ?3)
         SELECT test, count(*), (SELECT count(*) FROM recent), max(at)
         FROM flips JOIN recent USING (run) WHERE project = ?1
         GROUP BY test ORDER BY count(*) DESC, max(at) DESC, test",
    )?
    .query_map(params![project, but.map(|run| &run.0), REMEMBERED], |row| {
        Ok(Flake {
            test: row.get(0)?,
            seen: Flips {
                flips: row.get(1)?,
                runs: row.get(2)?,
            },
            last: timestamp(row.get(3)?),
        })
    })?
    .collect()
}

/// The runs of this project that are open or were given to people, with what they found broken; newest first.
pub fn in_hand(c: &Connection, project: &str, but: &RunId) -> Result<Vec<InHand>, ReadError> {
    let mut statement = c.prepare_cached(
        "WITH live AS (SELECT run, opened_seq FROM runs WHERE project = ?1 AND run <> ?2 AND is_update = 0
             AND (status IS NULL OR status IN ('human', 'no-fix'))
             ORDER BY opened_seq DESC LIMIT ?3)
         SELECT live.run, opened_seq, test, print, body FROM live
             JOIN failures ON failures.run = live.run JOIN events ON events.seq = opened_seq
             ORDER BY opened_seq DESC",
    )?;
    let mut rows = statement.query(params![project, but.0, IN_HAND])?;
    let mut found: Vec<InHand> = Vec::new();
    while let Some(row) = rows.next()? {
        let run = RunId(row.get(0)?);
        if found.last().is_none_or(|last| last.run != run) {
            let (seq, body): (i64, String) = (row.get(1)?, row.get(4)?);
            let unreadable = |source| super::StoreError::Unreadable { seq, source };
            let Fact::ChangeSeen { change } = serde_json::from_str(&body).map_err(unreadable)?
            else {
                continue;
            };
            found.push(InHand {
                run,
                head: change.head,
                prints: BTreeMap::new(),
            });
        }
        if let Some(last) = found.last_mut() {
            last.prints.insert(row.get(2)?, row.get(3)?);
        }
    }
    Ok(found)
}
