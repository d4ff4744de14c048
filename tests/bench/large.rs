//! A log of a million events beside one of ten thousand.
//!
//! Touches: sqlite, processes, clock, files.
//! Change here: when something else must not take longer as the log grows.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use changebus::event::{Change, Fact, Oid, RunId, RunStatus};
use changebus::outside::store::Store;
use changebus_tests::tables::Row;
use changebus_tests::world;
use rusqlite::Connection;

use super::{fact, median, runtime};

const RUNS: usize = 500;
const EVENTS_A_RUN: usize = 20;
const FEW: usize = RUNS * EVENTS_A_RUN;
/// So many times the small one.
const TIMES: usize = 100;
const BYTES: usize = 300;
const OPENINGS: usize = 15;
const SHOWS: usize = 25;

pub fn rows(dir: &Path) -> Vec<Row> {
    let (few, many) = (dir.join("few"), dir.join("many"));
    small(&log(&few));
    large(&log(&few), &log(&many));
    let size = |state: &Path| std::fs::metadata(log(state)).map_or(0, |m| m.len()) >> 20;
    let sizes = format!("{FEW} events ({} MiB)", size(&few));
    let sizes = format!(
        "{} events ({} MiB) beside {sizes}",
        FEW * TIMES,
        size(&many)
    );
    vec![
        compared(
            "opening the log for writing",
            &sizes,
            OPENINGS,
            [&few, &many],
            opened,
        ),
        compared(
            "`changebus show last`, as a process",
            &sizes,
            SHOWS,
            [&few, &many],
            shown,
        ),
        looked_through(&log(&many)),
    ]
}

fn log(state: &Path) -> PathBuf {
    state.join("events.sqlite")
}

fn compared(
    what: &str,
    sizes: &str,
    rounds: usize,
    [few, many]: [&Path; 2],
    time: fn(&Path) -> Duration,
) -> Row {
    let (mut short, mut long) = (vec![], vec![]);
    for round in 0..=rounds {
        let both = (time(few), time(many));
        // The first round warms up.
        if round > 0 {
            short.push(both.0.as_secs_f64() * 1000.0);
            long.push(both.1.as_secs_f64() * 1000.0);
        }
    }
    let (short, long) = (median(short), median(long));
    let ratio = long / short;
    Row {
        what: what.to_owned(),
        measured: format!("{ratio:.2} times as long ({long:.1} ms beside {short:.1} ms)"),
        target: "at most 2 times",
        holds: ratio <= 2.0,
        how: format!("{sizes}, left in good order; medians of {rounds} rounds in turns"),
    }
}

fn opened(state: &Path) -> Duration {
    let started = Instant::now();
    let store = Store::open(&log(state)).expect("it opens");
    let taken = started.elapsed();
    drop(store);
    taken
}

fn shown(state: &Path) -> Duration {
    let mut command = Command::new(world::program());
    command.arg("--state").arg(state).args(["show", "last"]);
    let started = Instant::now();
    let output = command.output().expect("changebus can be started");
    let taken = started.elapsed();
    assert!(output.status.success(), "{output:?}");
    taken
}

/// What the opening after an unclean end takes besides.
fn looked_through(log: &Path) -> Row {
    let connection = Connection::open(log).expect("it opens");
    let started = Instant::now();
    let finding: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .expect("it can be asked");
    let taken = started.elapsed();
    assert_eq!(finding, "ok");
    Row {
        what: "looking at every page of the large one, as a start after a crash does".to_owned(),
        measured: format!("{:.1} s", taken.as_secs_f64()),
        target: "none",
        holds: true,
        how: "`PRAGMA quick_check`, once, the file in the page cache".to_owned(),
    }
}

/// Runs that open, say something and close.
fn small(log: &Path) {
    let store = Store::open(log).expect("a log");
    runtime().block_on(async {
        let runs = (0..RUNS).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let run = RunId(format!("app-{n:012x}"));
                for nth in 0..EVENTS_A_RUN {
                    let fact = match nth {
                        0 => Fact::ChangeSeen { change: change(n) },
                        _ if nth + 1 == EVENTS_A_RUN => Fact::RunClosed {
                            status: RunStatus::Green,
                        },
                        _ => fact(BYTES),
                    };
                    let kept = store.append("app", Some(&run), fact).await;
                    kept.expect("it is kept");
                }
            })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await.expect("it ends");
        }
    });
}

fn change(n: usize) -> Change {
    Change {
        branch: "main".to_owned(),
        base: Oid(format!("{n:040x}")),
        head: Oid(format!("{:040x}", n + 1)),
        tree: Oid(format!("{n:040x}")),
        forced: false,
        commits: vec![],
        paths: vec!["shop.py".to_owned()],
        asked: None,
        update: None,
    }
}

/// The events of the small one over and over, each time of other runs, in one transaction. Their hashes are copied with
/// them, so the chain does not hold: neither opening a log nor showing a run looks at it.
fn large(small: &Path, large: &Path) {
    drop(Store::open(large).expect("a log"));
    let connection = Connection::open(large).expect("it opens");
    let keeper: String = connection
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE name = 'events_are_appended'",
            [],
            |row| row.get(0),
        )
        .expect("there is such a trigger");
    connection
        .execute_batch(&format!(
            "ATTACH '{}' AS small; BEGIN; DROP TRIGGER events_are_appended;",
            small.display()
        ))
        .expect("both open");
    for time in 0..TIMES {
        let copied = connection.execute(
            "INSERT INTO events (seq, id, at, project, run, version, epoch, origin, type, subject, body, hash)
             SELECT ?1 * ?2 + seq, id || '-' || ?1, at, project, run || '-' || ?1, version, epoch, origin, type, subject,
                 body, hash FROM small.events",
            [time, FEW].map(|n| i64::try_from(n).expect("it is small")),
        );
        assert_eq!(copied.expect("they are copied"), FEW);
    }
    connection
        .execute_batch(&format!("{keeper}; COMMIT;"))
        .expect("it is kept");
    drop(connection);
    let store = Store::open(large).expect("it opens");
    runtime()
        .block_on(store.rebuild())
        .expect("the rest follows from the events");
}
