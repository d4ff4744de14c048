//! What a strategy may know of a failure for nothing: facts, trees, the diff. Deterministic, so never journaled.
//!
//! Touches: git.
//! Change here: when a strategy should know more about a failure. A new fact is a method in `wit/` first.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Oid, Role, TestFailure};
use crate::outside::git::Mirror;
use crate::outside::reading::ReadTree;
use crate::outside::wasm::{FailureFacts, ReadChange};
use crate::rules::paths::PathClasses;
use crate::rules::run::Run;

use crate::stages::{Cx, StageError, failed};

/// What may be told of the failing tests.
pub struct Shown {
    pub failing: Vec<String>,
    pub failures: Vec<TestFailure>,
    pub suite_output: String,
}

/// Held-out tests do not appear, nor the output, which may name them.
pub fn shown(run: &Run) -> Result<Shown, StageError> {
    let triage = run
        .triage
        .as_ref()
        .ok_or_else(|| StageError::new("no triage"))?;
    let head = run
        .reports
        .get(&Role::Head)
        .ok_or_else(|| StageError::new("the head was not tested"))?;
    let held_out = run
        .opening
        .as_ref()
        .map(|o| o.held_out.clone())
        .unwrap_or_default();
    let shown = |failure: &&TestFailure| !held_out.contains(&failure.id);
    Ok(Shown {
        failing: triage.failing.difference(&held_out).cloned().collect(),
        failures: head.failures.iter().filter(shown).cloned().collect(),
        suite_output: if held_out.is_empty() {
            head.output.clone()
        } else {
            String::new()
        },
    })
}

/// Everything the `context` resource answers from.
pub fn facts(cx: &Cx, run: &Run) -> Result<FailureFacts, StageError> {
    let shown = shown(run)?;
    let base_tree = cx
        .mirror
        .tree_of(&run.change.base)
        .map_err(|e| failed("reading the base", &e))?;
    Ok(FailureFacts {
        project: run.project.clone(),
        base: run.change.base.0.clone(),
        head: run.change.head.0.clone(),
        failing: shown.failing,
        failures: shown.failures,
        suite_output: shown.suite_output,
        commits: run.change.commits.clone(),
        changed_paths: run.change.paths.clone(),
        attributes: BTreeMap::from([("test-command".to_owned(), cx.project.test.clone())]),
        change: Arc::new(Pushed {
            mirror: cx.mirror.clone(),
            base: base_tree,
            head: run.change.tree.clone(),
            classes: cx.classes.clone(),
        }),
    })
}

/// The tree of a commit, for reading.
pub fn tree(cx: &Cx, commit: &Oid) -> Result<Arc<dyn ReadTree>, StageError> {
    let tree = cx.mirror.tree(commit);
    Ok(Arc::new(tree.map_err(|e| failed("reading a tree", &e))?))
}

struct Pushed {
    mirror: Mirror,
    base: Oid,
    head: Oid,
    classes: Arc<PathClasses>,
}

impl ReadChange for Pushed {
    fn diff(&self, path: Option<&str>, context_lines: u32, max_bytes: u32) -> String {
        let text = self.mirror.diff_text(
            &self.base,
            &self.head,
            path,
            context_lines,
            max_bytes as usize,
        );
        text.unwrap_or_else(|error| {
            tracing::warn!("the diff cannot be read: {error}");
            String::new()
        })
    }

    fn protected(&self, path: &str) -> Option<String> {
        self.classes.protection(path)
    }
}
