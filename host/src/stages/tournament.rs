//! The tournament: opening it, the variants' proposals, their validation.
//!
//! Touches: clock.
//! Change here: when what is fixed at the opening changes.

use std::collections::BTreeMap;

use crate::event::{Entry, Fact, Opening};
use crate::outside::wasm::PluginKind;
use crate::rules::entry;
use crate::rules::run::Run;

use super::{Cx, StageError, failed};

pub mod generate;
pub mod resolve;
pub mod validate;

mod desk;
mod dossier;

/// Fixes the field: who enters with which plugin, what is held out, what history says. A replay meets the same.
pub async fn open(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let triage = run
        .triage
        .as_ref()
        .ok_or_else(|| StageError::new("no triage"))?;
    let policy = &cx.project.policy;
    // All of one moment: a plugin that is replaced meanwhile enters with one version, not with two.
    let plugins = cx.house.plugins.lineup();
    let entry = |variant: &crate::config::Variant| Entry {
        name: variant.name.clone(),
        strategy: plugins.reference(PluginKind::Strategy, &variant.strategy),
        config: variant.config.clone(),
    };
    let history = cx
        .house
        .store
        .history(&cx.name)
        .await
        .map_err(|e| failed("reading history", &e))?;
    let opening = Opening {
        entries: cx.project.variants.iter().map(entry).collect(),
        held_out: entry::held_out(&triage.failing, policy.hold_out),
        scorer: plugins.reference(PluginKind::Scorer, &policy.scorer),
        escalation: plugins.reference(PluginKind::Escalation, &policy.escalation),
        history: history.into_iter().collect::<BTreeMap<_, _>>(),
    };
    Ok(vec![Fact::TournamentOpened { opening }])
}
