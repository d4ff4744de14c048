//! GitWatcher: looks at a project's branch and says what it sees. Without input, so that a look can be repeated.
//!
//! Touches: git, clock.
//! Change here: when there is something else to look at. Whether a move matters is in `rules/trigger.rs`.

use std::time::Duration;

use crate::config::Project;
use crate::event::{Asked, Change, Fact, Oid, Sighting};
use crate::outside::git::{self, Mirror, RemoteTip};
use crate::rules::trigger::{self, Course, Move, Trigger};

use super::{House, StageError, failed, suite, tip};

/// What a look at a project's branch came to.
#[derive(Debug)]
pub enum Look {
    Nothing,
    Tell(Sighting),
    Open(Change),
}

impl Look {
    pub fn fact(self) -> Option<Fact> {
        match self {
            Look::Nothing => None,
            Look::Tell(sighting) => Some(Fact::Watched { sighting }),
            Look::Open(change) => Some(Fact::ChangeSeen { change }),
        }
    }
}

/// One look. Asks the remote for its tip and fetches only if that is new. A remote that does not answer is a
/// sighting, not an error.
pub async fn look(house: &House, name: &str, project: &Project) -> Result<Look, StageError> {
    let timeout = Duration::from_secs(house.settings.watch.timeout_seconds);
    let before = house
        .store
        .last_sighting(name)
        .await
        .map_err(|e| failed("reading the last sighting", &e))?;
    let tip = match git::remote_tip(&project.repo, &project.branch, timeout).await {
        Ok(RemoteTip::At(tip)) => tip,
        Ok(RemoteTip::Empty) => return Ok(told(before, Sighting::Empty)),
        Ok(RemoteTip::NoBranch) => {
            return Ok(told(
                before,
                Sighting::BranchGone {
                    branch: project.branch.clone(),
                },
            ));
        }
        Err(error) => {
            return Ok(told(
                before,
                Sighting::Unreachable {
                    why: house.redactor.clean(&error.to_string()),
                },
            ));
        }
    };
    let last = house
        .store
        .last_tip(name)
        .await
        .map_err(|e| failed("reading the last tip", &e))?;
    let asked = house.store.asked(name).await;
    let asked = asked.map_err(|e| failed("reading who asked for a run", &e))?;
    match (last, asked) {
        (None, _) => adopt(house, name, project).await,
        (Some(last), None) if last == tip => Ok(if is_absence(before.as_ref()) {
            Look::Tell(Sighting::Back)
        } else {
            Look::Nothing
        }),
        (Some(last), None) => moved(house, name, project, &last).await,
        (Some(last), Some(asked)) => {
            let look = moved(house, name, project, &last).await?;
            as_it_stands(house, name, project, look, asked).await
        }
    }
}

/// Who asked gets a run of the tip, whether or not anything about it is new.
async fn as_it_stands(
    house: &House,
    name: &str,
    project: &Project,
    look: Look,
    asked: Asked,
) -> Result<Look, StageError> {
    let change = match look {
        Look::Open(change) => change,
        Look::Tell(_) | Look::Nothing => {
            let (mirror, tip) = fetched(house, name, project).await?;
            tip::change_between(&mirror, &project.branch, tip.clone(), tip)?
        }
    };
    Ok(Look::Open(Change {
        asked: Some(asked),
        ..change
    }))
}

/// An absence is told once, until something else is seen. Why a remote is unreachable may vary from try to try.
fn told(before: Option<Sighting>, now: Sighting) -> Look {
    let same = before.is_some_and(|b| std::mem::discriminant(&b) == std::mem::discriminant(&now));
    if same { Look::Nothing } else { Look::Tell(now) }
}

fn is_absence(sighting: Option<&Sighting>) -> bool {
    matches!(
        sighting,
        Some(Sighting::BranchGone { .. } | Sighting::Empty | Sighting::Unreachable { .. })
    )
}

async fn adopt(house: &House, name: &str, project: &Project) -> Result<Look, StageError> {
    let (_, tip) = fetched(house, name, project).await?;
    Ok(Look::Tell(Sighting::Adopted { tip }))
}

async fn moved(
    house: &House,
    name: &str,
    project: &Project,
    last: &Oid,
) -> Result<Look, StageError> {
    let (mirror, tip) = fetched(house, name, project).await?;
    let read = |e| failed("reading history", &e);
    let course = course(&mirror, last, &tip).map_err(read)?;
    let base = match &course {
        Course::Forward | Course::Back => Some(last.clone()),
        Course::Rewritten(base) => base.clone(),
    };
    let base_tree = base
        .as_ref()
        .map(|b| mirror.tree_of(b))
        .transpose()
        .map_err(read)?;
    let tree = mirror.tree_of(&tip).map_err(read)?;
    let commits = base
        .as_ref()
        .map(|b| mirror.commits(b, &tip, tip::COMMITS_TOLD))
        .transpose()
        .map_err(read)?
        .unwrap_or_default();
    let paths = base_tree
        .as_ref()
        .map(|t| mirror.changed_paths(t, &tree))
        .transpose()
        .map_err(read)?
        .unwrap_or_default();
    let own = house
        .store
        .delivered_commits(name)
        .await
        .map_err(|e| failed("reading deliveries", &e))?;
    let known = house
        .store
        .report_for_tree(name, &tree, &suite::digest(project))
        .await;
    let known = known.map_err(|e| failed("looking for an earlier report", &e))?;
    let seen = Move {
        from: last,
        to: &tip,
        course,
        // A list cut short may hide somebody else's commit.
        commit_count: if commits.len() == tip::COMMITS_TOLD {
            usize::MAX
        } else {
            commits.len()
        },
        commits: &commits,
        paths: &paths,
        own: &own,
        tree_is_green: known.is_some_and(|r| r.is_green()),
    };
    let ignored = trigger::glob_set(project.ignore_paths.iter().map(String::as_str));
    Ok(match trigger::decide(&seen, &ignored) {
        Trigger::Ignore(reason) => Look::Tell(Sighting::Ignored { tip, reason }),
        Trigger::Adopt => Look::Tell(Sighting::Adopted { tip }),
        Trigger::Open { base, forced } => Look::Open(Change {
            branch: project.branch.clone(),
            base,
            head: tip,
            tree,
            forced,
            commits,
            paths,
            asked: None,
            update: None,
        }),
    })
}

async fn fetched(
    house: &House,
    name: &str,
    project: &Project,
) -> Result<(Mirror, Oid), StageError> {
    let timeout = Duration::from_secs(house.settings.watch.timeout_seconds * 10);
    let mirror = mirror(house, name, project).await?;
    let tip = mirror
        .fetch(&project.branch, timeout)
        .await
        .map_err(|e| failed("fetching", &e))?;
    Ok((mirror, tip))
}

/// The project's bare mirror, made at its first fetch.
pub async fn mirror(house: &House, name: &str, project: &Project) -> Result<Mirror, StageError> {
    let dir = house.mirrors.join(format!("{name}.git"));
    Mirror::open(&dir, &project.repo)
        .await
        .map_err(|e| failed("opening the mirror", &e))
}

fn course(mirror: &Mirror, last: &Oid, tip: &Oid) -> Result<Course, git::GitError> {
    if mirror.is_ancestor(last, tip)? {
        return Ok(Course::Forward);
    }
    if mirror.is_ancestor(tip, last)? {
        return Ok(Course::Back);
    }
    Ok(Course::Rewritten(mirror.merge_base(last, tip)?))
}
