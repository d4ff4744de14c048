//! What is special about a run whose change is an update of dependencies: when it is proven, what is decided about it, what
//! became of it.
//!
//! Touches: nothing.
//! Change here: when an update should be merged for less, or for more. Which are begun is `rules/deps/plan.rs`.

use std::collections::BTreeSet;

use super::decide::{self, Grounds};
use super::deps::plan::{Fate, Past};
use super::rank::{self, Placed};
use super::run::Run;
use crate::config::{Policy, Variant};
use crate::event::{
    Action, Bisection, Delivery, Entry, Finding, FixFate, Move, Opening, PluginRef, Ruling,
    RunStatus, Step, TestReport, Triage, Update, Verdict,
};

/// What the update itself enters as, where nothing has to be mended for it. No configuration can call a variant so.
pub const ITSELF: &str = "(update)";
const PIN_BACK: &str = "pin-back";

/// The only entry where an update breaks nothing.
pub fn itself() -> Entry {
    Entry {
        name: ITSELF.to_owned(),
        strategy: PluginRef {
            name: ITSELF.to_owned(),
            digest: String::new(),
        },
        config: serde_json::json!({}),
        last_resort: false,
    }
}

/// Enters beside the project's own variants where an update breaks something.
pub fn pinning_back() -> Variant {
    Variant {
        name: PIN_BACK.to_owned(),
        strategy: PIN_BACK.to_owned(),
        config: serde_json::json!({}),
    }
}

/// An update adds and removes no tests: what passed before has to be there and pass.
pub fn keeping_what_passed(triage: Triage, base: &[TestReport]) -> Triage {
    let passed = base.iter().flat_map(TestReport::passed);
    let mut to_keep = triage.to_keep.clone();
    to_keep.extend(passed.map(str::to_owned));
    to_keep.retain(|id| {
        !triage.flaky.contains(id)
            && !triage.failing.contains(id)
            && !triage.red_before.contains(id)
    });
    Triage { to_keep, ..triage }
}

/// Nothing fails because of it.
pub fn is_harmless(triage: &Triage) -> bool {
    matches!(triage.finding, Finding::Green | Finding::Flaky)
}

/// The steps that are to blame for what a group broke; empty where it cannot be told.
pub fn guilty<'u>(update: &'u Update, bisection: &Bisection) -> Vec<&'u Step> {
    let culprit = bisection.culprit();
    let of = |one: &&'u Move| Some(&one.commit) == culprit;
    let guilty = update.moves.iter().find(of);
    guilty.map_or(vec![], |one| one.steps.iter().collect())
}

/// The verdict on what is proven by nothing but the tests: nobody wrote code for it, so nothing is scored, and no
/// escalation rules are asked.
pub fn decide(grounds: &Grounds<'_>, leader: &Placed, update: &Update, policy: &Policy) -> Verdict {
    let mut reasons: Vec<String> = leader
        .objections
        .iter()
        .map(|o| o.because.clone())
        .collect();
    reasons.extend(decide::doubts(grounds.trial));
    let wanted = match reasons.is_empty() {
        true => Action::Merge,
        false => Action::Human,
    };
    let ceiling = ceiling(policy.deliver.action(), Some(update));
    if wanted > ceiling {
        reasons.push(format!(
            "the project allows no more than {} for it",
            ceiling.name()
        ));
    }
    let action = wanted.min(ceiling);
    if action == Action::Merge {
        reasons = vec![for_it(grounds, leader)];
    }
    Verdict {
        action,
        winner: Some(leader.variant.clone()),
        score: None,
        confidence: None,
        evidence: None,
        reasons,
        standings: rank::standings(grounds.placed),
    }
}

fn for_it(grounds: &Grounds<'_>, leader: &Placed) -> String {
    let kept = grounds.triage.to_keep.len();
    match leader.variant.as_str() {
        ITSELF => format!("all of the {kept} tests that passed before pass with it"),
        _ => format!(
            "with the last good version all of the {kept} tests that passed before pass, and nothing else does as well"
        ),
    }
}

/// What both the policy and the rules about updates allow.
pub fn ceiling(policy: Action, update: Option<&Update>) -> Action {
    update.map_or(policy, |update| policy.min(update.ceiling))
}

/// What became of the update of this run. `outcome`: what was seen last of what it delivered.
pub fn past(run: &Run, outcome: Option<FixFate>) -> Option<Past> {
    let update = run.change.update.as_deref().cloned()?;
    let fate = fate(run, &update, outcome);
    Some(Past {
        run: run.id.clone(),
        at: run.opened_at,
        update,
        fate,
    })
}

fn fate(run: &Run, update: &Update, outcome: Option<FixFate>) -> Fate {
    let rejected = run.reviews.values().any(|r| r.ruling == Ruling::Reject);
    let unwanted = [FixFate::Reverted, FixFate::Overridden, FixFate::Unmerged];
    if rejected || outcome.is_some_and(|fate| unwanted.contains(&fate)) {
        return Fate::Closed;
    }
    let verdict = run.verdict.as_ref();
    let winner = verdict.and_then(|verdict| verdict.winner.as_deref());
    let is_resort = |opening: &Opening| winner.is_some_and(|w| opening.is_last_resort(w));
    let held_back = run.opening.as_ref().is_some_and(is_resort);
    let landed = matches!(run.delivery, Some(Delivery::Merged { .. })) || outcome.is_some();
    match run.closed {
        None => Fate::Trying,
        Some(_) if landed && held_back => Fate::HeldBack,
        Some(_) if landed => Fate::Merged,
        Some(RunStatus::Split) => Fate::Split {
            guilty: run
                .bisection
                .as_ref()
                .map_or_else(BTreeSet::new, |found| blamed(update, found)),
        },
        Some(RunStatus::Updated | RunStatus::Fixed) => Fate::Waiting,
        Some(RunStatus::Human) if winner.is_some() => Fate::Waiting,
        Some(RunStatus::NoFix) => Fate::Broken,
        Some(_) => Fate::Untold,
    }
}

/// Where it cannot be told who is to blame, everybody goes by themselves.
fn blamed(update: &Update, bisection: &Bisection) -> BTreeSet<String> {
    let guilty = guilty(update, bisection);
    let names = |steps: &mut dyn Iterator<Item = &Step>| steps.map(|s| s.name.clone()).collect();
    match guilty.is_empty() {
        true => names(&mut update.steps()),
        false => names(&mut guilty.into_iter()),
    }
}
