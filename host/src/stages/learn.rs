//! FeedbackAgent: looks what became of a project's fixes, in git and in what people decided, and says so.
//!
//! Touches: git, sqlite, clock.
//! Change here: when something else shows what became of a fix. What it means is `rules/learn/outcome.rs`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::event::{Event, FixFate, FixOutcome, Oid, PullRequestFate, Ruling, RunId};
use crate::outside::git::{GitError, Mirror, blocking};
use crate::outside::store::Fix;
use crate::rules::learn::outcome::{self, Commit, Stands};
use crate::rules::run::Run;

use super::{House, StageError, failed};

/// Commits of a branch that are looked through, the newest; a fix that is older than all of them is left as it was.
const LOOKED_THROUGH: usize = 1000;

/// Facts about fixes of which something new is to be said.
pub async fn look(house: &House, name: &str, mirror: Mirror) -> Result<Vec<Event>, StageError> {
    let survives_after = house.settings.learning.survive_days;
    let now = Timestamp::now();
    let looked_at = SignedDuration::from_secs_f64((survives_after * 2.0 + 1.0) * 86_400.0);
    let fixes = house.store.fixes(name, now - looked_at).await;
    let fixes = fixes.map_err(|e| failed("reading what was delivered", &e))?;
    let fixes: Vec<Fix> = fixes.into_iter().filter(|f| !is_settled(f)).collect();
    let tip = house.store.last_tip(name).await;
    let tip = tip.map_err(|e| failed("reading the last tip", &e))?;
    let (Some(tip), false) = (tip, fixes.is_empty()) else {
        return Ok(vec![]);
    };
    let names = names(house).await?;
    let commits: Vec<Oid> = fixes.iter().map(|fix| fix.commit.clone()).collect();
    let seen = blocking(move || seen(&mirror, &commits, &tip, &names)).await;
    let seen = seen.map_err(|e| failed("reading history", &e))?;
    let waiting = house.store.waiting_for_people().await;
    let waiting = waiting.map_err(|e| failed("reading what waits", &e))?;
    let waiting: BTreeSet<RunId> = waiting.into_iter().map(|w| w.run).collect();
    let mut events = vec![];
    for (fix, stands) in fixes.iter().zip(seen) {
        let said = match stands {
            // The mirror does not have it any more.
            None => None,
            Some(stands) => judged(house, fix, stands, &waiting, now).await?,
        };
        events.extend(said.map(|said| outcome::observed(name, said, now)));
    }
    Ok(events)
}

/// Nothing more is to be learned of these; a revert may still be taken back.
fn is_settled(fix: &Fix) -> bool {
    matches!(fix.fate, Some(FixFate::Edited | FixFate::Overridden))
}

/// What people's merges of fixes are called, by the commit that was offered.
async fn names(house: &House) -> Result<BTreeMap<Oid, Vec<Oid>>, StageError> {
    let read = |e| failed("reading pull requests", &e);
    let mut names: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
    for offered in house.store.pull_requests().await.map_err(read)? {
        if let Some(PullRequestFate::Merged {
            commit: Some(merge),
            ..
        }) = offered.fate
        {
            names.entry(offered.request.commit).or_default().push(merge);
        }
    }
    Ok(names)
}

/// How each of these commits stands at the tip; None where that cannot be seen.
pub fn seen(
    mirror: &Mirror,
    commits: &[Oid],
    tip: &Oid,
    all_names: &BTreeMap<Oid, Vec<Oid>>,
) -> Result<Vec<Option<Stands>>, GitError> {
    let mut known: BTreeMap<Oid, Commit> = BTreeMap::new();
    commits
        .iter()
        .map(|commit| {
            let Ok(parent) = mirror.parent(commit) else {
                return Ok(None);
            };
            let Some(base) = parent
                .map(|parent| mirror.merge_base(&parent, tip))
                .transpose()?
                .flatten()
            else {
                return Ok(None);
            };
            let line = mirror.first_parents(&base, tip, LOOKED_THROUGH)?;
            let mut read = vec![];
            for id in &line {
                if !known.contains_key(id) {
                    known.insert(id.clone(), read_commit(mirror, id)?);
                }
                read.extend(known.get(id).cloned());
            }
            let fix = read_commit(mirror, commit)?;
            let names = all_names.get(commit).map(Vec::as_slice).unwrap_or_default();
            let others = others(commit, commits, all_names);
            Ok(Some(outcome::stands(&fix, names, &others, &read)))
        })
        .collect()
}

/// What the fixes of other runs are called.
fn others(own: &Oid, commits: &[Oid], names: &BTreeMap<Oid, Vec<Oid>>) -> BTreeSet<Oid> {
    let others = commits.iter().filter(|commit| *commit != own);
    let called = others.flat_map(|c| names.get(c).into_iter().flatten().chain([c]));
    called.cloned().collect()
}

fn read_commit(mirror: &Mirror, id: &Oid) -> Result<Commit, GitError> {
    let (message, lines) = mirror.changed_lines(id)?;
    let mut hash = Sha256::new();
    for (path, (removed, added)) in &lines {
        for (mark, text) in std::iter::once(("=", path))
            .chain(removed.iter().map(|line| ("-", line)))
            .chain(added.iter().map(|line| ("+", line)))
        {
            hash.update(mark);
            hash.update(text.as_bytes());
            hash.update("\n");
        }
    }
    let patch = match lines.is_empty() {
        true => String::new(),
        false => hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    };
    Ok(Commit {
        id: id.clone(),
        message,
        lines,
        patch,
    })
}

/// What is to be said of a fix now, if it is something new.
async fn judged(
    house: &House,
    fix: &Fix,
    stands: Stands,
    waiting: &BTreeSet<RunId>,
    now: Timestamp,
) -> Result<Option<FixOutcome>, StageError> {
    let was_in = fix.merged || matches!(fix.fate, Some(FixFate::Merged | FixFate::Survived));
    let stands = match stands {
        Stands::NotIn if was_in => Stands::Out {
            by: fix.commit.clone(),
            because: "history was rewritten without it",
        },
        Stands::NotIn => return not_in(house, fix, waiting).await,
        stands => stands,
    };
    let landed = match fix.merged {
        true => Some(fix.delivered_at),
        false => fix.fate_at,
    };
    let days = landed.map(|at| now.duration_since(at).as_secs_f64() / 86_400.0);
    let after = house.settings.learning.survive_days;
    Ok(outcome::next(&fix.run, fix.fate, &stands, days, after))
}

/// People did not want it, or the branch came right without it.
async fn not_in(
    house: &House,
    fix: &Fix,
    waiting: &BTreeSet<RunId>,
) -> Result<Option<FixOutcome>, StageError> {
    if fix.fate.is_some() || waiting.contains(&fix.run) {
        return Ok(None);
    }
    let events = house.store.run_events(&fix.run).await;
    let events = events.map_err(|e| failed("reading the run", &e))?;
    let Some(run) = Run::replay(&events).ok().flatten() else {
        return Ok(None);
    };
    if run.closed.is_none() {
        return Ok(None);
    }
    let rejected = run.reviews.values().find(|r| r.ruling == Ruling::Reject);
    let (fate, because) = match rejected {
        Some(review) => (
            FixFate::Unmerged,
            format!("{} rejected it {}", review.by, review.via.name()),
        ),
        None => (
            FixFate::Overridden,
            "the branch was mended by something else".to_owned(),
        ),
    };
    Ok(Some(FixOutcome {
        run: fix.run.clone(),
        fate,
        because,
        by: None,
    }))
}
