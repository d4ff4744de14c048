//! Triage and Decide: the two stages that only think.
//!
//! Touches: nothing.
//! Change here: never; what they think is in `rules/triage.rs` and `rules/decide.rs`.

use crate::event::{Fact, Role};
use crate::rules::run::Run;
use crate::rules::triage;

use super::{Cx, StageError};

pub fn triage(run: &Run) -> Result<Vec<Fact>, StageError> {
    let head = run
        .reports
        .get(&Role::Head)
        .ok_or_else(|| StageError::new("the head was not tested"))?;
    let again: Vec<_> = run.again.iter().collect();
    let triage = triage::triage(head, &again, run.reports.get(&Role::Base));
    Ok(vec![Fact::Triaged { triage }])
}

pub fn verdict(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let verdict = run
        .decide(&cx.project.policy)
        .ok_or_else(|| StageError::new("triage is missing"))?;
    Ok(vec![Fact::Decided { verdict }])
}
