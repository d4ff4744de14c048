//! Some tests alone, with one among them that has to fail: whoever makes every test pass makes that one pass too.
//!
//! Touches: files, processes, git.
//! Change here: when the canary is put into a tree otherwise; where it can stand is `rules/select/canary.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Canary, Edit, Oid, Outcome, Patch, TestReport};
use crate::outside::git::blocking;
use crate::outside::reading::ReadTree;
use crate::outside::runner::SuiteSpec;
use crate::rules::select::{self, canary::Laid};

use super::{Missing, report, run_only, tracked};
use crate::stages::{Cx, StageError, failed};

/// Of a file that could take a canary.
const LONGEST_PERCH: u32 = 1 << 20;

/// What some tests alone say.
pub struct Watched {
    /// None where these tests cannot be run by themselves, or what ran was something else.
    pub report: Option<TestReport>,
    /// None where none was laid.
    pub canary: Option<Canary>,
}

/// These tests alone, with a canary among them where one can be laid; the report does not show it.
pub async fn run_watched(
    cx: &Cx,
    tree: &Oid,
    name: &str,
    wanted: &BTreeSet<String>,
) -> Result<Watched, Missing> {
    let watched = with_canary(cx, tree, name, wanted).await?;
    let canary = watched.as_ref().and_then(|w| w.canary);
    let passes = |report: &TestReport| {
        let passed = |id: &String| report.tests.get(id) == Some(&Outcome::Passed);
        report.problem.is_none() && wanted.iter().all(passed)
    };
    match watched {
        Some(watched) if watched.report.as_ref().is_none_or(passes) => Ok(watched),
        // Some tests look at all of a tree, at its style say: nobody loses for what the canary did to it.
        _ => Ok(Watched {
            report: run_only(cx, tree, None, name, wanted).await?,
            canary,
        }),
    }
}

/// The same, but nothing runs where no canary can be laid.
pub async fn with_canary(
    cx: &Cx,
    tree: &Oid,
    name: &str,
    wanted: &BTreeSet<String>,
) -> Result<Option<Watched>, Missing> {
    let paths = tracked(cx, tree).await?;
    let mark = mark();
    let Some(laid) = lay(cx, tree, wanted, &paths, &mark).await? else {
        return Ok(None);
    };
    let asked = wanted.iter().chain([&laid.id]).cloned().collect();
    let Some(test) = select::command(&cx.project.test, &asked, &paths) else {
        return Ok(None);
    };
    let with_it = with_file(cx, tree, &laid).await?;
    let suite = SuiteSpec {
        test,
        ..cx.suite()?
    };
    let mut report = report(
        &with_canary_vouched(cx, tree, &with_it),
        &suite,
        (&with_it, None),
        name,
    )
    .await?;
    let canary = select::canary::take_out(&mut report, &mark);
    report.tree = tree.clone();
    report.partial = true;
    let answer = select::is_an_answer(&report, wanted).then_some(report);
    Ok(Some(Watched {
        report: answer,
        canary: Some(canary),
    }))
}

/// The canary is the host's: beside it a tree holds no line more of a strategy's than without.
fn with_canary_vouched(cx: &Cx, tree: &Oid, with_it: &Oid) -> Cx {
    let mut cx = cx.clone();
    if cx.vouched.contains(tree) {
        cx.vouched.insert(with_it.clone());
    }
    cx
}

/// A few letters and digits nobody could know beforehand.
fn mark() -> String {
    let id = uuid::Uuid::now_v7().simple().to_string();
    // What comes before is the time of day.
    format!("c{}", &id[23..])
}

async fn lay(
    cx: &Cx,
    tree: &Oid,
    wanted: &BTreeSet<String>,
    paths: &BTreeSet<String>,
    mark: &str,
) -> Result<Option<Laid>, StageError> {
    let perches = select::canary::perches(&cx.project.test, wanted, paths);
    let (mirror, at) = (cx.mirror.clone(), tree.clone());
    let files: BTreeMap<String, String> = blocking(move || {
        let reader = mirror.tree(&at).map_err(|e| failed("reading a tree", &e))?;
        // A file that is no text, or too long, takes no canary.
        let text = |path: &String| {
            let bytes = reader.read(path, 0, LONGEST_PERCH).ok()?;
            let whole = bytes.len() < LONGEST_PERCH as usize;
            String::from_utf8(bytes).ok().filter(|_| whole)
        };
        let found = perches
            .into_iter()
            .filter_map(|p| Some((p.clone(), text(&p)?)));
        Ok::<_, StageError>(found.collect())
    })
    .await?;
    Ok(select::canary::lay(&cx.project.test, wanted, &files, mark))
}

async fn with_file(cx: &Cx, tree: &Oid, laid: &Laid) -> Result<Oid, StageError> {
    let edit = Edit::Write {
        path: laid.path.clone(),
        content: laid.content.clone(),
    };
    let patch = Patch { edits: vec![edit] };
    let applied = cx.mirror.apply(tree, &patch).await;
    Ok(applied.map_err(|e| failed("laying a canary", &e))?.tree)
}
