//! What is kept beside the log and named by its facts: journals of plugin calls, reports on whole suites.
//!
//! They may be removed some time after their runs closed; the facts stay, and a note says until when it was done.
//!
//! Touches: sqlite.
//! Change here: when something else is kept beside the log, or is named elsewhere than in `Fact::body`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::readers::STANDS;
use super::record::{COLUMNS, nanoseconds, read_event, timestamp};
use super::{ReadError, chain, post};
use crate::event::RunId;

/// Unfolded at a time.
const PIECE: usize = 64 << 10;

/// The note of what was removed.
const NOTE: &str = "bodies-removed";
/// Pages that are given back to the file system at a time, where the database is set up for that.
const PAGES: u32 = 256;

/// Bodies of runs that closed before then were removed, so many days after that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    pub closed_before: Timestamp,
    pub days: u32,
}

/// Digests of what was kept lately: the fact that is to name it may be on its way still, while an old run names it too.
#[derive(Default)]
pub struct Fresh {
    lately: BTreeSet<String>,
    before: BTreeSet<String>,
}

impl Fresh {
    pub fn keep(&mut self, digest: &str) {
        self.lately.insert(digest.to_owned());
    }

    /// A removal begins. What was kept before the one before it has long been named.
    pub fn turn(&mut self) {
        self.before = std::mem::take(&mut self.lately);
    }

    fn holds(&self, digest: &str) -> bool {
        self.lately.contains(digest) || self.before.contains(digest)
    }
}

/// How the facts name a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The last fact that does.
    pub seq: i64,
    /// This host stated one of them, so the body was kept here.
    pub here: bool,
    /// All runs that name it closed before the time that was asked for.
    pub old: bool,
}

/// Every body that a fact names, by its digest, whether it is there or not.
pub fn named(
    c: &Connection,
    closed_before: Option<Timestamp>,
) -> Result<BTreeMap<String, Named>, ReadError> {
    let old = match closed_before {
        Some(time) => closed(c, time)?,
        None => BTreeSet::new(),
    };
    let query = format!("SELECT {COLUMNS} FROM events WHERE type IN ('plugin-called', 'tried')");
    let mut statement = c.prepare(&query)?;
    let mut rows = statement.query([])?;
    let mut found: BTreeMap<String, Named> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let event = read_event(row)?;
        let Some(digest) = event.fact.body() else {
            continue;
        };
        let named = found.entry(digest.to_owned()).or_insert(Named {
            seq: event.seq,
            here: false,
            old: true,
        });
        named.seq = named.seq.max(event.seq);
        named.here |= event.origin.is_none();
        named.old &= event.run.is_some_and(|run| old.contains(&run.0));
    }
    Ok(found)
}

fn closed(c: &Connection, before: Timestamp) -> rusqlite::Result<BTreeSet<String>> {
    let query =
        format!("SELECT run FROM events WHERE type = 'run-closed' AND at < ?1 AND {STANDS}");
    c.prepare(&query)?
        .query_map([nanoseconds(before)], |row| row.get(0))?
        .collect()
}

/// What may be removed: what old runs name, and none that is open or closed later.
pub fn old(c: &Connection, closed_before: Timestamp) -> Result<Vec<String>, ReadError> {
    let mut there = c.prepare("SELECT EXISTS (SELECT 1 FROM journals WHERE digest = ?1)")?;
    let mut found = vec![];
    for (digest, named) in named(c, Some(closed_before))? {
        if named.old && there.query_row([&digest], |row| row.get(0))? {
            found.push(digest);
        }
    }
    Ok(found)
}

/// The last removal.
pub fn removal(c: &Connection) -> Result<Option<Removal>, ReadError> {
    // Nobody else writes this note.
    let note = post::note(c, NOTE)?;
    Ok(note.and_then(|text| serde_json::from_str(&text).ok()))
}

/// How many days after its end a run's bodies were removed, if they were.
pub fn removed_after(c: &Connection, run: &RunId) -> Result<Option<u32>, ReadError> {
    let Some(removal) = removal(c)? else {
        return Ok(None);
    };
    let query =
        format!("SELECT at FROM events WHERE run = ?1 AND type = 'run-closed' AND {STANDS}");
    let closed: Option<i64> = c
        .prepare_cached(&query)?
        .query_row([&run.0], |row| row.get(0))
        .optional()?;
    let removed = closed.is_some_and(|at| timestamp(at) < removal.closed_before);
    Ok(removed.then_some(removal.days))
}

/// Notes a removal before anything is removed. One that goes less far is not worth a note: what the one before it removed
/// stays removed.
pub fn begin(tx: &Transaction<'_>, to_come: &Removal) -> Result<(), ReadError> {
    if removal(tx)?.is_some_and(|done| done.closed_before >= to_come.closed_before) {
        return Ok(());
    }
    let text =
        serde_json::to_string(to_come).map_err(|source| super::StoreError::Unfit { source })?;
    tx.execute(
        "INSERT INTO notes (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![NOTE, text],
    )?;
    Ok(())
}

pub fn remove(tx: &Transaction<'_>, digests: &[String], fresh: &Fresh) -> Result<(), ReadError> {
    let mut delete = tx.prepare_cached("DELETE FROM journals WHERE digest = ?1")?;
    for digest in digests.iter().filter(|digest| !fresh.holds(digest)) {
        delete.execute([digest])?;
    }
    give_back(tx)
}

/// Freed pages are used again. Only a database that somebody has set up so gives them back to the file system.
fn give_back(tx: &Transaction<'_>) -> Result<(), ReadError> {
    const INCREMENTAL: i64 = 2;
    let mode: i64 = tx.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    if mode == INCREMENTAL {
        let mut vacuum = tx.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
    }
    Ok(())
}

/// Whether this is what was kept under the digest.
pub fn is_sound(digest: &str, packed: &[u8]) -> bool {
    unfolded(packed).is_ok_and(|found| chain::hex(&found) == digest)
}

/// Piece by piece: nobody knows what a damaged one unfolds to.
fn unfolded(packed: &[u8]) -> std::io::Result<chain::Hash> {
    let mut decoder = zstd::Decoder::new(packed)?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match std::io::Read::read(&mut decoder, &mut piece)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(&piece[..read]),
        }
    }
}
