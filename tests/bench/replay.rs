//! What is learned, made anew from a million events of complete runs.
//!
//! Touches: sqlite, clock, files.
//! Change here: when derived tables are made anew otherwise, or must be sooner.

use std::path::Path;
use std::time::{Duration, Instant};

use changebus::event::{Event, Fact};
use changebus::outside::store::Store;
use changebus::rules::learn::stats::{self, Stats};
use changebus_tests::lived;
use changebus_tests::tables::Row;
use jiff::Timestamp;
use rusqlite::Connection;

use super::{each_second, median, runtime};

const EVENTS: usize = 1_000_000;
const ROUNDS: usize = 3;
/// On their way into the log at a time.
const AT_ONCE: usize = 2048;
const MOST_SECONDS: f64 = 60.0;

pub fn rows(dir: &Path) -> Vec<Row> {
    std::fs::create_dir_all(dir).expect("a directory");
    let log = dir.join("events.sqlite");
    let (runs, filling) = fill(&log);
    let size = std::fs::metadata(&log).map_or(0, |m| m.len()) >> 20;
    let store = Store::open(&log).expect("a log");
    let kept = figures(&store).0;
    assert!(kept.failures > runs / 4, "{} failures", kept.failures);
    let mut rounds = vec![];
    for _ in 0..ROUNDS {
        let (read, rebuilt) = (read_and_parsed(&log), rebuilt(&store));
        let (again, counted) = figures(&store);
        assert!(kept == again, "the figures are others than they were");
        rounds.push([read, rebuilt, counted].map(|time| time.as_secs_f64()));
    }
    let of = |part: usize| median(rounds.iter().map(|round| round[part]).collect());
    let (read, rebuilt, counted) = (of(0), of(1), of(2));
    let ratio = median(rounds.iter().map(|round| round[1] / round[0]).collect());
    let how = format!(
        "{EVENTS} events ({size} MiB) of {runs} made-up runs in {} projects over a year, complete from the change to what \
         became of its fix, the file in the page cache; medians of {ROUNDS} rounds in turns, and after each the figures are \
         what they were while the events came in ({:.0} a second)",
        kept.projects.len(),
        each_second(EVENTS, filling)
    );
    vec![
        Row {
            what: "every derived table made anew, and the statistics made of them".to_owned(),
            measured: format!("{:.1} s", rebuilt + counted),
            target: "below 60 s",
            holds: rebuilt + counted < MOST_SECONDS,
            how: how.clone(),
        },
        Row {
            what: "of that the tables, beside plainly reading and parsing the events".to_owned(),
            measured: format!("{ratio:.2} times as long ({rebuilt:.1} s beside {read:.1} s)"),
            target: "none",
            holds: true,
            how: "`store rebuild`, in one transaction; beside `SELECT body` in the order of the log and `serde_json` to a \
                  fact"
                .to_owned(),
        },
        Row {
            what: "and the statistics, from the tables".to_owned(),
            measured: format!("{counted:.2} s"),
            target: "none",
            holds: true,
            how: "what `changebus stats` counts, of all runs".to_owned(),
        },
    ]
}

/// How many runs there are in it, and how long it took.
fn fill(log: &Path) -> (usize, Duration) {
    let store = Store::open(log).expect("a log");
    // More than are needed: a run has some twenty events.
    let mut runs = 0;
    let mut events = lived::runs(1, EVENTS / 16)
        .inspect(|_| runs += 1)
        .flat_map(|run| run.events)
        .take(EVENTS);
    let started = Instant::now();
    let mut told = 0;
    runtime().block_on(async {
        loop {
            let some: Vec<Event> = events.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            told += some.len();
            let kept = some.into_iter().map(|event| store.import(event));
            for kept in futures::future::join_all(kept).await {
                assert!(kept.expect("it is kept").is_some(), "it was told once");
            }
        }
    });
    assert_eq!(told, EVENTS, "too few runs were made up");
    drop(events);
    (runs, started.elapsed())
}

fn read_and_parsed(log: &Path) -> Duration {
    let connection = Connection::open(log).expect("it opens");
    let started = Instant::now();
    let mut statement = connection
        .prepare("SELECT body FROM events ORDER BY seq")
        .expect("it is SQL");
    let mut rows = statement.query([]).expect("it can be read");
    let mut count = 0;
    while let Some(row) = rows.next().expect("it can be read") {
        let body = row.get_ref(0).expect("a column");
        let fact: Fact = serde_json::from_str(body.as_str().expect("text")).expect("a fact");
        std::hint::black_box(&fact);
        count += 1;
    }
    assert_eq!(count, EVENTS);
    started.elapsed()
}

fn rebuilt(store: &Store) -> Duration {
    let started = Instant::now();
    runtime()
        .block_on(store.rebuild())
        .expect("the rest follows from the events");
    started.elapsed()
}

fn figures(store: &Store) -> (Stats, Duration) {
    let now: Timestamp = "2027-01-15T00:00:00Z".parse().expect("a time");
    let started = Instant::now();
    let (results, attempts) = runtime()
        .block_on(store.results(None, Timestamp::UNIX_EPOCH))
        .expect("the log can be read");
    let stats = stats::of(&results, &attempts, now);
    (stats, started.elapsed())
}
