//! Looks the whole log over, as it stands at one moment, beside whoever writes it.
//!
//! Touches: sqlite, files.
//! Change here: when something else about a log can be found out to be wrong.

use std::path::Path;

use rusqlite::Transaction;
use serde::Serialize;

use super::{ReadError, StoreError, Verified, bodies, chain, derived, file, readers};

/// Flaws of one kind that are told one by one; how many more there are is told as a number.
const TOLD: usize = 20;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Examined {
    pub events: i64,
    /// Hash of the last event, hex; none where the chain is broken. Worth keeping elsewhere: a log cut short is sound too.
    pub head: Option<String>,
    /// Of the database and its write-ahead log.
    pub bytes: u64,
    /// Journals and reports that are kept beside the events.
    pub bodies: u64,
    /// Bodies that were removed when their time was over.
    pub removed: u64,
    /// Bodies that facts of other hosts name, and are kept there.
    pub elsewhere: u64,
    pub flaws: Vec<Flaw>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Flaw {
    #[error("the database is damaged: {finding}")]
    Damaged { finding: String },
    #[error("event {seq} is not what was written: its hash does not follow from the one before")]
    Altered { seq: i64 },
    #[error("event {seq} does not read as a fact this version knows")]
    Unreadable { seq: i64 },
    #[error("table {table}, {row}: {how}")]
    Derived {
        table: &'static str,
        row: String,
        how: String,
    },
    #[error("body {digest} is not what was kept under this digest")]
    Changed { digest: String },
    #[error("body {digest} is gone, and event {seq} names it")]
    Lost { digest: String, seq: i64 },
    #[error("and {count} more of this kind")]
    More { count: usize },
}

pub fn examine(path: &Path) -> Result<Examined, StoreError> {
    let mut connection = file::open_for_reading(path)?;
    file::require_current_schema(path, &connection)?;
    // All questions are asked of one and the same moment.
    let tx = connection.transaction().map_err(file::refused(path))?;
    let mut examination = Examination {
        path,
        flaws: vec![],
    };
    let events = readers::newest(&tx).map_err(file::refused(path))?;
    examination.of(pages(&tx))?;
    let verified = examination.of(chain::verify(&tx, path).map(|found| Looked {
        found,
        flaws: vec![],
    }))?;
    examination.of(derived_tables(&tx))?;
    let counts = examination.of(kept_bodies(&tx))?.unwrap_or_default();
    Ok(Examined {
        events,
        head: verified.map(|Verified { head, .. }| head),
        bytes: file::size(path),
        bodies: counts.here,
        removed: counts.removed,
        elsewhere: counts.elsewhere,
        flaws: examination.flaws,
    })
}

struct Examination<'a> {
    path: &'a Path,
    flaws: Vec<Flaw>,
}

impl Examination<'_> {
    /// What one look found. That it came upon damage is a finding too; anything else that keeps it from looking is not.
    fn of<T>(&mut self, looked: Result<Looked<T>, ReadError>) -> Result<Option<T>, StoreError> {
        let flaw = match looked.map_err(file::told(self.path)) {
            Ok(Looked { found, flaws }) => {
                self.flaws.extend(flaws);
                return Ok(Some(found));
            }
            Err(StoreError::Damaged { finding, .. }) => Flaw::Damaged { finding },
            Err(StoreError::Altered { seq, .. }) => Flaw::Altered { seq },
            Err(StoreError::Unreadable { seq, .. }) => Flaw::Unreadable { seq },
            Err(other) => return Err(other),
        };
        if !self.flaws.contains(&flaw) {
            self.flaws.push(flaw);
        }
        Ok(None)
    }
}

/// What a look came to, and what is wrong.
struct Looked<T> {
    found: T,
    flaws: Vec<Flaw>,
}

/// The first flaws of a kind, and a count of the rest.
#[derive(Default)]
struct Few {
    told: Vec<Flaw>,
    more: usize,
}

impl Few {
    fn push(&mut self, flaw: Flaw) {
        if self.told.len() < TOLD {
            self.told.push(flaw);
        } else {
            self.more += 1;
        }
    }

    fn end(mut self) -> Vec<Flaw> {
        if self.more > 0 {
            self.told.push(Flaw::More { count: self.more });
        }
        self.told
    }
}

fn pages(tx: &Transaction<'_>) -> Result<Looked<()>, ReadError> {
    let mut statement = tx.prepare(&format!("PRAGMA integrity_check({TOLD})"))?;
    let findings = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut flaws = vec![];
    for finding in findings {
        let finding = finding?;
        if finding != "ok" {
            flaws.push(Flaw::Damaged { finding });
        }
    }
    Ok(Looked { found: (), flaws })
}

fn derived_tables(tx: &Transaction<'_>) -> Result<Looked<()>, ReadError> {
    derived::make_beside(tx)?;
    let mut flaws = vec![];
    for table in derived::TABLES {
        let mut differing = Few::default();
        derived::compare(tx, table, |derived::Difference { row, how }| {
            differing.push(Flaw::Derived { table, row, how });
        })?;
        flaws.extend(differing.end());
    }
    Ok(Looked { found: (), flaws })
}

#[derive(Default)]
struct Counts {
    here: u64,
    removed: u64,
    elsewhere: u64,
}

fn kept_bodies(tx: &Transaction<'_>) -> Result<Looked<Counts>, ReadError> {
    let removal = bodies::removal(tx)?;
    let mut named = bodies::named(tx, removal.map(|removal| removal.closed_before))?;
    let (mut counts, mut changed) = (Counts::default(), Few::default());
    let mut statement = tx.prepare("SELECT digest, body FROM journals")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let digest: String = row.get(0)?;
        let body = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        counts.here += 1;
        named.remove(&digest);
        if !bodies::is_sound(&digest, body) {
            changed.push(Flaw::Changed { digest });
        }
    }
    let mut flaws = changed.end();
    let mut lost = Few::default();
    for (digest, bodies::Named { seq, here, old }) in named {
        match (here, old) {
            (false, _) => counts.elsewhere += 1,
            (true, true) => counts.removed += 1,
            (true, false) => lost.push(Flaw::Lost { digest, seq }),
        }
    }
    flaws.extend(lost.end());
    Ok(Looked {
        found: counts,
        flaws,
    })
}
