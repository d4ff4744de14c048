//! What a strategy may know of a failure for nothing: facts, trees, the diff. Deterministic, so never journaled.
//!
//! Touches: git.
//! Change here: when a strategy should know more about a failure. A new fact is a method in `wit/` first.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Bisection, Commit, Oid, TestFailure};
use crate::outside::git::{GitError, Mirror};
use crate::outside::reading::ReadTree;
use crate::outside::wasm::{FailureFacts, ReadChange};
use crate::rules::paths::PathClasses;
use crate::rules::run::Run;

use crate::stages::{Cx, StageError, failed};

/// Of a merge that is suspected.
const COMMITS_TOLD: usize = 50;

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
        .head()
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
    let suspect = Suspect::of(&cx.mirror, run)?;
    Ok(FailureFacts {
        project: run.project.clone(),
        base: run.change.base.0.clone(),
        head: run.change.head.0.clone(),
        failing: shown.failing,
        failures: shown.failures,
        suite_output: shown.suite_output,
        commits: suspect.commits,
        changed_paths: suspect.paths,
        attributes: attributes(Some(&cx.project.test), run),
        change: Arc::new(Pushed {
            mirror: cx.mirror.clone(),
            base: suspect.before,
            head: run.change.tree.clone(),
            classes: cx.classes.clone(),
        }),
    })
}

/// What the `context` resource tells beside its own getters.
pub fn attributes(test: Option<&str>, run: &Run) -> BTreeMap<String, String> {
    let triage = run.triage.as_ref();
    let class = triage.and_then(|t| t.class).map(|c| c.name().to_owned());
    let language = triage.and_then(|t| t.language.clone());
    let all = [
        ("test-command", test.map(str::to_owned)),
        ("class", class),
        ("language", language),
    ];
    let all = all.into_iter().chain(of_update(run));
    let known = all.filter_map(|(key, value)| Some((key.to_owned(), value?)));
    known.collect()
}

/// Where the change is an update of dependencies: what moves, and how the one that breaks it would stay where it was.
fn of_update(run: &Run) -> Vec<(&'static str, Option<String>)> {
    let Some(update) = &run.change.update else {
        return vec![];
    };
    let steps = update
        .steps()
        .map(|step| format!("{} from {} to {}", step.name, step.from, step.to));
    let steps = steps.collect::<Vec<_>>().join(", ");
    let holding = run.opening.as_ref().and_then(|o| o.holding.as_ref());
    vec![
        ("update", Some(steps)),
        ("update.manifest", Some(update.manifest.clone())),
        (
            "update.changes",
            run.opening.as_ref().and_then(|o| o.brings.clone()),
        ),
        ("update.hold", holding.map(|holding| holding.patch.clone())),
    ]
}

/// What is suspected: the whole change, or the one of its commits that broke it.
pub struct Suspect {
    pub commits: Vec<Commit>,
    pub paths: Vec<String>,
    /// The head without what is suspected, as a tree. Without the whole change that is the base.
    pub before: Oid,
    /// What that tree is called: the base commit, where it is its tree.
    pub revision: Oid,
}

impl Suspect {
    pub fn of(mirror: &Mirror, run: &Run) -> Result<Suspect, StageError> {
        let read = |e| failed("reading the change", &e);
        let culprit = run.bisection.as_ref().and_then(Bisection::culprit);
        if let Some(culprit) = culprit
            && let Some(alone) = Suspect::alone(mirror, run, culprit).map_err(read)?
        {
            return Ok(alone);
        }
        Ok(Suspect {
            commits: run.change.commits.clone(),
            paths: run.change.paths.clone(),
            before: mirror.tree_of(&run.change.base).map_err(read)?,
            revision: run.change.base.clone(),
        })
    }

    /// None where it cannot be taken back by itself: what came later stands on it.
    fn alone(mirror: &Mirror, run: &Run, culprit: &Oid) -> Result<Option<Suspect>, GitError> {
        let Some(parent) = mirror.parent(culprit)? else {
            return Ok(None);
        };
        let (with, without) = (mirror.tree_of(culprit)?, mirror.tree_of(&parent)?);
        let head = &run.change.tree;
        let Ok(before) = mirror.rebase_tree(&with, head, &without)? else {
            return Ok(None);
        };
        Ok(Some(Suspect {
            commits: mirror.commits(&parent, culprit, COMMITS_TOLD)?,
            paths: mirror.changed_paths(&before, head)?,
            revision: before.clone(),
            before,
        }))
    }
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
