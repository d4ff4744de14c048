//! What a case is, before anybody is tried on it: whether its commits are there, what broke, and what of it is hidden.
//!
//! Touches: git, sqlite (through the store).
//! Change here: when more should be known of a case beforehand, or another part of it be hidden.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use globset::GlobSet;
use jiff::Timestamp;

use super::heat::{self, Hold};
use super::suite::{Case, Hide};
use crate::commands::fix;
use crate::config::Project;
use crate::event::{Change, Fact, Finding, Oid, Role, TestReport, Triage};
use crate::outside::git::Mirror;
use crate::rules::blind::{self, Blind};
use crate::rules::learn::evaluation::CaseSeen;
use crate::rules::run::Run;
use crate::rules::trigger;
use crate::stages::{House, suite, tip, watch};

/// Further back than anybody looks.
const MOST_COMMITS: usize = 200;

/// The commits of a case, in a mirror.
pub struct Ground {
    pub project: Arc<Project>,
    pub mirror: Mirror,
    pub change: Change,
}

/// A case of which everything is known that can be known without trying anybody.
pub struct Studied {
    /// What the runs are shown.
    pub change: Change,
    /// How each of them begins: what its tests said, what triage made of it, and which commit broke it.
    pub beginning: Vec<Fact>,
    pub blind: Arc<Blind>,
    /// With nothing hidden.
    pub truth: Triage,
    /// As the runs know it.
    pub shown: Triage,
    hidden: usize,
    /// Where files were hidden: what they are, and the tree that has them.
    laid_back: Option<(GlobSet, Oid)>,
}

impl Studied {
    pub fn seen(&self, case: &Case) -> CaseSeen {
        CaseSeen {
            name: case.name.clone(),
            about: case.told.about.clone(),
            failing: self.truth.failing.len(),
            hidden: self.hidden,
            left_out: None,
        }
    }

    /// The tree of a candidate with everything in it that was hidden.
    pub fn whole(&self, mirror: &Mirror, tree: &Oid) -> anyhow::Result<Oid> {
        Ok(match &self.laid_back {
            Some((files, from)) => {
                mirror.with_paths_from(tree, from, &|path| files.is_match(path))?
            }
            None => tree.clone(),
        })
    }
}

/// Fetches the case's commits, or finds them in the log's mirror.
pub async fn lay_ground(house: &House, case: &Case, mirrors: &Path) -> anyhow::Result<Ground> {
    let (name, project) = (&case.project_name, &case.told.project);
    let about = || format!("case {}", case.name);
    let mirror = watch::mirror(house, name, project).await?;
    let change = match &case.change {
        Some(change) => {
            mirror.borrow_from(&mirrors.join(format!("{name}.git")))?;
            for commit in [&change.base, &change.head] {
                mirror.tree_of(commit).with_context(about)?;
            }
            change.clone()
        }
        None => {
            let (base, head) = (case.told.base.as_deref(), case.told.head.as_deref());
            let change = fix::change(house, name, project, base, head).await;
            change.with_context(about)?
        }
    };
    Ok(Ground {
        mirror,
        project: Arc::new(project.clone()),
        change,
    })
}

/// Runs the tests as a run would, first with nothing hidden; the inner error says why nobody can be tried on this case.
pub async fn study(
    house: &Arc<House>,
    case: &Case,
    ground: &Ground,
    hides: Hide,
    logs: &Path,
) -> anyhow::Result<Result<Studied, String>> {
    let nobody = |change: &Change, blind: &Blind| Hold {
        project_name: case.project_name.clone(),
        project: Arc::new(Project {
            variants: vec![],
            ..Project::clone(&ground.project)
        }),
        change: change.clone(),
        blind: Arc::new(blind.clone()),
    };
    let all = nobody(&ground.change, &Blind::default());
    let all = heat::drive(house, all, vec![], &logs.join("all-tests")).await?;
    let truth = match real(&all) {
        Ok(triage) => triage,
        Err(why) => return Ok(Err(why)),
    };
    let blind = blinded(case, hides, &truth);
    let stripped = stripped(case, ground)?;
    let (change, known, laid_back) = match stripped {
        Some((change, files)) => (change, vec![], Some((files, ground.change.tree.clone()))),
        None => (
            ground.change.clone(),
            hidden_in(&all, &ground.project, &blind),
            None,
        ),
    };
    let shown = nobody(&change, &blind);
    let shown = heat::drive(house, shown, known, &logs.join("shown-tests")).await?;
    let triage = match real(&shown) {
        Ok(triage) => triage,
        Err(why) => return Ok(Err(format!("with what is hidden away: {why}"))),
    };
    // Where files were hidden, their tests are what is not there any more.
    let hidden: BTreeSet<String> = truth.failing.difference(&triage.failing).cloned().collect();
    Ok(Ok(Studied {
        change,
        beginning: shown.beginning(),
        hidden: hidden.len(),
        blind: Arc::new(blind),
        shown: triage,
        truth,
        laid_back,
    }))
}

/// What triage made of it, if the change broke something.
fn real(held: &heat::Held) -> Result<Triage, String> {
    let run = &held.run;
    match &run.triage {
        Some(triage) if triage.finding == Finding::Real => Ok(triage.clone()),
        Some(triage) => Err(triage.because.clone()),
        None => Err(match run.failures.last() {
            Some((stage, why)) => format!("{stage}: {why}"),
            None => "it was not tested".to_owned(),
        }),
    }
}

fn blinded(case: &Case, hides: Hide, truth: &Triage) -> Blind {
    let told = &case.told;
    if !told.hidden.is_empty() || !told.hidden_files.is_empty() {
        return Blind::to(told.hidden.iter().cloned());
    }
    match hides {
        Hide::Half => Blind::to(blind::half(&truth.failing)),
        Hide::Nothing => Blind::default(),
    }
}

/// What the tests said, as a run would have heard it that knows nothing of the hidden ones.
fn hidden_in(held: &heat::Held, project: &Project, blind: &Blind) -> Vec<Fact> {
    let Run { heads, bases, .. } = &held.run;
    let role = |n: usize, first: Role, again: Role| if n == 0 { first } else { again };
    let heads = heads.iter().enumerate();
    let heads = heads.map(|(n, report)| (role(n, Role::Head, Role::HeadAgain), report));
    let bases = bases.iter().enumerate();
    let bases = bases.map(|(n, report)| (role(n, Role::Base, Role::BaseAgain), report));
    let told = |(role, report): (Role, &TestReport)| {
        let mut report = report.clone();
        blind.hide(&mut report);
        Fact::Tested {
            role,
            report,
            suite: suite::digest(project),
            flips: Default::default(),
        }
    };
    heads.chain(bases).map(told).collect()
}

/// The change as if the hidden files had never been there, in commits of its own; none where no file is hidden.
fn stripped(case: &Case, ground: &Ground) -> anyhow::Result<Option<(Change, GlobSet)>> {
    let globs = &case.told.hidden_files;
    if globs.is_empty() {
        return Ok(None);
    }
    let files = trigger::glob_set(globs.iter().map(String::as_str));
    let (mirror, change) = (&ground.mirror, &ground.change);
    let empty = mirror.empty_tree()?;
    let without = |commit: &Oid, parents: &[Oid], message: &str| {
        let tree = mirror.tree_of(commit)?;
        let tree = mirror.with_paths_from(&tree, &empty, &|path| files.is_match(path))?;
        // Always the same moment: the same case has the same commits.
        mirror.commit(
            &tree,
            parents,
            message,
            "ChangeBus",
            "eval@changebus.invalid",
            Timestamp::UNIX_EPOCH,
        )
    };
    let base = without(&change.base, &[], "Before the change\n")?;
    let mut head = base.clone();
    let mut commits = mirror.commits(&change.base, &change.head, MOST_COMMITS)?;
    commits.reverse();
    for commit in &commits {
        head = without(&commit.id, &[head], &commit.message)?;
    }
    let change = tip::change_between(mirror, &change.branch, base, head)?;
    Ok(Some((change, files)))
}
