//! Durable appends by many hands, beside inserts of the same rows into the same file.
//!
//! Touches: sqlite, clock, files.
//! Change here: when the log is written otherwise.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use changebus::event::RunId;
use changebus::outside::store::Store;
use changebus_tests::tables::Row;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{each_second, fact, median, runtime};

const HANDS: usize = 128;
const EACH: usize = 40;
const EVENTS: usize = HANDS * EACH;
const ROUNDS: usize = 11;
const BYTES: usize = 600;

/// One measured round of the log.
struct Ours {
    taken: Duration,
    /// Events that shared a commit, on average.
    batch: usize,
    log: PathBuf,
}

pub fn rows(dir: &Path) -> Vec<Row> {
    let mut rounds: Vec<(Ours, Duration, Duration)> = vec![];
    for round in 0..=ROUNDS {
        let dir = dir.join(round.to_string());
        std::fs::create_dir_all(&dir).expect("a directory");
        let ours = ours(&dir);
        let rows = rows_of(&ours.log);
        let bare = theirs(&dir.join("bare.sqlite"), BARE, &rows, ours.batch);
        let indexed = theirs(&dir.join("indexed.sqlite"), INDEXED, &rows, ours.batch);
        // The first round warms up.
        if round > 0 {
            rounds.push((ours, bare, indexed));
        }
    }
    let of = |part: &dyn Fn(&(Ours, Duration, Duration)) -> f64| {
        median(rounds.iter().map(part).collect())
    };
    let ours = of(&|(ours, _, _)| each_second(EVENTS, ours.taken));
    let flush = flush(dir);
    let batch = of(&|(ours, _, _)| ours.batch as f64);
    let against = |what: &str,
                   how: &str,
                   theirs: &dyn Fn(&(Ours, Duration, Duration)) -> Duration| {
        let ratio = of(&|round| theirs(round).as_secs_f64() / round.0.taken.as_secs_f64());
        let plain = of(&|round| each_second(EVENTS, theirs(round)));
        Row {
            what: what.to_owned(),
            measured: format!("{ratio:.2} times as many ({ours:.0}/s beside {plain:.0}/s)"),
            target: "at least 0.8 times",
            holds: ratio >= 0.8,
            how: format!(
                "{HANDS} tasks with {EACH} appends of {BYTES} bytes each, awaited one by one, {batch:.0} to a commit on \
                 average; beside {how}, written by one thread with the same pragmas and as many to a commit; median of \
                 {ROUNDS} rounds in turns. Having 4 KiB more of a file on this disk takes {:.2} ms: the slower a disk, the less \
                 the rest counts",
                flush.as_secs_f64() * 1000.0
            ),
        }
    };
    vec![
        against(
            "durable appends from many tasks, beside plain inserts into a table with the same columns and indexes",
            "the rows that came of it",
            &|(_, _, indexed)| *indexed,
        ),
        against(
            "the same, beside plain inserts into a table without any index",
            "the rows that came of it",
            &|(_, bare, _)| *bare,
        ),
    ]
}

fn flush(dir: &Path) -> Duration {
    let mut file = std::fs::File::create(dir.join("flush")).expect("a file");
    let once = || {
        let started = Instant::now();
        let written = file.write_all(&[7; 4096]).and_then(|()| file.sync_data());
        written.expect("it is written");
        started.elapsed()
    };
    median(std::iter::repeat_with(once).take(50).collect())
}

fn ours(dir: &Path) -> Ours {
    let log = dir.join("state/events.sqlite");
    let store = Store::open(&log).expect("a log");
    let runtime = runtime();
    let commits = Arc::new(AtomicUsize::new(0));
    let mut newest = store.watch();
    let counted = commits.clone();
    // Commits that follow on each other's heels may count as one; then the others get the larger batch for it.
    runtime.spawn(async move {
        while newest.changed().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let started = Instant::now();
    runtime.block_on(async {
        let hands = (0..HANDS).map(|hand| {
            let store = store.clone();
            tokio::spawn(async move {
                let run = RunId(format!("app-{hand:08x}"));
                for _ in 0..EACH {
                    let kept = store.append("app", Some(&run), fact(BYTES)).await;
                    kept.expect("it is kept");
                }
            })
        });
        for hand in hands.collect::<Vec<_>>() {
            hand.await.expect("it ends");
        }
    });
    let taken = started.elapsed();
    runtime.shutdown_timeout(Duration::from_secs(5));
    drop(store);
    Ours {
        taken,
        batch: EVENTS.div_ceil(commits.load(Ordering::Relaxed).max(1)),
        log,
    }
}

/// A row of the log, column by column.
struct Kept {
    id: String,
    at: i64,
    run: String,
    version: i64,
    subject: String,
    body: String,
    hash: Vec<u8>,
}

fn rows_of(log: &Path) -> Vec<Kept> {
    let log = Connection::open(log).expect("it opens");
    let mut statement = log
        .prepare("SELECT id, at, run, version, subject, body, hash FROM events ORDER BY seq")
        .expect("it reads");
    let rows = statement.query_map([], |row| {
        Ok(Kept {
            id: row.get(0)?,
            at: row.get(1)?,
            run: row.get(2)?,
            version: row.get(3)?,
            subject: row.get(4)?,
            body: row.get(5)?,
            hash: row.get(6)?,
        })
    });
    let rows: Vec<Kept> = rows
        .and_then(Iterator::collect)
        .expect("rows of the log are whole");
    assert_eq!(rows.len(), EVENTS);
    rows
}

const BARE: &str = "CREATE TABLE events (seq INTEGER PRIMARY KEY, id TEXT, at INTEGER, project TEXT, run TEXT,
    version INTEGER, epoch INTEGER, origin TEXT, type TEXT, subject TEXT, body TEXT, hash BLOB) STRICT;";

const INDEXED: &str = "CREATE TABLE events (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at INTEGER, project TEXT,
    run TEXT, version INTEGER, epoch INTEGER, origin TEXT, type TEXT, subject TEXT, body TEXT, hash BLOB,
    UNIQUE (run, epoch, version)) STRICT;
    CREATE INDEX events_by_type ON events (project, type, seq);
    CREATE INDEX events_by_time ON events (type, at);
    CREATE INDEX events_by_epoch ON events (project, epoch);";

fn theirs(path: &Path, schema: &str, rows: &[Kept], batch: usize) -> Duration {
    let mut connection = Connection::open(path).expect("it opens");
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "FULL")] {
        connection
            .pragma_update(None, pragma, value)
            .expect("a pragma");
    }
    connection
        .pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)
        .expect("a pragma");
    connection.execute_batch(schema).expect("a table");
    let started = Instant::now();
    let mut seq = 0;
    for batch in rows.chunks(batch) {
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .expect("a transaction");
        for row in batch {
            seq += 1;
            tx.prepare_cached(
                "INSERT INTO events VALUES (?1, ?2, ?3, 'app', ?4, ?5, 0, NULL, 'stage-failed', ?6, ?7, ?8)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    seq, row.id, row.at, row.run, row.version, row.subject, row.body, row.hash
                ])
            })
            .expect("a row");
        }
        tx.commit().expect("it is kept");
    }
    started.elapsed()
}
