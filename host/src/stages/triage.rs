//! Triage: what failed, held against the runs before and against what other runs of the project have in hand.
//!
//! Touches: sqlite, git.
//! Change here: when triage should look at something else than the tests. What it makes of it is in `rules/triage.rs`.

use crate::event::{Fact, Finding, InHand, Triage};
use crate::rules::evidence::Demand;
use crate::rules::known;
use crate::rules::learn::class;
use crate::rules::run::Run;
use crate::rules::triage;
use crate::rules::update;

use super::{Cx, StageError, failed};

pub async fn triage(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let demand = Demand::from(&cx.project.policy);
    let triage = triage::triage(&run.evidence(), demand)
        .ok_or_else(|| StageError::new("the head was not tested"))?;
    // What an update would break is nobody's yet.
    let is_update = run.change.update.is_some();
    let triage = match is_update {
        true => update::keeping_what_passed(triage, &run.bases),
        false => triage,
    };
    let known = match cx.terms.attach && !is_update {
        true => in_hand(cx, run, &triage).await?,
        false => None,
    };
    let triage = match known {
        Some(other) => known::attached(triage, &other.run),
        None => triage,
    };
    let triage = class::classified(run, triage);
    Ok(vec![Fact::Triaged { triage }])
}

/// The run that has the same failure in hand, unless it was gone in between.
async fn in_hand(cx: &Cx, run: &Run, triage: &Triage) -> Result<Option<InHand>, StageError> {
    let others = cx.house.store.in_hand(&cx.name, &run.id).await;
    let mut others = others.map_err(|e| failed("reading what is in hand", &e))?;
    if triage.finding == Finding::Real {
        // The base passes. Where it came after the other run's head, somebody had mended it, and this is a new failure.
        others.retain(|other| {
            let before = cx.mirror.is_ancestor(&run.change.base, &other.head);
            // A head that history was rewritten without may be gone from the mirror.
            before.unwrap_or(false)
        });
    }
    Ok(known::in_hand(triage, &others).cloned())
}
