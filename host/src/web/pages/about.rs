//! What this host is: version, name, bus, what stands between the tests and the machine.
//!
//! Touches: http (answers), sqlite (through the store), files (through the overview).
//! Change here: when an operator should know more of a host.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;

use super::overview::draining;
use super::shown::line;
use super::{Desk, Frame, Page, Visitor, page as shown};
use crate::config::BusKind;
use crate::event::Fact;
use crate::fleet;
use crate::outside::store::{EventFilter, StoreError};

#[derive(Template)]
#[template(path = "web/about.html")]
struct About {
    frame: Frame,
    host: String,
    bus: &'static str,
    /// Facts that are still to be told to the other hosts.
    backlog: Option<u64>,
    newest: i64,
    sandboxes: Vec<Sandboxed>,
    draining: Option<String>,
    people: usize,
    open_to_readers: bool,
}

struct Sandboxed {
    project: String,
    how: String,
    is_off: bool,
}

pub async fn page(State(desk): State<Arc<Desk>>, Extension(visitor): Extension<Visitor>) -> Page {
    let settings = &desk.settings;
    let among_others = settings.bus.kind != BusKind::Embedded;
    let mut sandboxes = vec![];
    for (name, project) in &settings.projects {
        sandboxes.push(Sandboxed {
            project: name.clone(),
            how: sandboxed(&desk, name, project.sandbox.off).await?,
            is_off: project.sandbox.off,
        });
    }
    let backlog = desk.store.backlog().await?.0;
    shown(&About {
        frame: Frame::new("About", "/about", &visitor),
        host: fleet::name(settings).unwrap_or_default(),
        bus: if among_others {
            "a NATS server"
        } else {
            "embedded"
        },
        backlog: among_others.then_some(backlog),
        newest: desk.store.newest().await?,
        sandboxes,
        draining: draining(&desk),
        people: settings.http.people.len(),
        open_to_readers: settings.http.is_open_to_readers(),
    })
}

/// The layers that held when the tests of a project ran last.
async fn sandboxed(desk: &Desk, project: &str, is_off: bool) -> Result<String, StoreError> {
    if is_off {
        return Ok("none: the configuration says so".to_owned());
    }
    let tests = EventFilter {
        project: Some(project.to_owned()),
        subject_prefix: Some(format!("result.test.{project}.")),
        ..EventFilter::default()
    };
    let last = desk.store.last_events(1, &tests).await?.pop();
    Ok(match last.map(|event| event.fact) {
        Some(Fact::Tested { report, .. }) if report.sandbox.is_empty() => {
            "none held when its tests ran last".to_owned()
        }
        Some(Fact::Tested { report, .. }) => {
            let layers: Vec<&str> = report.sandbox.iter().map(|layer| layer.name()).collect();
            line(&layers.join(", "))
        }
        _ => "nothing was tested yet".to_owned(),
    })
}
