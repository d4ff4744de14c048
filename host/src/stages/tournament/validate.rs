//! ValidationHarness: each distinct tree once per round, in a workspace of its own.
//!
//! Touches: files, processes, git.
//! Change here: when a trial should go in stages, or stop early.

use crate::event::{Fact, Oid};
use crate::rules::compare;
use crate::rules::run::Run;

use crate::stages::suite::{self, Part};
use crate::stages::{Cx, StageError};

/// Tries the trees side by side, as far as the host's permits go; each result is durable on its own.
pub async fn trees(cx: &Cx, run: &Run, trees: &[Oid], round: u32) -> Result<Vec<Fact>, StageError> {
    let triage = run
        .triage
        .as_ref()
        .ok_or_else(|| StageError::new("no triage"))?;
    let trials = trees.iter().map(|tree| async move {
        let name = format!("{}-{}-{round}", run.id, tree.short());
        let report = suite::run(cx, tree, None, &name, Part::Whole).await?;
        let trial = compare::trial(tree, round, &report, triage);
        cx.recorder.record(Fact::Tried { trial }).await
    });
    for trial in futures::future::join_all(trials).await {
        trial?;
    }
    Ok(vec![])
}
