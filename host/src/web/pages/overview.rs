//! The first page: what waits for people, how each project stands, what is under way, what it costs.
//!
//! Touches: http (answers), sqlite (through the store), files (whether this host takes nothing new), clock.
//! Change here: when an operator should see more at a glance.
//!
//! However many have it open, it is made once for each state of the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::shown::{line, time};
use super::{Desk, Frame, Page, Visitor, page as shown};
use crate::config::BusKind;
use crate::event::{Event, Fact, RunStatus, Sighting};
use crate::fleet;
use crate::outside::store::{RunSummary, Store, StoreError, Waiting};
use crate::rules::budget;
use crate::story::{self, Story, Words};

/// Of a project, the runs that tell how it stands.
const RUNS: usize = 12;
/// Of those that wait, how many are told of here.
const WAITING: usize = 20;
/// Seconds after which it is made again though nothing happened: a day ends, and files come and go.
const STALE: i64 = 10;

/// As it was made, and what from.
pub struct Made {
    newest: i64,
    at: Timestamp,
    view: Arc<View>,
}

pub struct View {
    waiting: Vec<Case>,
    more_wait: usize,
    projects: Vec<Standing>,
    under_way: Vec<Open>,
    spent: Spent,
    draining: Option<String>,
}

/// A run that waits for people.
pub struct Case {
    pub run: String,
    pub project: String,
    pub since: String,
    pub failing: Vec<String>,
    pub more_failing: usize,
    pub sentence: String,
}

struct Standing {
    name: String,
    branch: String,
    tip: Option<String>,
    state: &'static str,
    last: Option<Last>,
    /// What the watcher said since.
    remark: Option<Remark>,
}

struct Last {
    run: String,
    status: &'static str,
    at: String,
    what: String,
}

struct Remark {
    at: String,
    words: String,
    is_trouble: bool,
}

struct Open {
    run: String,
    project: String,
    since: String,
    stage: String,
    variants: Vec<String>,
}

struct Spent {
    usd: String,
    budget: String,
    tokens: u64,
    token_budget: u64,
    percent: u32,
}

#[derive(Template)]
#[template(path = "web/overview.html")]
struct Overview {
    frame: Frame,
    view: Arc<View>,
}

pub async fn page(State(desk): State<Arc<Desk>>, Extension(visitor): Extension<Visitor>) -> Page {
    let frame = Frame::new("Overview", "/", &visitor);
    let view = view(&desk).await?;
    shown(&Overview { frame, view })
}

/// Those who come meanwhile wait for the one that is being made.
async fn view(desk: &Desk) -> Result<Arc<View>, StoreError> {
    let mut made = desk.overview.lock().await;
    let (newest, at) = (desk.store.newest().await?, Timestamp::now());
    if let Some(made) = made.as_ref() {
        let age = at.as_second() - made.at.as_second();
        if made.newest == newest && (0..STALE).contains(&age) {
            return Ok(made.view.clone());
        }
    }
    let view = Arc::new(make(desk, at).await?);
    let kept = view.clone();
    *made = Some(Made { newest, at, view });
    Ok(kept)
}

async fn make(desk: &Desk, now: Timestamp) -> Result<View, StoreError> {
    let waiting = desk.store.waiting_for_people().await?;
    let more_wait = waiting.len().saturating_sub(WAITING);
    let mut projects = vec![];
    for name in names(desk).await? {
        projects.push(standing(desk, &name).await?);
    }
    Ok(View {
        waiting: cases(&desk.store, &waiting[..waiting.len() - more_wait]).await?,
        more_wait,
        projects,
        under_way: under_way(&desk.store).await?,
        spent: spent(desk, now).await?,
        draining: draining(desk),
    })
}

/// Why this host takes nothing new, if it does not. One that is alone always does.
pub fn draining(desk: &Desk) -> Option<String> {
    if desk.settings.bus.kind == BusKind::Embedded {
        return None;
    }
    let file = fleet::drain_file(&desk.settings.host.state);
    std::fs::read_to_string(file).ok().map(|why| line(&why))
}

/// Those of the configuration, and those of which there are runs.
pub async fn names(desk: &Desk) -> Result<BTreeSet<String>, StoreError> {
    let mut names: BTreeSet<String> = desk.settings.projects.keys().cloned().collect();
    names.extend(desk.store.projects().await?);
    Ok(names)
}

/// Runs that wait, told.
pub async fn cases(store: &Store, waiting: &[Waiting]) -> Result<Vec<Case>, StoreError> {
    const FEW: usize = 5;
    let mut cases = vec![];
    for waits in waiting {
        let events = store.run_events(&waits.run).await?;
        let failing = Story::of(&events).map(|s| s.failing).unwrap_or_default();
        cases.push(Case {
            run: waits.run.0.clone(),
            project: waits.project.clone(),
            since: time(waits.since),
            more_failing: failing.len().saturating_sub(FEW),
            failing: failing.iter().take(FEW).map(|t| line(t)).collect(),
            sentence: Words::of(&events).map(|w| w.sentence).unwrap_or_default(),
        });
    }
    Ok(cases)
}

async fn standing(desk: &Desk, name: &str) -> Result<Standing, StoreError> {
    let runs = desk.store.runs(Some(name), RUNS).await?;
    let last = runs.iter().find(|run| run.is_about_the_branch());
    let configured = desk.settings.projects.get(name);
    Ok(Standing {
        name: name.to_owned(),
        branch: configured.map_or_else(String::new, |p| line(&p.branch)),
        tip: desk
            .store
            .last_tip(name)
            .await?
            .map(|tip| tip.short().to_owned()),
        state: last.map_or("unknown", |run| state(run.closed)),
        remark: remark(&desk.store, name, last).await?,
        last: last.map(|run| Last {
            run: run.run.0.clone(),
            status: run.closed.map_or("open", story::status_name),
            at: time(run.opened_at),
            what: subject(run),
        }),
    })
}

/// How a run ended, in one colour.
pub fn state(closed: Option<RunStatus>) -> &'static str {
    match closed {
        None => "open",
        Some(
            RunStatus::Green
            | RunStatus::Flaky
            | RunStatus::Fixed
            | RunStatus::Updated
            | RunStatus::Split,
        ) => "green",
        Some(_) => "red",
    }
}

/// The first line of the newest commit.
pub fn subject(run: &RunSummary) -> String {
    let newest = run.change.commits.first();
    let subject = newest.and_then(|c| c.message.lines().next());
    line(subject.unwrap_or_default())
}

/// Why nothing happened since the last run, if the watcher said so.
async fn remark(
    store: &Store,
    name: &str,
    last: Option<&RunSummary>,
) -> Result<Option<Remark>, StoreError> {
    let seen = store.last_watched(name).await?;
    let newer = |event: &Event| last.is_none_or(|run| event.at > run.opened_at);
    Ok(seen.filter(newer).and_then(|event| match &event.fact {
        Fact::Watched { sighting } => Some(Remark {
            at: time(event.at),
            words: story::sighting_words(sighting),
            is_trouble: matches!(
                sighting,
                Sighting::Unreachable { .. } | Sighting::BranchGone { .. }
            ),
        }),
        _ => None,
    }))
}

async fn under_way(store: &Store) -> Result<Vec<Open>, StoreError> {
    let mut open = vec![];
    for (project, run) in store.open_runs().await? {
        let events = store.run_events(&run).await?;
        let words = Words::of(&events);
        let variants = Story::of(&events).map(|s| s.variants).unwrap_or_default();
        open.push(Open {
            run: run.0,
            project,
            since: events.first().map_or_else(String::new, |e| time(e.at)),
            stage: words.and_then(|w| w.stage).unwrap_or_default(),
            variants: variants.iter().map(|v| line(&v.name)).collect(),
        });
    }
    Ok(open)
}

async fn spent(desk: &Desk, now: Timestamp) -> Result<Spent, StoreError> {
    let midnight = budget::day(now).to_zoned(TimeZone::UTC);
    let midnight = midnight.map_or(now, |day| day.timestamp());
    let usage = desk.store.spent_since(midnight).await?;
    let claude = &desk.settings.claude;
    let part = |of: f64, all: f64| if all > 0.0 { of / all } else { 1.0 };
    let tokens = usage.input_tokens + usage.output_tokens;
    let most = part(usage.cost_usd, claude.daily_budget_usd)
        .max(part(tokens as f64, claude.daily_budget_tokens as f64));
    Ok(Spent {
        usd: story::dollars(usage.cost_usd),
        budget: story::dollars(claude.daily_budget_usd),
        tokens,
        token_budget: claude.daily_budget_tokens,
        percent: (most.clamp(0.0, 1.0) * 100.0).round() as u32,
    })
}
