//! How the strategies do in each project, and which plugins asked for what they were not given.
//!
//! Touches: http (answers), sqlite (through the store).
//! Change here: when an operator should see more of the plugins.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;

use super::overview::names;
use super::shown::{line, time};
use super::{Desk, Frame, Page, Visitor, page as shown};
use crate::event::{CallRole, Ended, Event, Fact};
use crate::story;

/// Calls that are looked at, newest first.
const CALLS: usize = 2000;
const REFUSALS: usize = 50;

#[derive(Template)]
#[template(path = "web/plugins.html")]
struct PluginsPage {
    frame: Frame,
    strategies: Vec<Strategy>,
    troubles: Vec<Trouble>,
    calls: usize,
}

struct Strategy {
    project: String,
    name: String,
    entered: u64,
    proposed: u64,
    won: u64,
    merged: u64,
    refused: u64,
    cost: String,
}

struct Trouble {
    at: String,
    run: String,
    role: String,
    plugin: String,
    what: String,
}

pub async fn page(State(desk): State<Arc<Desk>>, Extension(visitor): Extension<Visitor>) -> Page {
    let calls = desk.store.plugin_calls(CALLS).await?;
    let costs = costs(&calls);
    let mut strategies = vec![];
    for project in names(&desk).await? {
        let history = desk.store.history(&project).await?;
        strategies.extend(of_project(&project, &history, &costs));
    }
    shown(&PluginsPage {
        frame: Frame::new("Plugins", "/plugins", &visitor),
        strategies,
        troubles: calls
            .iter()
            .rev()
            .flat_map(troubles)
            .take(REFUSALS)
            .collect(),
        calls: calls.len(),
    })
}

/// What models cost, in millionths of a dollar, by project and strategy.
fn costs(calls: &[Event]) -> BTreeMap<(&str, &str), u64> {
    let mut costs = BTreeMap::new();
    for event in calls {
        if let Fact::PluginCalled { call } = &event.fact
            && matches!(call.role, CallRole::Strategy(_))
        {
            let of = (event.project.as_str(), call.plugin.name.as_str());
            *costs.entry(of).or_default() += call.ledger.usd_micros;
        }
    }
    costs
}

fn of_project(
    project: &str,
    history: &BTreeMap<String, f64>,
    costs: &BTreeMap<(&str, &str), u64>,
) -> Vec<Strategy> {
    let names = history.keys().filter_map(|key| {
        let name = key.strip_prefix("strategy/")?.strip_suffix("/tried")?;
        Some(name.to_owned())
    });
    let one = |name: String| {
        let figure = |metric: &str| {
            let figure = history.get(&format!("strategy/{name}/{metric}"));
            figure.map_or(0, |f| *f as u64)
        };
        let micros = costs.get(&(project, name.as_str())).copied();
        Strategy {
            project: project.to_owned(),
            entered: figure("tried"),
            proposed: figure("proposed"),
            won: figure("won"),
            merged: figure("merged"),
            refused: figure("refused"),
            cost: story::dollars(micros.unwrap_or_default() as f64 / 1e6),
            name: line(&name),
        }
    };
    names.map(one).collect()
}

fn troubles(event: &Event) -> Vec<Trouble> {
    let Fact::PluginCalled { call } = &event.fact else {
        return vec![];
    };
    let denied = call.ledger.denials.iter();
    let denied = denied.map(|d| format!("denied {} {}x: {}", d.code, d.times, d.why));
    let failed = match &call.ended {
        Ended::Failed { why, .. } => Some(format!("failed: {why}")),
        Ended::Answered => None,
    };
    let one = |what: String| Trouble {
        at: time(event.at),
        run: event
            .run
            .as_ref()
            .map_or_else(String::new, |run| run.0.clone()),
        role: line(&call.role.to_string()),
        plugin: line(&call.plugin.name),
        what: line(&what),
    };
    denied.chain(failed).map(one).collect()
}
