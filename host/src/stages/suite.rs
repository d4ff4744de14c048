//! One run of the suite or of a tool on one tree, for every stage that needs one. No stage itself: it decides nothing and states nothing.
//!
//! Touches: files, processes, git, clock.
//! Change here: when a tree should be tested otherwise; baseline, probe, trial and merge result all come through here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config::Project;
use crate::event::{Fact, KeptReport, Oid, Role, TestReport};
use crate::outside::git::{TreeEntry, blocking};
use crate::outside::runner::{self, SuiteSpec, ToolError, ToolRun, Unprepared};
use crate::outside::warm::Layering;
use crate::outside::workspace::Workspace;
use crate::rules::select;

use super::{Cx, StageError, failed};

mod ground;
mod watched;

pub use watched::{Watched, run_watched, with_canary};

/// Beyond what the commands may take: making a workspace of a large repository, and clearing up.
const MARGIN: Duration = Duration::from_secs(600);

/// Why there is no report.
pub enum Missing {
    /// Longer than everything in it may take together. What still runs of it is killed.
    Hung(String),
    Host(StageError),
}

impl From<StageError> for Missing {
    fn from(error: StageError) -> Missing {
        Missing::Host(error)
    }
}

impl From<Missing> for StageError {
    fn from(missing: Missing) -> StageError {
        match missing {
            Missing::Hung(why) => StageError::new(why),
            Missing::Host(error) => error,
        }
    }
}

/// How much of the suite is asked for.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    Whole,
    /// At least these tests, where the runner can be told so; else the whole suite. The report says which it was.
    Only(&'a BTreeSet<String>),
}

/// One run of the suite on one tree. `commit` is what the work tree says it is on; a commit is made where there is none.
pub async fn run(
    cx: &Cx,
    tree: &Oid,
    commit: Option<&Oid>,
    name: &str,
    part: Part<'_>,
) -> Result<TestReport, Missing> {
    if let Part::Only(wanted) = part
        && let Some(report) = run_only(cx, tree, commit, name, wanted).await?
    {
        return Ok(report);
    }
    report(cx, &cx.suite()?, (tree, commit), name).await
}

/// What the suite says of the tree, with nothing secret in it. Every report of a run comes through here.
async fn report(
    cx: &Cx,
    suite: &SuiteSpec,
    (tree, commit): (&Oid, Option<&Oid>),
    name: &str,
) -> Result<TestReport, Missing> {
    let layering = cx.house.warm.layering;
    let ran = in_a_workspace(cx, (tree, commit), name, layering, async |workspace| {
        runner::run_suite(suite, workspace).await
    });
    let mut report = match ran.await? {
        Ok(report) => report,
        Err(unprepared) => unprepared.report(tree, commit),
    };
    redact(cx, &mut report);
    cx.blind.hide(&mut report);
    Ok(report)
}

/// None where these tests cannot be run by themselves, or what ran was something else.
pub async fn run_only(
    cx: &Cx,
    tree: &Oid,
    commit: Option<&Oid>,
    name: &str,
    wanted: &BTreeSet<String>,
) -> Result<Option<TestReport>, Missing> {
    let paths = tracked(cx, tree).await?;
    let Some(test) = select::command(&cx.project.test, wanted, &paths) else {
        return Ok(None);
    };
    let suite = SuiteSpec {
        test,
        ..cx.suite()?
    };
    let mut report = report(cx, &suite, (tree, commit), name).await?;
    report.partial = true;
    Ok(select::is_an_answer(&report, wanted).then_some(report))
}

/// Keeps a report where later runs find it, if it speaks of the whole suite.
pub async fn keep(cx: &Cx, report: &TestReport) -> Result<Option<KeptReport>, StageError> {
    if report.partial || report.problem.is_some() {
        return Ok(None);
    }
    let kept = cx
        .house
        .store
        .keep_report(&digest(&cx.project), report)
        .await;
    kept.map(Some).map_err(|e| failed("keeping a report", &e))
}

/// What the same commands first said of the same tree, in any run: the last of a flaky suite was run until it passed. It
/// takes no time now.
pub async fn known(cx: &Cx, tree: &Oid) -> Result<Option<TestReport>, StageError> {
    let found = cx
        .house
        .store
        .first_report_for_tree(&cx.name, tree, &digest(&cx.project))
        .await;
    let found = found.map_err(|e| failed("looking for an earlier report", &e))?;
    Ok(found.map(|report| TestReport {
        seconds: 0.0,
        ..report
    }))
}

/// One of the project's tools on one tree; the inner error says why there is nothing to show for it.
pub async fn run_tool(
    cx: &Cx,
    tree: &Oid,
    command: &str,
    name: &str,
) -> Result<Result<ToolRun, ToolError>, Missing> {
    let tracked = tracked(cx, tree).await?;
    let suite = cx.suite()?;
    // What it changed is looked for in a whole tree.
    let ran = in_a_workspace(cx, (tree, None), name, Layering::Copy, async |workspace| {
        runner::run_tool(&suite, command, workspace, tracked).await
    });
    let mut ran = match ran.await? {
        Ok(ran) => ran,
        Err(unprepared) => Err(ToolError::Unprepared(unprepared)),
    };
    match &mut ran {
        Ok(ToolRun { output, .. }) | Err(ToolError::Unprepared(Unprepared { output, .. })) => {
            *output = cx.blind.without(&cx.house.redactor.clean(output));
        }
        Err(_) => {}
    }
    Ok(ran)
}

/// The paths of a tree.
pub async fn tracked(cx: &Cx, tree: &Oid) -> Result<BTreeSet<String>, StageError> {
    let entries = entries(cx, tree).await?;
    Ok(entries.into_iter().map(|entry| entry.path).collect())
}

async fn entries(cx: &Cx, tree: &Oid) -> Result<Vec<TreeEntry>, StageError> {
    let (mirror, tree) = (cx.mirror.clone(), tree.clone());
    blocking(move || {
        let reader = mirror
            .tree(&tree)
            .map_err(|e| failed("reading a tree", &e))?;
        let entries = reader.entries(usize::MAX);
        entries.map_err(|fault| failed("listing a tree", &fault))
    })
    .await
}

/// Waiting for a permit does not count: others may have much to test.
async fn in_a_workspace<T>(
    cx: &Cx,
    (tree, commit): (&Oid, Option<&Oid>),
    name: &str,
    layering: Layering,
    work: impl AsyncFnOnce(&Workspace) -> T,
) -> Result<Result<T, Unprepared>, Missing> {
    let _permit = cx.trial_permit().await;
    let suite = cx.suite()?;
    let most = suite.setup_timeout + suite.test_timeout + MARGIN;
    within(most, name, async {
        let made = ground::workspace(cx, &suite, (tree, commit), name, layering).await?;
        let workspace = match made {
            Ok(workspace) => workspace,
            Err(unprepared) => return Ok(Err(unprepared)),
        };
        let done = work(&workspace).await;
        workspace.remove().await;
        Ok(Ok(done))
    })
    .await
}

async fn within<T>(
    most: Duration,
    name: &str,
    work: impl Future<Output = Result<T, Missing>>,
) -> Result<T, Missing> {
    let hung = |_| {
        Missing::Hung(format!(
            "{name} did not come to an end within {} s",
            most.as_secs()
        ))
    };
    tokio::time::timeout(most, work).await.map_err(hung)?
}

/// Names a suite: reports of different commands do not compare.
pub fn digest(project: &Project) -> String {
    let mut hash = Sha256::new();
    hash.update(format!(
        "{:?}",
        (
            &project.setup,
            &project.test,
            &project.report,
            &project.env,
            &project.sandbox
        )
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
        flips: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_ends_is_cut_and_told_with_its_name() {
        let never = std::future::pending::<Result<(), Missing>>();
        let Err(Missing::Hung(why)) = within(Duration::from_millis(1), "r1-A-probe-0", never).await
        else {
            panic!("it ended");
        };
        assert_eq!(why, "r1-A-probe-0 did not come to an end within 0 s");
    }
}
