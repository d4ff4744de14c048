//! The log and the relay beside what they are made of, in one run: `cargo xtask bench bus`.
//!
//! Touches: sqlite, network (loopback), processes, clock, files.
//! Change here: when a cost of the log or of the relay gets a target, or a target changes.

use std::path::Path;
use std::time::Duration;

use changebus::event::Fact;
use changebus_tests::tables::{self, Row};

mod append;
mod large;
mod relay;
mod replay;

type Part = fn(&Path) -> Vec<Row>;

const PARTS: [(&str, Part); 4] = [
    ("append", append::rows),
    ("relay", relay::rows),
    ("large", large::rows),
    ("replay", replay::rows),
];

/// Parts that are named are measured and shown, and the table that is kept stays as it is: `cargo bench ... -- append`.
fn main() {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let work = tempfile::tempdir().expect("a directory");
    let measured = PARTS
        .iter()
        .filter(|(name, _)| named.is_empty() || named.iter().any(|n| n == name));
    let rows: Vec<Row> = measured
        .flat_map(|(name, part)| part(&work.path().join(name)))
        .collect();
    let table = tables::of_rows(
        "# Benchmarks of the log and the bus",
        "cargo xtask bench bus",
        &rows,
    );
    match named.is_empty() {
        true => tables::tell(&table),
        false => println!("{table}"),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A fact of about so many bytes.
fn fact(bytes: usize) -> Fact {
    Fact::StageFailed {
        stage: "test".to_owned(),
        why: "the disk is full; ".repeat(bytes / 18 + 1)[..bytes].to_owned(),
    }
}

fn median<T: Copy + PartialOrd>(mut all: Vec<T>) -> T {
    all.sort_by(|a, b| a.partial_cmp(b).expect("figures can be compared"));
    all[all.len() / 2]
}

fn each_second(events: usize, taken: Duration) -> f64 {
    events as f64 / taken.as_secs_f64()
}
