//! Decide: the verdict on a run's standings, from its facts alone.
//!
//! Touches: nothing.
//! Change here: never for a reason of policy; that is `rules/decide.rs`.

use crate::event::Fact;
use crate::rules::run::Run;

use super::{Cx, StageError};

pub fn verdict(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let verdict = run
        .decide(&cx.project.policy)
        .ok_or_else(|| StageError::new("triage is missing"))?;
    Ok(vec![Fact::Decided { verdict }])
}
