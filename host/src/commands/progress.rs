//! Shows on a terminal what a run is doing, one line an event, as the log grows.
//!
//! Touches: terminal.
//! Change here: when progress should look different. What an event says in a line is in `story.rs`.

use std::io::IsTerminal;

use crate::event::RunId;
use crate::outside::store::{EventFilter, Store};
use crate::story;

/// Prints the run's events to stderr until the task is dropped.
pub async fn follow(store: Store, run: RunId) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let filter = EventFilter { run: Some(run), ..EventFilter::default() };
    let mut seen = 0;
    loop {
        let Ok(events) = store.events_after(seen, 100, &filter).await else {
            return;
        };
        for event in &events {
            seen = event.seq;
            eprintln!("{}", story::event_line(event, colour));
        }
        if events.is_empty() && store.wait_beyond(seen).await.is_err() {
            return;
        }
    }
}
