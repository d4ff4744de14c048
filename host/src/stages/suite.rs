//! One run of the suite on one tree, for every stage that needs one. No stage itself: it decides nothing and states nothing.
//!
//! Touches: files, processes, git.
//! Change here: when a tree should be tested otherwise; baseline, probe, trial and merge result all come through here.

use sha2::{Digest, Sha256};

use crate::config::Project;
use crate::event::{Fact, Oid, Role, TestReport};
use crate::outside::runner;
use crate::outside::workspace::Workspace;

use super::{Cx, StageError, failed};

/// One run of the suite on one tree. `commit` is what the work tree says it is on; a commit is made where there is none.
pub async fn run(
    cx: &Cx,
    tree: &Oid,
    commit: Option<&Oid>,
    name: &str,
) -> Result<TestReport, StageError> {
    let _permit = cx.trial_permit().await;
    let workspace = Workspace::create(&cx.mirror, tree, commit, &cx.house.workspaces, name)
        .await
        .map_err(|e| failed("making a workspace", &e))?;
    let mut report = runner::run_suite(&cx.suite(), &workspace).await;
    redact(cx, &mut report);
    Ok(report)
}

/// Names a suite: reports of different commands do not compare.
pub fn digest(project: &Project) -> String {
    let mut hash = Sha256::new();
    hash.update(format!(
        "{:?}",
        (&project.setup, &project.test, &project.report, &project.env)
    ));
    hash.finalize()
        .iter()
        .take(16)
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Test output may print what the environment holds; nothing of it leaves this function.
fn redact(cx: &Cx, report: &mut TestReport) {
    let clean = |text: &mut String| *text = cx.house.redactor.clean(text);
    clean(&mut report.output);
    report.problem.iter_mut().for_each(clean);
    for failure in &mut report.failures {
        clean(&mut failure.message);
        clean(&mut failure.detail);
    }
}

/// A report as a fact, with the suite it belongs to.
pub fn tested(cx: &Cx, role: Role, report: TestReport) -> Fact {
    Fact::Tested {
        role,
        report,
        suite: digest(&cx.project),
    }
}
