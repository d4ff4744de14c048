//! How an event looks to others.
//!
//! Touches: nothing.
//! Change here: when what is told of an event changes.

use crate::event::Event;

/// Where it is told.
pub fn subject(event: &Event) -> String {
    event.fact.subject(&event.project)
}

pub fn wrap(event: &Event, host: &str) -> Vec<u8> {
    let mut event = event.clone();
    event.origin.get_or_insert_with(|| host.to_owned());
    serde_json::to_vec(&event).unwrap_or_default()
}

pub fn unwrap(bytes: &[u8]) -> Result<Event, serde_json::Error> {
    serde_json::from_slice(bytes)
}
