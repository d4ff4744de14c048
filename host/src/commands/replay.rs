//! `changebus replay RUN`: decides a run again from its log. Strategies run again and are answered from the log;
//! nothing is asked, paid, pushed or written.
//!
//! Touches: wasm, git, sqlite, terminal.
//! Change here: when another decision should be checked against the log.

use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;

use super::{ExitCode, house, log, show};
use crate::config::{Config, Policy, Project, ReportFormat, default_variants};
use crate::event::{Event, Fact, PluginRef, RefusalKind};
use crate::outside::wasm::PluginKind;
use crate::rules::paths::PathClasses;
use crate::rules::run::Run;
use crate::stages::{Cx, Recorder, decide, score, tournament::generate, watch};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(default_value = "last")]
    run: String,
    #[arg(long)]
    json: bool,
}

/// One decision, then and now.
#[derive(Debug, Serialize)]
struct Comparison {
    decision: String,
    same: bool,
    detail: String,
}

pub async fn run(config: Config, args: Args) -> anyhow::Result<ExitCode> {
    let store = log(&config)?;
    let id = show::find(&store, &args.run).await?;
    let events = store.run_events(&id).await?;
    let run = Run::replay(&events)?.with_context(|| format!("{id} has no events"))?;
    let project = project(&config, &run);
    let house = house(config, store).await?;
    // Nobody receives: whatever a stage wants to state beyond the log stops it.
    let (recorder, _) = Recorder::new();
    let cx = Cx {
        name: run.project.as_str().into(),
        mirror: watch::mirror(&house, &run.project, &project).await?,
        classes: Arc::new(PathClasses::of(&project.policy)),
        project: Arc::new(project),
        house,
        recorder,
        update_checkout: false,
    };
    let mut found = vec![];
    for (index, event) in events.iter().enumerate() {
        found.extend(again(&cx, &events[..index], event).await?);
    }
    let all_same = found.iter().all(|c| c.same);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        for c in &found {
            println!(
                "{} {}: {}",
                if c.same { "same   " } else { "DIFFERS" },
                c.decision,
                c.detail
            );
        }
    }
    Ok(if all_same {
        ExitCode::Ok
    } else {
        ExitCode::Findings
    })
}

/// The configured project, or, for a run of `fix`, the default policy.
fn project(config: &Config, run: &Run) -> Project {
    config
        .projects
        .get(&run.project)
        .cloned()
        .unwrap_or_else(|| Project {
            repo: String::new(),
            branch: run.change.branch.clone(),
            setup: None,
            test: String::new(),
            report: ReportFormat::Auto,
            setup_timeout_seconds: 0,
            test_timeout_seconds: 0,
            env: Default::default(),
            tools: Default::default(),
            ignore_paths: vec![],
            policy: Policy::default(),
            variants: default_variants(),
        })
}

/// Decides what led to `event` once more, from the facts before it. None for facts that are no decision.
async fn again(cx: &Cx, before: &[Event], event: &Event) -> anyhow::Result<Option<Comparison>> {
    let Some(run) = Run::replay(before)? else {
        return Ok(None);
    };
    let run = Arc::new(run);
    Ok(match &event.fact {
        Fact::Triaged { .. } => Some(compare(
            "triage",
            &event.fact,
            decide::triage(&run)?.first(),
        )),
        Fact::Scored { .. } => {
            let pinned = run.opening.as_ref().map(|o| &o.scorer);
            Some(match changed(cx, PluginKind::Scorer, pinned) {
                Some(detail) => Comparison {
                    decision: "score".into(),
                    same: false,
                    detail,
                },
                None => compare("score", &event.fact, score::mark(cx, &run).await?.first()),
            })
        }
        Fact::Decided { .. } => Some(compare(
            "verdict",
            &event.fact,
            decide::verdict(cx, &run)?.first(),
        )),
        // What a limit stopped depends on the clock; there is nothing to decide again.
        Fact::Refused { refusal, .. } if refusal.kind == RefusalKind::PluginFailed => None,
        Fact::Proposed { variant, .. } | Fact::Refused { variant, .. } => {
            Some(heat(cx, &run, variant, &event.fact).await)
        }
        _ => None,
    })
}

async fn heat(cx: &Cx, run: &Arc<Run>, variant: &str, then: &Fact) -> Comparison {
    let decision = format!("variant {variant}");
    let Some(entry) = run
        .opening
        .iter()
        .flat_map(|o| &o.entries)
        .find(|e| e.name == variant)
    else {
        return Comparison {
            decision,
            same: false,
            detail: "it never entered".into(),
        };
    };
    if let Some(detail) = changed(cx, PluginKind::Strategy, Some(&entry.strategy)) {
        return Comparison {
            decision,
            same: false,
            detail,
        };
    }
    match generate::heat(cx, run, entry).await {
        Ok(now) => compare(&decision, then, Some(&now)),
        Err(error) => Comparison {
            decision,
            same: false,
            detail: format!("it wants something the log does not hold: {error}"),
        },
    }
}

/// A plugin of another digest is no replay.
fn changed(cx: &Cx, kind: PluginKind, pinned: Option<&PluginRef>) -> Option<String> {
    let pinned = pinned?;
    let now = cx.house.plugins.reference(kind, &pinned.name);
    (now != *pinned).then(|| {
        format!(
            "plugin {} is not the one that ran (then {:.12}, now {:.12})",
            pinned.name, pinned.digest, now.digest
        )
    })
}

fn compare(decision: &str, then: &Fact, now: Option<&Fact>) -> Comparison {
    let same = now.is_some_and(|now| timeless(now) == timeless(then));
    let detail = if same {
        "comes out as it did".into()
    } else {
        format!("then {then:?}, now {now:?}")
    };
    Comparison {
        decision: decision.into(),
        same,
        detail,
    }
}

/// How long a heat took is no part of what it decided.
fn timeless(fact: &Fact) -> Fact {
    let mut fact = fact.clone();
    match &mut fact {
        Fact::Proposed { candidate, .. } => candidate.seconds = 0.0,
        Fact::Refused { refusal, .. } => refusal.seconds = 0.0,
        _ => {}
    }
    fact
}
