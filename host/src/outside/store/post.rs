//! What is still to be told to the fleet, and what could not be told or understood.
//!
//! Touches: sqlite, clock.
//! Change here: when telling others needs another thing remembered.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::ReadError;
use super::record::{COLUMNS, nanoseconds, read_event, timestamp};
use crate::event::Event;

/// Of what could not be understood, for whoever looks at it.
pub const MOST_KEPT: usize = 64 << 10;

/// Messages that could not be understood; the oldest are forgotten first.
pub const MOST_DEAD: u32 = 1000;

/// Something to write about the post.
pub enum Work {
    /// These were told, up to and with each.
    Told(Vec<i64>),
    /// Nothing of what was told is there any more: tell all of it again. The name and value are noted with it.
    TellAll {
        name: String,
        value: String,
    },
    Bury(Dead),
    /// What could not be told goes out again; what came in is only taken from the dead.
    Revive {
        id: String,
    },
}

/// A message nobody could make anything of, or an event that could not be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    pub id: String,
    /// It came from outside; else it could not be told.
    pub coming: bool,
    pub subject: String,
    /// At most [`MOST_KEPT`] bytes of what came; empty for what could not be told, which is in the log.
    pub body: Vec<u8>,
    /// Bytes of all that came.
    pub size: u64,
    pub why: String,
    pub attempts: u32,
    pub at: Timestamp,
}

impl Dead {
    /// Not all of what came was kept, so it cannot be tried again.
    pub fn is_cut(&self) -> bool {
        self.coming && self.size > self.body.len() as u64
    }
}

pub fn put_out(tx: &Transaction<'_>, seq: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO outbox (seq) VALUES (?1)")?
        .execute([seq])?;
    Ok(())
}

pub fn perform(tx: &Transaction<'_>, work: &Work) -> rusqlite::Result<()> {
    match work {
        Work::Told(seqs) => {
            let mut delete = tx.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?;
            for seq in seqs {
                delete.execute([seq])?;
            }
        }
        Work::TellAll { name, value } => {
            tx.execute("INSERT OR IGNORE INTO outbox SELECT seq FROM events", [])?;
            tx.execute(
                "INSERT INTO notes (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [name, value],
            )?;
        }
        Work::Bury(dead) => bury(tx, dead)?,
        Work::Revive { id } => {
            tx.execute(
                "INSERT OR IGNORE INTO outbox SELECT seq FROM events
                 WHERE id = (SELECT id FROM dead WHERE id = ?1 AND coming = 0)",
                [id],
            )?;
            tx.execute("DELETE FROM dead WHERE id = ?1", [id])?;
        }
    }
    Ok(())
}

fn bury(tx: &Transaction<'_>, dead: &Dead) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO dead (id, coming, subject, body, size, why, attempts, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (id) DO UPDATE SET why = excluded.why, attempts = attempts + 1, at = excluded.at",
        params![
            dead.id,
            dead.coming,
            dead.subject,
            &dead.body[..dead.body.len().min(MOST_KEPT)],
            super::record::number(dead.size),
            dead.why,
            dead.attempts,
            nanoseconds(dead.at)
        ],
    )?;
    if dead.coming {
        // Whoever sends rubbish without end must not fill the disk with it.
        tx.execute(
            "DELETE FROM dead WHERE coming = 1 AND id NOT IN
             (SELECT id FROM dead WHERE coming = 1 ORDER BY at DESC, id DESC LIMIT ?1)",
            [MOST_DEAD],
        )?;
    } else {
        tx.execute(
            "DELETE FROM outbox WHERE seq = (SELECT seq FROM events WHERE id = ?1)",
            [&dead.id],
        )?;
    }
    Ok(())
}

/// What waits, oldest first.
pub fn waiting(c: &Connection, limit: usize) -> Result<Vec<Event>, ReadError> {
    let query =
        format!("SELECT {COLUMNS} FROM outbox JOIN events USING (seq) ORDER BY seq LIMIT ?1");
    let mut statement = c.prepare_cached(&query)?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read_event(row)?);
    }
    Ok(found)
}

/// How many wait, and the oldest of them; the seq behind the newest event where none does.
pub fn backlog(c: &Connection) -> rusqlite::Result<(u64, i64)> {
    c.prepare_cached(
        "SELECT count(*), coalesce(min(seq), (SELECT coalesce(max(seq), 0) + 1 FROM events)) FROM outbox",
    )?
    .query_row([], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)))
}

pub fn dead(c: &Connection) -> rusqlite::Result<Vec<Dead>> {
    c.prepare_cached(
        "SELECT id, coming, subject, body, size, why, attempts, at FROM dead ORDER BY at, id",
    )?
    .query_map([], |row| {
        Ok(Dead {
            id: row.get(0)?,
            coming: row.get(1)?,
            subject: row.get(2)?,
            body: row.get(3)?,
            size: row.get::<_, i64>(4)?.unsigned_abs(),
            why: row.get(5)?,
            attempts: row.get(6)?,
            at: timestamp(row.get(7)?),
        })
    })?
    .collect()
}

pub fn note(c: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    c.prepare_cached("SELECT value FROM notes WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub fn newest_epoch(c: &Connection, project: &str) -> rusqlite::Result<u64> {
    c.prepare_cached("SELECT coalesce(max(epoch), 0) FROM events WHERE project = ?1")?
        .query_row([project], |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
}
