//! The two pushes ChangeBus ever makes: a merge, which demands proof, and a branch of its own.
//!
//! Touches: git, processes.
//! Change here: never to loosen; a new kind of push is a new function with its own proof.

use std::time::Duration;

use super::{Expected, GitError, Mirror, PushMode, Pushed};
use crate::event::{Oid, PreparedMerge, RunId};
use crate::outside::lease::Lease;
use crate::rules::decide::Approval;

impl Mirror {
    /// Replaces the branch's tip by the prepared merge, if it still is the tip the merge was made on. Only the
    /// rules can approve it, and only the holder of the project's lease may do it.
    pub async fn push_merge(
        &self,
        _approved: &Approval,
        _held: &Lease,
        merge: &PreparedMerge,
        mode: PushMode,
        timeout: Duration,
    ) -> Result<Pushed, GitError> {
        let expected = Expected::At(merge.onto.clone());
        self.push(&merge.commit, &merge.branch, expected, mode, timeout)
            .await
    }

    /// Pushes a commit as `changebus/<run>`, a branch nobody else writes. Pushing it again is `Done`. What the run
    /// offered there `before` may be replaced; what somebody else put there may not.
    pub async fn push_own_branch(
        &self,
        commit: &Oid,
        run: &RunId,
        before: Option<&Oid>,
        timeout: Duration,
    ) -> Result<Pushed, GitError> {
        let branch = format!("changebus/{run}");
        let push = |expected| self.push(commit, &branch, expected, PushMode::Normal, timeout);
        match (push(Expected::Absent).await?, before) {
            (Pushed::Moved, Some(before)) => push(Expected::At(before.clone())).await,
            (pushed, _) => Ok(pushed),
        }
    }
}
