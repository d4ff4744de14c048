//! How the strategies do in each project, and which plugins asked for what they were not given.
//!
//! Touches: http (answers), sqlite (through the store), clock.
//! Change here: when an operator should see more of the plugins.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};

use super::overview::names;
use super::shown::{line, time};
use super::{Desk, Frame, Page, Visitor, page as shown};
use crate::event::{CallRole, Ended, Event, Fact};
use crate::rules::learn::stats::{self, Standing, Stats};
use crate::story;
use crate::story::plot::{self, Bar};

/// Calls that are looked at, newest first.
const CALLS: usize = 2000;
const REFUSALS: usize = 50;
const A_YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

#[derive(Template)]
#[template(path = "web/plugins.html")]
struct PluginsPage {
    frame: Frame,
    /// What everything of the last year came to.
    sentence: String,
    /// As pictures; nothing in them is markup that strangers wrote.
    plots: Vec<String>,
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
    let now = Timestamp::now();
    let (results, attempts) = desk.store.results(None, now - A_YEAR).await?;
    let stats = stats::of(&results, &attempts, now);
    shown(&PluginsPage {
        sentence: stats::sentence(&stats),
        plots: plots(&stats),
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

/// Who wins, whose fixes last, and whether confidence is worth something; what nothing is known of is left out.
fn plots(stats: &Stats) -> Vec<String> {
    let wins = bars(
        &stats.variants,
        |s| s.won.share,
        |s| (s.won.low, s.won.high),
        |s| format!("{} of {}", s.won.count, s.won.of),
    );
    let aged: Vec<Standing> = stats
        .strategies
        .iter()
        .filter(|s| s.aged > 0)
        .cloned()
        .collect();
    let lasting = bars(
        &aged,
        |s| Some(s.lasting),
        |s| (Some(s.lasting_low), Some(s.lasting_high)),
        |s| format!("{} of {}", s.survived, s.aged),
    );
    let mut plots = vec![];
    if !wins.is_empty() {
        plots.push(plot::shares("Tournaments won, by variant", &wins));
    }
    if !lasting.is_empty() {
        plots.push(plot::shares("Fixes that last, by strategy", &lasting));
    }
    if stats.confidence.aged > 0 {
        let title = "What confidence promised, and what came of it";
        plots.push(plot::reliability(title, &stats.confidence.bins));
    }
    plots
}

fn bars<'a>(
    standings: &'a [Standing],
    share: impl Fn(&Standing) -> Option<f64>,
    bounds: impl Fn(&Standing) -> (Option<f64>, Option<f64>),
    note: impl Fn(&Standing) -> String,
) -> Vec<Bar<'a>> {
    let bar = |standing: &'a Standing| {
        let (low, high) = bounds(standing);
        Some(Bar {
            name: &standing.name,
            share: share(standing)?,
            low: low?,
            high: high?,
            note: note(standing),
        })
    };
    standings.iter().filter_map(bar).collect()
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
