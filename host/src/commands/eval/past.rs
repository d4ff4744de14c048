//! Past runs as cases: what broke, how its tests are run, and what the model said then.
//!
//! Touches: sqlite (through the store), clock.
//! Change here: when other runs of the log should be evaluated.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};

use super::suite::{Case, Told, Wanted};
use crate::commands::log;
use crate::config::Config;
use crate::event::{Event, Fact, Finding};
use crate::outside::claude::tape::{self, Recorded, Reply};
use crate::outside::store::RunSummary;
use crate::rules::run::Run;

/// Of each project, newest first.
const MOST_RUNS: usize = 1000;

/// The runs of a project, or of all, that had a real failure, oldest first.
pub async fn cases(
    config: &Config,
    of: &str,
    days: Option<f64>,
    wanted: Option<&str>,
) -> anyhow::Result<Vec<Case>> {
    let store = log(config)?;
    let project = (of != "all").then_some(of);
    if let Some(name) = project
        && !config.projects.contains_key(name)
    {
        bail!(
            "--runs {name}: there is no such project in the configuration, which says how its tests are run"
        );
    }
    let since = days.map(since).transpose()?;
    let wanted = Wanted::of(wanted)?;
    let mut cases = vec![];
    for summary in store.runs(project, MOST_RUNS).await? {
        let is_meant = since.is_none_or(|since| summary.opened_at >= since)
            && wanted.fits(&summary.run.0)
            && config.projects.contains_key(&summary.project);
        if is_meant {
            let events = store.run_events(&summary.run).await?;
            cases.extend(case(config, &summary, &events)?);
        }
    }
    if cases.is_empty() {
        bail!(
            "--runs {of}: no run of the log{} had a real failure of a configured project",
            wanted.words()
        );
    }
    cases.reverse();
    Ok(cases)
}

fn since(days: f64) -> anyhow::Result<Timestamp> {
    if !days.is_finite() || days <= 0.0 {
        bail!("--since {days}: name a number of days above 0");
    }
    let ago = SignedDuration::from_secs_f64(days.min(36_500.0) * 86_400.0);
    Ok(Timestamp::now() - ago)
}

/// None where nothing was broken, or nobody could enter.
fn case(config: &Config, summary: &RunSummary, events: &[Event]) -> anyhow::Result<Option<Case>> {
    let run = Run::replay(events)?.context("a run has events")?;
    let is_real = (run.triage.as_ref()).is_some_and(|t| t.finding == Finding::Real);
    let is_open = (run.opening.as_ref()).is_some_and(|o| o.takes_back.is_none());
    let Some(project) = config.projects.get(&summary.project) else {
        return Ok(None);
    };
    if !is_real || !is_open {
        return Ok(None);
    }
    Ok(Some(Case {
        name: summary.run.0.clone(),
        project_name: summary.project.clone(),
        dir: Default::default(),
        told: Told {
            about: format!("run {} of {}", summary.run, summary.project),
            base: None,
            head: None,
            hidden: vec![],
            hidden_files: vec![],
            project: project.clone(),
        },
        answers: answers(events, &config.claude.model),
        opening: run.opening,
        change: Some(summary.change.clone()),
    }))
}

/// What was asked in a run, and answered; `model` is the one that is asked now where a request names none.
fn answers(events: &[Event], model: &str) -> Vec<Recorded> {
    let mut asked = BTreeMap::new();
    let mut times: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut recorded = vec![];
    for event in events {
        match &event.fact {
            Fact::ModelAsked {
                variant,
                call,
                request,
            } => drop(asked.insert((variant, call), (request, event.at))),
            Fact::ModelAnswered {
                variant,
                call,
                answer,
            } if !answer.as_ref().is_err_and(tape::is_out_of_reach) => {
                let Some((request, at)) = asked.remove(&(variant, call)) else {
                    continue;
                };
                // Who answered then may not be who is asked now.
                let by = answer.as_ref().map_or(model, |a| a.model.as_str());
                let request = tape::digest(request, by);
                let nth = times.entry((variant.clone(), request.clone())).or_default();
                recorded.push(Recorded {
                    nth: *nth,
                    request,
                    reply: Reply::of(answer.clone()),
                    seconds: (event.at - at).total(jiff::Unit::Second).unwrap_or(0.0),
                });
                *nth += 1;
            }
            _ => {}
        }
    }
    recorded
}
