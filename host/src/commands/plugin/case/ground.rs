//! Where a strategy's case happens: its two trees as commits of a repository that goes when the case is over.
//!
//! Touches: files, git, processes.
//! Change here: when a probe of a case should be run otherwise. It must not differ from a probe of a run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::OnceCell;

use super::{BEFORE, Case, HEAD};
use crate::commands::proven_sandbox;
use crate::config::Policy;
use crate::event::{Fault, FaultKind, Finding, Oid, Patch, ProbeReport, TestReport, Triage};
use crate::outside::git::{Mirror, PatchError};
use crate::outside::reading::{Hit, ReadTree, SearchOptions};
use crate::outside::runner::{self, Confinement, SuiteSpec};
use crate::outside::sandbox::Sandbox;
use crate::outside::wasm::ReadChange;
use crate::outside::workspace::Workspace;
use crate::rules::compare;
use crate::rules::paths::PathClasses;

/// A command of a case that takes longer is stopped.
const LONGEST: Duration = Duration::from_secs(900);

pub struct Ground {
    case: Arc<Case>,
    dir: tempfile::TempDir,
    pub mirror: Mirror,
    pub before: Oid,
    pub head: Oid,
    pub paths: Vec<String>,
    classes: Arc<PathClasses>,
    /// What passed before the change.
    keep: OnceCell<BTreeSet<String>>,
    sandbox: OnceCell<Arc<Sandbox>>,
}

impl Ground {
    pub async fn lay(case: Arc<Case>) -> anyhow::Result<Ground> {
        let dir = tempfile::Builder::new()
            .prefix("changebus-case-")
            .tempdir()?;
        let mirror = Mirror::open(&dir.path().join("trees.git"), "the case's trees").await?;
        let (before, head) = (
            mirror.take_in(&case.dir.join(BEFORE))?,
            mirror.take_in(&case.dir.join(HEAD))?,
        );
        let paths = mirror.changed_paths(&before, &head)?;
        let policy = Policy {
            test_paths: case.told.test_paths.clone(),
            protected_paths: case.told.protected_paths.clone(),
            ..Policy::default()
        };
        let keep = match case.told.facts.keep.as_slice() {
            [] => OnceCell::new(),
            keep => OnceCell::new_with(Some(keep.iter().cloned().collect())),
        };
        Ok(Ground {
            classes: Arc::new(PathClasses::of(&policy)),
            case,
            dir,
            mirror,
            before,
            head,
            paths,
            keep,
            sandbox: OnceCell::new(),
        })
    }

    /// A tree for reading, under the id that the case gives its commit.
    pub fn tree(&self, tree: &Oid, named: &str) -> anyhow::Result<Arc<dyn ReadTree>> {
        let revision = if named.is_empty() {
            tree.0.clone()
        } else {
            named.to_owned()
        };
        let tree = self.mirror.tree(tree)?;
        Ok(Arc::new(Named {
            tree: Box::new(tree),
            revision,
        }))
    }

    pub fn change(&self) -> Arc<dyn ReadChange> {
        Arc::new(Changed {
            mirror: self.mirror.clone(),
            before: self.before.clone(),
            head: self.head.clone(),
            classes: self.classes.clone(),
        })
    }

    /// Runs the case's tests on a patched head, as a run of the host would.
    pub async fn probe(&self, test: &str, patch: &Patch) -> Result<ProbeReport, Fault> {
        let patched = match self.mirror.apply(&self.head, patch).await {
            Ok(applied) => applied.tree,
            Err(PatchError::Git(error)) => return Err(host_failed(&error)),
            Err(refused) => {
                return Err(Fault::new(
                    FaultKind::Invalid,
                    "patch.refused",
                    refused.to_string(),
                ));
            }
        };
        let judged = self
            .mirror
            .with_paths_from(&patched, &self.head, &|path| self.classes.is_judge(path));
        let judged = judged.map_err(|e| host_failed(&e))?;
        let report = self
            .tested(test, &judged)
            .await
            .map_err(|e| host_failed(&*e))?;
        let triage = self.triage(test).await.map_err(|e| host_failed(&*e))?;
        let trial = compare::trial(&judged, 1, &report, &triage);
        Ok(compare::probe(&trial, &self.case.told.facts.held_out))
    }

    async fn tested(&self, test: &str, tree: &Oid) -> anyhow::Result<TestReport> {
        let told = &self.case.told;
        let sandbox = self.sandbox.get_or_try_init(|| async {
            let sandbox = proven_sandbox(self.dir.path()).await?;
            anyhow::Ok(Arc::new(sandbox))
        });
        let sandbox = sandbox.await?;
        let spec = SuiteSpec {
            setup: told.setup.clone(),
            test: test.to_owned(),
            report: told.report,
            env: told.env.clone(),
            setup_timeout: LONGEST,
            test_timeout: LONGEST,
            confinement: Confinement::of(&told.sandbox, Some(sandbox))?,
        };
        let workspace =
            Workspace::create(&self.mirror, tree, None, &self.workspaces(), "probe").await?;
        let report = match runner::prepare(&spec, &workspace, true).await {
            Ok(()) => runner::run_suite(&spec, &workspace).await,
            Err(unprepared) => unprepared.report(tree, None),
        };
        workspace.remove().await;
        Ok(report)
    }

    pub fn workspaces(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    async fn triage(&self, test: &str) -> anyhow::Result<Triage> {
        let told = &self.case.told;
        let keep = self.keep.get_or_try_init(|| async {
            let report = self.tested(test, &self.before).await?;
            anyhow::Ok(report.passed().into_iter().map(str::to_owned).collect())
        });
        let failing: BTreeSet<String> = told.failing.iter().map(|f| f.id.clone()).collect();
        let to_keep: &BTreeSet<String> = keep.await.context("testing before/")?;
        Ok(Triage {
            finding: Finding::Real,
            to_keep: to_keep.difference(&failing).cloned().collect(),
            failing: failing.union(&told.facts.held_out).cloned().collect(),
            flaky: BTreeSet::new(),
            red_before: BTreeSet::new(),
            because: String::new(),
            prints: Default::default(),
            known: None,
            class: None,
            language: None,
        })
    }
}

fn host_failed(error: &(impl std::fmt::Display + ?Sized)) -> Fault {
    Fault::new(FaultKind::Internal, "host.failed", error.to_string())
}

/// A tree that goes by the name of the commit it was recorded from.
struct Named {
    tree: Box<dyn ReadTree>,
    revision: String,
}

impl ReadTree for Named {
    fn revision(&self) -> String {
        self.revision.clone()
    }

    fn size(&self, path: &str) -> Result<u64, Fault> {
        self.tree.size(path)
    }

    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Fault> {
        self.tree.read(path, offset, max)
    }

    fn glob(&self, pattern: &str, limit: u32) -> Result<Vec<String>, Fault> {
        self.tree.glob(pattern, limit)
    }

    fn search(
        &self,
        pattern: &str,
        options: SearchOptions,
        path_glob: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Hit>, Fault> {
        self.tree.search(pattern, options, path_glob, limit)
    }
}

struct Changed {
    mirror: Mirror,
    before: Oid,
    head: Oid,
    classes: Arc<PathClasses>,
}

impl ReadChange for Changed {
    fn diff(&self, path: Option<&str>, context_lines: u32, max_bytes: u32) -> String {
        let (before, head) = (&self.before, &self.head);
        let text = self
            .mirror
            .diff_text(before, head, path, context_lines, max_bytes as usize);
        text.unwrap_or_else(|error| {
            tracing::warn!("the diff cannot be read: {error}");
            String::new()
        })
    }

    fn protected(&self, path: &str) -> Option<String> {
        self.classes.protection(path)
    }
}
