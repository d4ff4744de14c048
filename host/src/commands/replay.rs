//! `changebus replay RUN`: has a run's decisions again from its log. Plugins run again on nothing but the journals
//! of their calls; nothing is asked, paid, tested, pushed or written, and no repository is needed. With `--states`: how it
//! stood after each event.
//!
//! Touches: wasm, sqlite, terminal.
//! Change here: when another decision should be checked against the log.

use anyhow::Context;
use serde::Serialize;

use super::{ExitCode, log, plugins, show};
use crate::config::{Config, Policy};
use crate::event::{CallRole, Event, Fact, PluginCall, PluginFailure, RunId, Triage};
use crate::outside::store::Store;
use crate::outside::wasm::{Divergence, Journal, PluginKind, Plugins, Replayed};
use crate::rules::evidence::Demand;
use crate::rules::learn::class;
use crate::rules::run::Run;
use crate::rules::{known, triage};

mod states;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(default_value = "last")]
    run: String,
    /// Only the calls of this plugin.
    #[arg(long)]
    plugin: Option<String>,
    /// With the plugins as they are now, not with the bytes that ran.
    #[arg(long)]
    now: bool,
    /// How the run stood after each of its events, and what it would have done next; nothing is had again.
    #[arg(long, conflicts_with_all = ["plugin", "now"])]
    states: bool,
    #[arg(long)]
    json: bool,
}

/// One decision, then and now.
#[derive(Debug, Serialize)]
struct Comparison {
    decision: String,
    same: bool,
    /// Its journal was removed when its time was over: nobody can tell any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    detail: String,
    /// Where a plugin left its journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    divergence: Option<Divergence>,
}

impl Comparison {
    fn new(decision: String, same: bool, detail: impl Into<String>) -> Comparison {
        Comparison {
            decision,
            same,
            removed: false,
            detail: detail.into(),
            divergence: None,
        }
    }

    fn differs(decision: String, detail: impl Into<String>) -> Comparison {
        Comparison::new(decision, false, detail)
    }

    fn mark(&self) -> &'static str {
        match (self.same, self.removed) {
            (true, _) => "same   ",
            (false, true) => "REMOVED",
            (false, false) => "DIFFERS",
        }
    }
}

pub async fn run(config: Config, args: Args) -> anyhow::Result<ExitCode> {
    let store = log(&config)?;
    let id = show::find(&store, &args.run).await?;
    let events = store.run_events(&id).await?;
    if args.states {
        states::show(&config, &events, args.json)?;
        return Ok(ExitCode::Ok);
    }
    let run = Run::replay(&events)?.with_context(|| format!("{id} has no events"))?;
    let plugins = plugins(&config).await?;
    let calls = run
        .calls
        .iter()
        .filter(|call| args.plugin.as_ref().is_none_or(|p| *p == call.plugin.name));
    let mut found = vec![];
    for call in calls {
        found.push(again(&store, &plugins, (&id, call), args.now).await?);
    }
    match &args.plugin {
        Some(plugin) if found.is_empty() => {
            anyhow::bail!("{id}: no call of a plugin `{plugin}`; see `changebus events --run {id}`")
        }
        Some(_) => {}
        None => found.extend(decisions(&config, &run, &events)?),
    }
    let all_same = found.iter().all(|c| c.same);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        for c in &found {
            println!("{} {}: {}", c.mark(), c.decision, c.detail);
        }
    }
    Ok(if all_same {
        ExitCode::Ok
    } else {
        ExitCode::Findings
    })
}

/// Has one call again.
async fn again(
    store: &Store,
    plugins: &Plugins,
    (run, call): (&RunId, &PluginCall),
    now: bool,
) -> anyhow::Result<Comparison> {
    let decision = format!("{}, {}", call.role, call.plugin.name);
    let Some(digest) = &call.journal else {
        return Ok(Comparison::new(decision, true, "it was never called"));
    };
    let Some(packed) = store.journal(digest).await? else {
        return Ok(match store.bodies_removed_after(run).await? {
            Some(days) => Comparison {
                removed: true,
                ..Comparison::differs(
                    decision,
                    format!(
                        "its journal was removed {days} days after the run closed (store.keep_bodies_days)"
                    ),
                )
            },
            None => Comparison::differs(decision, format!("its journal {digest:.12} is gone")),
        });
    };
    let journal = Journal::unpack(&packed)?;
    if journal.digest() != *digest {
        return Ok(Comparison::differs(decision, "its journal was changed"));
    }
    let kind = match &call.role {
        CallRole::Strategy(_) => PluginKind::Strategy,
        CallRole::Scorer => PluginKind::Scorer,
        CallRole::Escalation => PluginKind::Escalation,
    };
    let plugin = match now {
        true => plugins.reference(kind, &call.plugin.name),
        false => call.plugin.clone(),
    };
    Ok(match plugins.replay(&plugin, &journal).await {
        Ok(replayed) => compare(decision, replayed),
        Err(error) => Comparison::differs(decision, error.to_string()),
    })
}

fn compare(decision: String, replayed: Replayed) -> Comparison {
    let same = replayed.is_same();
    let detail = match (&replayed.divergence, same) {
        (_, true) => "bit for bit as it was".into(),
        (Some(divergence), false) => divergence.to_string(),
        (None, false) => format!("then {}, now {}", told(&replayed.then), told(&replayed.now)),
    };
    Comparison {
        divergence: replayed.divergence.filter(|_| !same),
        ..Comparison::new(decision, same, detail)
    }
}

fn told(answer: &Result<String, PluginFailure>) -> &str {
    match answer {
        Ok(answer) => answer,
        Err(failure) => &failure.why,
    }
}

/// What triage makes of the same runs now. That another run had it in hand stands in the log, not in this run.
fn triaged(before: &Run, then: &Triage, policy: &Policy) -> Option<Fact> {
    let triage = triage::triage(&before.evidence(), Demand::from(policy))?;
    let triage = match &then.known {
        Some(other) => known::attached(triage, other),
        None => triage,
    };
    // Before there were kinds of failures, none was stated.
    let triage = match then.class {
        Some(_) => class::classified(before, triage),
        None => triage,
    };
    Some(Fact::Triaged { triage })
}

/// What the host itself decided, from the facts before it.
fn decisions(config: &Config, run: &Run, events: &[Event]) -> anyhow::Result<Vec<Comparison>> {
    let project = config.projects.get(&run.project);
    let policy = project.map_or_else(Policy::default, |p| p.policy.clone());
    let mut found = vec![];
    for (index, event) in events.iter().enumerate() {
        let Some(before) = Run::replay(&events[..index])? else {
            continue;
        };
        let (name, now) = match &event.fact {
            Fact::Triaged { triage } => ("triage", triaged(&before, triage, &policy)),
            Fact::Decided { .. } => (
                "verdict",
                before
                    .decide(&policy)
                    .map(|verdict| Fact::Decided { verdict }),
            ),
            _ => continue,
        };
        found.push(match now {
            Some(now) if now == event.fact => {
                Comparison::new(name.into(), true, "comes out as it did")
            }
            now => Comparison::differs(name.into(), format!("then {:?}, now {now:?}", event.fact)),
        });
    }
    Ok(found)
}
