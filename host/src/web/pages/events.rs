//! The log, newest first, filtered by project and subject.
//!
//! Touches: http (answers), sqlite (through the store).
//! Change here: when the log should be filtered or shown otherwise.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::overview::names;
use super::shown::{line, time};
use super::{Desk, Frame, Page, Visitor, page as shown};
use crate::event::Event;
use crate::outside::store::EventFilter;
use crate::story;

const EVENTS: usize = 100;

#[derive(Template)]
#[template(path = "web/events.html")]
struct EventsPage {
    frame: Frame,
    projects: Vec<String>,
    project: String,
    subject: String,
    events: Vec<Row>,
    /// Place in the log before which the next page goes on.
    older: Option<i64>,
    is_newest: bool,
}

pub struct Row {
    pub seq: i64,
    pub at: String,
    pub subject: String,
    pub words: String,
    pub run: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    project: String,
    subject: String,
    before: Option<i64>,
}

pub async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
    Query(wanted): Query<Wanted>,
) -> Page {
    let given = |text: &String| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
    let filter = EventFilter {
        project: given(&wanted.project),
        run: None,
        subject_prefix: given(&wanted.subject),
        before: wanted.before,
    };
    let found = desk.store.last_events(EVENTS, &filter).await?;
    let mut frame = Frame::new("Events", "/events", &visitor);
    frame.project = wanted.project.clone();
    frame.still = wanted.before.is_some();
    shown(&EventsPage {
        frame,
        projects: names(&desk).await?.into_iter().collect(),
        project: wanted.project,
        subject: line(&wanted.subject),
        older: (found.len() == EVENTS).then(|| found[0].seq),
        is_newest: wanted.before.is_none(),
        events: found.iter().rev().map(row).collect(),
    })
}

pub fn row(event: &Event) -> Row {
    Row {
        seq: event.seq,
        at: time(event.at),
        subject: line(&event.fact.subject(&event.project)),
        words: story::event_words(event),
        run: event.run.as_ref().map(|run| run.0.clone()),
    }
}
