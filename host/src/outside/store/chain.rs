//! Chains each event to the one before it, so that a changed byte anywhere is found.
//!
//! Touches: sqlite.
//! Change here: never for logs that exist; a new kind of hash needs a migration and a column that says so.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use super::{ReadError, StoreError, Verified};

pub type Hash = [u8; 32];

/// What the first event follows.
const START: Hash = [0; 32];

/// The end of the log.
pub struct Last {
    pub seq: i64,
    pub hash: Hash,
}

/// Every column of an event but its hash.
pub struct Row<'a> {
    pub seq: i64,
    pub id: &'a str,
    pub at: i64,
    pub project: &'a str,
    pub run: Option<&'a str>,
    pub version: Option<i64>,
    pub epoch: i64,
    pub origin: Option<&'a str>,
    pub kind: &'a str,
    pub subject: &'a str,
    pub body: &'a str,
}

impl Row<'_> {
    pub fn hash_after(&self, previous: &Hash) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(previous);
        for number in [self.seq, self.at, self.version.unwrap_or(0)] {
            hasher.update(number.to_be_bytes());
        }
        let run = self.run.unwrap_or("");
        let texts = [
            self.id,
            self.project,
            run,
            self.kind,
            self.subject,
            self.body,
        ];
        // What was kept before there were others has neither, and hashes as it did then.
        if self.epoch != 0 || self.origin.is_some() {
            hasher.update(self.epoch.to_be_bytes());
            hasher.update(self.origin.unwrap_or("").as_bytes());
        }
        for text in texts {
            // The length first, so that no two rows can spell the same bytes.
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().into()
    }
}

pub fn last(connection: &Connection) -> rusqlite::Result<Last> {
    let last = connection
        .prepare_cached("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| {
            Ok(Last {
                seq: row.get(0)?,
                hash: row.get(1)?,
            })
        })
        .optional()?;
    Ok(last.unwrap_or(Last {
        seq: 0,
        hash: START,
    }))
}

/// Walks the whole chain; the first event that does not follow is named.
pub fn verify(connection: &Connection, path: &Path) -> Result<Verified, ReadError> {
    let mut at = Last {
        seq: 0,
        hash: START,
    };
    let mut statement = connection.prepare(
        "SELECT seq, id, at, project, run, version, type, subject, body, hash, epoch, origin
         FROM events ORDER BY seq",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // A flipped byte may also have made a text unreadable or a number a text.
        at = follow(row, &at).ok_or_else(|| StoreError::Altered {
            path: path.to_owned(),
            seq: at.seq + 1,
        })?;
    }
    Ok(Verified {
        events: at.seq,
        head: hex(&at.hash),
    })
}

/// The row as the new end of the chain, if it follows from the old one.
fn follow(row: &rusqlite::Row<'_>, before: &Last) -> Option<Last> {
    let text = |index| row.get_ref(index).ok()?.as_str().ok();
    let id = text(1)?;
    let run = row.get_ref(4).ok()?.as_str_or_null().ok()?;
    let columns = Row {
        seq: row.get(0).ok()?,
        id,
        at: row.get(2).ok()?,
        project: text(3)?,
        run,
        version: row.get(5).ok()?,
        epoch: row.get(10).ok()?,
        origin: row.get_ref(11).ok()?.as_str_or_null().ok()?,
        kind: text(6)?,
        subject: text(7)?,
        body: text(8)?,
    };
    let hash: Hash = row.get(9).ok()?;
    let follows = columns.seq == before.seq + 1 && columns.hash_after(&before.hash) == hash;
    follows.then_some(Last {
        seq: columns.seq,
        hash,
    })
}

pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
