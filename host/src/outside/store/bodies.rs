//! What is kept beside the log and named by its facts: journals of plugin calls, reports on whole suites.
//!
//! Touches: sqlite.
//! Change here: when something else is kept beside the log, or is named elsewhere than in `Fact::body`.

use std::collections::BTreeMap;

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::record::{COLUMNS, read_event};
use super::{ReadError, chain};

/// Unfolded at a time.
const PIECE: usize = 64 << 10;

/// How the facts name a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The last fact that does.
    pub seq: i64,
    /// This host stated one of them, so the body was kept here.
    pub here: bool,
}

/// Every body that a fact names, by its digest, whether it is there or not.
pub fn named(c: &Connection) -> Result<BTreeMap<String, Named>, ReadError> {
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
        });
        named.seq = named.seq.max(event.seq);
        named.here |= event.origin.is_none();
    }
    Ok(found)
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
