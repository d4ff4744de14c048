//! A run and its events in sentences, for whoever lays them out: the page.
//!
//! Touches: nothing.
//! Change here: when the page should say something else of a run.

use super::tale::Tale;
use super::{lines, text};
use crate::event::{Event, Sighting};

/// The longest sentence that is told.
const MOST: usize = 600;

/// A run in sentences; all of it is clean.
pub struct Words {
    /// The verdict, or why there is none.
    pub sentence: String,
    /// What an open run is at.
    pub stage: Option<String>,
    /// What triage found.
    pub found: Option<String>,
    pub delivered: Option<String>,
    pub cost: String,
    pub times: String,
}

impl Words {
    /// None where the events do not begin with a change.
    pub fn of(events: &[Event]) -> Option<Words> {
        let tale = Tale::of(events)?;
        let line = |words: String| text::line(&words, MOST);
        Some(Words {
            sentence: line(tale.sentence()),
            stage: tale.status.is_none().then(|| line(tale.stage())),
            found: tale.found().map(line),
            delivered: tale.delivered().map(line),
            cost: line(tale.cost()),
            times: line(tale.times()),
        })
    }
}

/// What an event says, on one clean line.
pub fn event_words(event: &Event) -> String {
    text::line(&lines::fact_words(&event.fact).1, MOST)
}

/// What the watcher saw, on one clean line.
pub fn sighting_words(sighting: &Sighting) -> String {
    text::line(&lines::sighting_words(sighting), MOST)
}
