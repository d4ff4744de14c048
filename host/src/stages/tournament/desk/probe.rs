//! A probe: a patch tried on the tests, judged as a trial would be.
//!
//! Touches: processes, git.
//! Change here: when a probe should run something else than a trial does, or tell more.

use super::{Desk, digest, timed_out};
use crate::event::{Fact, Fault, FaultKind, Patch, ProbeReport};
use crate::rules::compare;
use crate::stages::StageError;
use crate::stages::suite::{self, Missing, Part};
use crate::stages::tournament::resolve;

impl Desk {
    pub(super) async fn try_out(&self, patch: Patch) -> Result<ProbeReport, Fault> {
        let probe = self.next_probe()?;
        let key = (self.variant.clone(), probe);
        let digest = digest(&patch);
        let kept = self.run.journal.probed.get(&key);
        let is_another = kept.is_some_and(|(earlier, _)| *earlier != digest);
        if is_another || self.run.journal.tools.contains_key(&key) {
            return Err(self.diverged("probed"));
        }
        let kept = kept.map(|(_, kept)| kept);
        let answer = self.once(kept, self.probe(probe, &patch), |answer| Fact::Probed {
            variant: self.variant.clone(),
            probe,
            digest: digest.clone(),
            answer,
        });
        answer.await
    }

    async fn probe(
        &self,
        probe: u32,
        patch: &Patch,
    ) -> Result<Result<ProbeReport, Fault>, StageError> {
        let (Some(triage), Some(opening)) = (&self.run.triage, &self.run.opening) else {
            return Err(StageError::new("no tournament is open"));
        };
        let tree = match resolve::probe_tree(&self.cx, &self.run, patch).await? {
            Ok(tree) => tree,
            Err(why) => return Ok(Err(Fault::new(FaultKind::Invalid, "patch.refused", why))),
        };
        let name = format!("{}-{}-probe-{probe}", self.run.id, self.variant);
        let report = match suite::run(&self.cx, &tree, None, &name, Part::Whole).await {
            Ok(report) => report,
            Err(Missing::Hung(why)) => return Ok(Err(timed_out("probe.timeout", why))),
            Err(Missing::Host(error)) => return Err(error),
        };
        let trial = compare::trial(&tree, 1, &report, triage);
        Ok(Ok(compare::probe(&trial, &opening.held_out)))
    }
}
