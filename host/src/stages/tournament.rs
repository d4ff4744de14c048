//! The tournament: opening it, the variants' proposals, their validation.
//!
//! Touches: clock, git, files, processes, sqlite.
//! Change here: when what is fixed at the opening changes.

use crate::event::{Entry, Fact, Opening, TakesBack, Triage};
use crate::outside::wasm::PluginKind;
use crate::rules::run::Run;
use crate::rules::{decide, entry, pull_request, select, update};

use super::suite::{self, Part};
use super::{Cx, StageError, failed, tip};

mod brings;
pub mod desk;
pub mod dossier;
pub mod generate;
pub mod holding;
mod lessons;
pub mod resolve;
pub mod validate;

/// Opens the tournament, unless the branch came right by itself meanwhile: then no model is paid.
pub async fn open(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    // A dry run is asked what would become of this very change; of an update nothing came to the branch yet.
    if !cx.terms.withhold && run.change.update.is_none() {
        let tip = tip::of(cx, run).await?;
        if tip != run.change.head {
            let failing = run.triage.as_ref().map(|t| &t.failing);
            let part = failing.map_or(Part::Whole, Part::Only);
            let moved = tip::test(cx, run, tip, part).await?;
            if let Some(because) = moved.healed(run) {
                let verdict = decide::nothing_to_do(because);
                return Ok(vec![moved.fact(cx), Fact::Decided { verdict }]);
            }
            let mut facts = vec![moved.fact(cx)];
            facts.extend(field(cx, run).await?);
            return Ok(facts);
        }
    }
    field(cx, run).await
}

/// Fixes the field: who enters with which plugin, what is held out, what history says. A replay meets the same.
async fn field(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let triage = run
        .triage
        .as_ref()
        .ok_or_else(|| StageError::new("no triage"))?;
    let policy = &cx.project.policy;
    // All of one moment: a plugin that is replaced meanwhile enters with one version, not with two.
    let plugins = cx.house.plugins.lineup();
    let enter = |variant: &crate::config::Variant| Entry {
        name: variant.name.clone(),
        strategy: plugins.reference(PluginKind::Strategy, &variant.strategy),
        config: variant.config.clone(),
        last_resort: false,
    };
    let history = cx.house.store.history(&cx.name).await;
    let mut history = history.map_err(|e| failed("reading history", &e))?;
    let takes_back = own_work(cx, run).await?;
    let variants = match takes_back {
        Some(_) => vec![entry::taking_back()],
        None => cx.project.variants.clone(),
    };
    let mut entries: Vec<Entry> = variants.iter().map(enter).collect();
    let holding = holding::of(cx, run).await?;
    if holding.is_some() {
        entries.push(Entry {
            last_resort: true,
            ..enter(&update::pinning_back())
        });
    }
    if run.is_harmless_update() {
        entries = vec![update::itself()];
    }
    let held_out = entry::held_out(&triage.failing, policy.hold_out);
    let brings = brings::of(cx, run, &held_out).await;
    let (learned, of_class) = lessons::draw(cx, run, &entries, &held_out).await?;
    history.extend(of_class);
    let opening = Opening {
        entries,
        takes_back,
        holding,
        brings,
        held_out,
        scorer: plugins.reference(PluginKind::Scorer, &policy.scorer),
        escalation: plugins.reference(PluginKind::Escalation, &policy.escalation),
        history,
        learned,
        selectable: selectable(cx, run, triage).await?,
    };
    Ok(vec![Fact::TournamentOpened { opening }])
}

/// The run whose result is what broke the branch, as far as is known: its commit, or the merge that brought it in.
async fn own_work(cx: &Cx, run: &Run) -> Result<Option<TakesBack>, StageError> {
    let brought = cx.house.store.brought(&cx.name).await;
    let brought = brought.map_err(|e| failed("reading deliveries", &e))?;
    let Some(culprit) = pull_request::culprit(run).filter(|_| !brought.is_empty()) else {
        return Ok(None);
    };
    let parents = cx.mirror.parents(culprit);
    let parents = parents.map_err(|e| failed("reading a commit", &e))?;
    let Some(id) = entry::own_work(culprit, &parents, &brought) else {
        return Ok(None);
    };
    let events = cx.house.store.run_events(id).await;
    let events = events.map_err(|e| failed("reading the run that brought it", &e))?;
    let earlier = Run::replay(&events).ok().flatten();
    let mended = earlier.and_then(|run| run.triage).map(|t| t.failing);
    Ok(Some(TakesBack {
        run: id.clone(),
        mended: mended.unwrap_or_default(),
    }))
}

/// Whether the failing tests can be run by themselves. Every candidate's tree has the head's tests.
async fn selectable(cx: &Cx, run: &Run, triage: &Triage) -> Result<bool, StageError> {
    let paths = suite::tracked(cx, &run.change.tree).await?;
    Ok(select::command(&cx.project.test, &triage.failing, &paths).is_some())
}
