//! Shows on a terminal what a run is doing, one line an event, as the log grows.
//!
//! Touches: terminal.
//! Change here: when progress should look different. What an event says in a line is in `story.rs`.

use std::io::IsTerminal;

use crate::event::RunId;
use crate::outside::bus::Bus;
use crate::outside::store::Store;
use crate::story::{self, Look};

/// Prints the run's events, from position `first` on, to stderr until the task is dropped.
pub async fn follow(store: Store, run: RunId, first: i64) {
    let look = look(std::io::stderr().is_terminal());
    let Ok(mut events) = Bus::of(store).tail(&[">"], Some(first - 1)).await else {
        return;
    };
    while let Ok(event) = events.next().await {
        if event.run.as_ref() == Some(&run) {
            eprintln!("{}", story::event_line(&event, look));
        }
    }
}

/// What a file or a pipe gets: wide enough that little is cut.
const NO_TERMINAL: usize = 160;

/// How to draw where this goes: as wide as the terminal, in colours unless `NO_COLOR` is set.
pub fn look(terminal: bool) -> Look {
    let columns = terminal_size::terminal_size()
        .filter(|_| terminal)
        .map(|(width, _)| usize::from(width.0));
    Look {
        colours: terminal && std::env::var_os("NO_COLOR").is_none(),
        width: columns.unwrap_or(NO_TERMINAL).max(Look::plain().width),
    }
}
