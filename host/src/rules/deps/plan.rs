//! Which updates are begun next, from what is due and what became of earlier ones.
//!
//! Touches: nothing.
//! Change here: when something else should hold an update back, or move with another.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::matches;
use crate::config::{Deps, Group};
use crate::event::{
    Action, Dependencies, Dependency, DependencySeen, Level, Manifest, ManifestSeen, Oid, Outlook,
    RunId, Step, Update,
};

/// What went wrong for a reason outside the update is tried again after that long.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A manifest, and how each of its dependencies stands.
pub struct Seen {
    pub manifest: Manifest,
    /// Where an index could not be asked, why.
    pub outlooks: Vec<(Dependency, Result<Vec<Outlook>, String>)>,
}

/// An update that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub manifest: Manifest,
    pub group: Option<String>,
    pub steps: Vec<Step>,
    pub ceiling: Action,
}

/// A run of an update, and how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    pub run: RunId,
    pub at: Timestamp,
    pub update: Update,
    pub fate: Fate,
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Fate {
    /// Its run goes on.
    Trying,
    /// People have it before them.
    Waiting,
    Merged,
    /// It broke the tests, and the last good version was written down.
    HeldBack,
    /// It broke the tests, and nothing mends it.
    Broken,
    /// People did not want it.
    Closed,
    /// Several moved together and broke the tests; by name, who is to blame.
    Split {
        guilty: BTreeSet<String>,
    },
    /// It could not be told for a reason outside of it.
    Untold,
}

/// The newest run of this very step, unless it says nothing against another one.
fn held<'p>(past: &'p [Past], manifest: &str, step: &Step, now: Timestamp) -> Option<&'p Past> {
    let newest = newest(past, manifest, step)?;
    let over = match newest.fate {
        Fate::Untold => newest.at.checked_add(AGAIN_AFTER).is_ok_and(|at| at <= now),
        Fate::Split { .. } => true,
        _ => false,
    };
    (!over).then_some(newest)
}

fn newest<'p>(past: &'p [Past], manifest: &str, step: &Step) -> Option<&'p Past> {
    let has_it = |one: &&Past| {
        let same = |other: &Step| other.name == step.name && other.to == step.to;
        one.update.manifest == manifest && one.update.steps().any(same)
    };
    past.iter().filter(has_it).max_by_key(|one| one.at)
}

/// What became of this version of a dependency, where it was tried.
pub fn tried<'p>(past: &'p [Past], manifest: &str, name: &str, to: &str) -> Option<&'p Past> {
    let step = Step {
        name: name.to_owned(),
        from: String::new(),
        to: to.to_owned(),
    };
    newest(past, manifest, &step)
}

/// Whether it broke the last group it moved with, so that it goes by itself.
fn is_guilty(past: &[Past], manifest: &str, step: &Step) -> bool {
    match newest(past, manifest, step).map(|one| &one.fate) {
        Some(Fate::Split { guilty }) => guilty.contains(&step.name),
        _ => false,
    }
}

/// What may be begun now, the most harmless first.
pub fn plan(seen: &[Seen], past: &[Past], policy: &Deps, now: Timestamp) -> Vec<Wanted> {
    let waiting = past.iter().filter(|one| one.fate == Fate::Waiting).count();
    let hour = SignedDuration::from_hours(1);
    let begun = past.iter().filter(|one| now.duration_since(one.at) < hour);
    let room = policy.most_waiting.saturating_sub(waiting);
    let room = room.min(policy.per_hour.saturating_sub(begun.count()));
    let mut wanted: Vec<(Level, Wanted)> = seen
        .iter()
        .flat_map(|one| of_manifest(one, past, policy, now))
        .collect();
    wanted.sort_by_key(|(level, _)| *level);
    wanted.into_iter().map(|(_, one)| one).take(room).collect()
}

/// The first that was not found impossible; what cannot be made together is made one by one. `impossible`: by manifest.
pub fn possible(wanted: Vec<Wanted>, impossible: &BTreeSet<(String, Vec<Step>)>) -> Option<Wanted> {
    let is_possible = |one: &Wanted| {
        let made = (one.manifest.path.clone(), one.steps.clone());
        !impossible.contains(&made)
    };
    let each = wanted.into_iter().flat_map(|one| match is_possible(&one) {
        true => vec![one],
        false => apart(&one),
    });
    each.into_iter().find(is_possible)
}

fn apart(wanted: &Wanted) -> Vec<Wanted> {
    let alone = |step: &Step| Wanted {
        group: None,
        steps: vec![step.clone()],
        ..wanted.clone()
    };
    wanted.steps.iter().map(alone).collect()
}

fn of_manifest(seen: &Seen, past: &[Past], policy: &Deps, now: Timestamp) -> Vec<(Level, Wanted)> {
    let manifest = &seen.manifest;
    let mut grouped: BTreeMap<&str, Vec<(Level, Step)>> = BTreeMap::new();
    let mut found = vec![];
    for (dependency, outlooks) in &seen.outlooks {
        let Some((level, step)) = due(dependency, outlooks, manifest, past, now) else {
            continue;
        };
        let group = group_of(policy, &step.name, level);
        match group.filter(|_| !is_guilty(past, &manifest.path, &step)) {
            Some(group) => grouped.entry(group).or_default().push((level, step)),
            None => found.push((None, vec![(level, step)])),
        }
    }
    let groups = grouped
        .into_iter()
        .map(|(name, steps)| (Some(name.to_owned()), steps));
    let all = found.into_iter().chain(groups);
    all.map(|(group, steps)| wanted(manifest, group, steps, policy))
        .collect()
}

/// The nearest version that is due and not held back.
fn due(
    dependency: &Dependency,
    outlooks: &Result<Vec<Outlook>, String>,
    manifest: &Manifest,
    past: &[Past],
    now: Timestamp,
) -> Option<(Level, Step)> {
    let outlooks = outlooks.as_ref().ok()?;
    let steps = outlooks.iter().filter_map(|outlook| match outlook {
        Outlook::Due { to, level } => Some((*level, step(dependency, to)?)),
        _ => None,
    });
    for (level, step) in steps {
        match held(past, &manifest.path, &step, now).map(|one| &one.fate) {
            None => return Some((level, step)),
            // One version of a dependency at a time.
            Some(Fate::Trying | Fate::Waiting) => return None,
            Some(_) => {}
        }
    }
    None
}

/// From the version it has to this one.
pub fn step(dependency: &Dependency, to: &str) -> Option<Step> {
    Some(Step {
        name: dependency.name.clone(),
        from: dependency.version.clone()?,
        to: to.to_owned(),
    })
}

fn group_of<'p>(policy: &'p Deps, name: &str, level: Level) -> Option<&'p str> {
    let moves_with = |group: &&Group| {
        group.levels.contains(&level) && group.packages.iter().any(|glob| matches(glob, name))
    };
    let mut groups = policy.groups.iter();
    let found = groups.find(|(_, group)| moves_with(group));
    found.map(|(name, _)| name.as_str())
}

fn wanted(
    manifest: &Manifest,
    group: Option<String>,
    steps: Vec<(Level, Step)>,
    policy: &Deps,
) -> (Level, Wanted) {
    let level = steps.iter().map(|(level, _)| *level).max();
    let level = level.unwrap_or(Level::Major);
    let ceiling = match policy.merge.contains(&level) {
        true => Action::Merge,
        false => Action::PullRequest,
    };
    let steps = steps.into_iter().map(|(_, step)| step).collect();
    let manifest = manifest.clone();
    (
        level,
        Wanted {
            manifest,
            group,
            steps,
            ceiling,
        },
    )
}

/// What was seen, as it is stated.
pub fn stated(tip: &Oid, seen: &[Seen]) -> Dependencies {
    let dependency = |(dependency, found): &(Dependency, Result<Vec<Outlook>, String>)| {
        let (outlooks, trouble) = match found {
            Ok(outlooks) => (outlooks.clone(), None),
            Err(trouble) => (vec![], Some(trouble.clone())),
        };
        DependencySeen {
            name: dependency.name.clone(),
            version: dependency.version.clone(),
            outlooks,
            trouble,
        }
    };
    let manifest = |seen: &Seen| ManifestSeen {
        ecosystem: seen.manifest.ecosystem,
        path: seen.manifest.path.clone(),
        dependencies: seen.outlooks.iter().map(dependency).collect(),
    };
    Dependencies {
        tip: tip.clone(),
        manifests: seen.iter().map(manifest).collect(),
    }
}

/// What is written beside a version that is held.
pub fn reason_to_hold(step: &Step, failing: &[&str]) -> String {
    let first = failing.first().copied().unwrap_or("the tests");
    let more = match failing.len() {
        0 | 1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    format!("held by ChangeBus: {} breaks {first}{more}", step.to)
}

#[cfg(test)]
mod tests;
