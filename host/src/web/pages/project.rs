//! A project: how its runs went, its flaky tests, its variants.
//!
//! Touches: http (answers), sqlite (through the store), clock.
//! Change here: when an operator should see more of a project.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use serde::Deserialize;

use super::chart::{self, Chart};
use super::overview::{state, subject};
use super::shown::{line, time};
use super::{Desk, Frame, Page, Trouble, Visitor, page as shown};
use crate::config::Project;
use crate::event::{DependencySeen, ManifestSeen};
use crate::outside::store::{Flake, RunSummary, Store};
use crate::rules::deps::plan;
use crate::story;
use crate::updates;

const RUNS: usize = 25;
/// Nobody leafs further; `changebus events` goes all the way.
const PAGES: usize = 40;
/// Runs that are drawn.
const DRAWN: usize = 1000;
const FLAKES: usize = 30;

#[derive(Template)]
#[template(path = "web/project.html")]
struct ProjectPage {
    frame: Frame,
    name: String,
    branch: Option<String>,
    tip: Option<String>,
    sighting: Option<String>,
    runs: Vec<Row>,
    /// Numbers of the pages beside this one.
    newer: Option<usize>,
    older: Option<usize>,
    /// None where nobody looked yet.
    deps: Option<Deps>,
    flakes: Vec<FlakeRow>,
    variants: Vec<VariantRow>,
    chart: Option<Chart>,
}

struct Deps {
    at: String,
    summary: String,
    /// Those of which there is something to say.
    manifests: Vec<ManifestRow>,
}

struct ManifestRow {
    name: String,
    lines: Vec<String>,
}

struct Row {
    run: String,
    state: &'static str,
    status: &'static str,
    at: String,
    head: String,
    what: String,
    author: String,
}

struct FlakeRow {
    test: String,
    flips: u32,
    runs: u32,
    last: String,
}

struct VariantRow {
    name: String,
    strategy: String,
    config: String,
}

#[derive(Deserialize)]
pub struct Which {
    #[serde(default)]
    page: usize,
}

pub async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Page {
    let store = &desk.store;
    let configured = desk.settings.projects.get(&name);
    let runs = store.runs(Some(&name), DRAWN).await?;
    if configured.is_none() && runs.is_empty() {
        let why = format!("{name}: neither the configuration nor the log knows this project");
        return Err(Trouble::NotFound(why));
    }
    let nth = which.page.min(PAGES - 1);
    let start = (nth * RUNS).min(runs.len());
    let end = (start + RUNS).min(runs.len());
    let sighting = store.last_sighting(&name).await?;
    let mut frame = Frame::new(line(&name), "", &visitor);
    frame.project = name.clone();
    let flakes = store.flakes(&name, None).await?;
    shown(&ProjectPage {
        frame,
        branch: configured.map(|p| line(&p.branch)),
        tip: store
            .last_tip(&name)
            .await?
            .map(|tip| tip.short().to_owned()),
        sighting: sighting.as_ref().map(story::sighting_words),
        deps: dependencies(store, &name).await?,
        newer: nth.checked_sub(1),
        older: (end < runs.len() && nth + 1 < PAGES).then_some(nth + 1),
        flakes: flakes.iter().take(FLAKES).map(flake).collect(),
        variants: configured.map(variants).unwrap_or_default(),
        chart: chart::runs_a_day(&runs, Timestamp::now()),
        runs: runs[start..end].iter().map(row).collect(),
        name,
    })
}

/// What the daemon saw last, and what became of what was tried.
async fn dependencies(store: &Store, project: &str) -> Result<Option<Deps>, Trouble> {
    let Some((at, seen)) = store.dependencies_seen(project).await? else {
        return Ok(None);
    };
    let past = updates::past(store, project).await?;
    let lines_of = |manifest: &ManifestSeen| -> Vec<String> {
        let of = |one: &DependencySeen| {
            let tried = |to: &str| plan::tried(&past, &manifest.path, &one.name, to);
            story::deps::lines(one, tried, false)
        };
        manifest.dependencies.iter().flat_map(of).collect()
    };
    let row = |manifest: &ManifestSeen| ManifestRow {
        name: story::deps::manifest(manifest),
        lines: lines_of(manifest),
    };
    let rows = seen.manifests.iter().map(row);
    Ok(Some(Deps {
        at: time(at),
        summary: story::deps::summary(&seen),
        manifests: rows.filter(|row| !row.lines.is_empty()).collect(),
    }))
}

fn row(run: &RunSummary) -> Row {
    Row {
        run: run.run.0.clone(),
        state: state(run.closed),
        status: run.closed.map_or("open", story::status_name),
        at: time(run.opened_at),
        head: run.change.head.short().to_owned(),
        what: subject(run),
        author: line(run.change.commits.first().map_or("", |c| &c.author)),
    }
}

fn flake(flake: &Flake) -> FlakeRow {
    FlakeRow {
        test: line(&flake.test),
        flips: flake.seen.flips,
        runs: flake.seen.runs,
        last: time(flake.last),
    }
}

fn variants(project: &Project) -> Vec<VariantRow> {
    let one = |v: &crate::config::Variant| VariantRow {
        name: line(&v.name),
        strategy: line(&v.strategy),
        config: line(&v.config.to_string()),
    };
    project.variants.iter().map(one).collect()
}
