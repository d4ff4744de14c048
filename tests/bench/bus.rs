//! The log and the relay beside what they are made of, in one run: `cargo xtask bench bus`.
//!
//! Touches: sqlite, network (loopback), processes, clock, files.
//! Change here: when a cost of the log or of the relay gets a target, or a target changes.

use std::time::Duration;

use changebus::event::Fact;
use changebus_tests::tables;

mod append;
mod large;
mod relay;

fn main() {
    let work = tempfile::tempdir().expect("a directory");
    let mut rows = append::rows(&work.path().join("append"));
    rows.push(relay::row(&work.path().join("relay")));
    rows.extend(large::rows(&work.path().join("large")));
    tables::tell(&tables::of_rows(
        "# Benchmarks of the log and the bus",
        "cargo xtask bench bus",
        &rows,
    ));
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
