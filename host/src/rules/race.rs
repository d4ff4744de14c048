//! Which trial is run next, and whose are not run at all: candidates move in order of promise, from the failing tests
//! over those near the change to the whole suite and its repeat.
//!
//! Touches: nothing.
//! Change here: when candidates should be run in another order, or stopped for another reason.
//! `docs/decisions/0011-racing.md` says what is lost when a candidate is stopped, and what is not.

use std::collections::{BTreeMap, BTreeSet};

use super::confidence;
use super::entry;
use super::gates;
use super::rank::{self, HandedIn, Placed};
use super::select;
use crate::config::Policy;
use crate::event::{
    Candidate, Exit, Oid, Opening, Part, Sample, Score, Scoring, TestReport, Triage, Trial,
};

/// One run of tests on one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    pub tree: Oid,
    pub stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The failing tests alone, at the head: whether a canary among them fails there.
    Control,
    /// Some tests alone.
    Sample(Part),
    /// The whole suite; rounds count from 1.
    Whole(u32),
}

/// What the race asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Run(Vec<Leg>),
    /// Marks for those that came through.
    Score,
    /// The scorer's marks if every test passed on everybody left.
    Bound,
    Over,
}

/// Where a race stands.
pub struct Course<'a> {
    /// The head's tree.
    pub head: &'a Oid,
    pub opening: &'a Opening,
    pub triage: &'a Triage,
    pub handed_in: &'a BTreeMap<String, HandedIn>,
    pub samples: &'a BTreeMap<Oid, Vec<Sample>>,
    pub trials: &'a BTreeMap<Oid, Vec<Trial>>,
    pub scoring: Option<&'a Scoring>,
    /// How many trees had been tried when they were last scored.
    pub scored: usize,
    pub bounds: Option<&'a BTreeMap<String, Score>>,
    pub placed: &'a [Placed],
    pub policy: &'a Policy,
    pub trials_at_once: usize,
}

pub fn next(course: &Course<'_>) -> Step {
    let open: Vec<Runner<'_>> = course
        .runners()
        .into_iter()
        .filter(|runner| course.is_open(&runner.tree))
        .collect();
    let samples = course.samples_to_run(&open);
    if !samples.is_empty() {
        return Step::Run(samples);
    }
    if course.trials.len() > course.scored
        || (course.scoring.is_none() && !course.trials.is_empty())
    {
        return Step::Score;
    }
    match rank::leader(course.placed) {
        None => course.first_whole_runs(&open),
        Some(leader) => course.behind(leader, &open),
    }
}

/// A tree with the variants that made it, and what speaks for it.
struct Runner<'a> {
    tree: Oid,
    candidate: &'a Candidate,
    variants: Vec<&'a str>,
}

impl<'a> Course<'a> {
    /// The most promising first: what several arrived at, then what changes least, then the order of the
    /// configuration.
    fn runners(&self) -> Vec<Runner<'a>> {
        let mut runners: Vec<Runner<'a>> = vec![];
        for entry in &self.opening.entries {
            let Some(HandedIn::Candidate(candidate)) = self.handed_in.get(&entry.name) else {
                continue;
            };
            if !entry::may_be_tried(candidate) {
                continue;
            }
            match runners.iter_mut().find(|r| r.tree == candidate.trial_tree) {
                Some(known) => known.variants.push(&entry.name),
                None => runners.push(Runner {
                    tree: candidate.trial_tree.clone(),
                    candidate,
                    variants: vec![&entry.name],
                }),
            }
        }
        let lines = |c: &Candidate| c.diff.insertions + c.diff.deletions;
        runners.sort_by_key(|r| {
            let last = self.is_last_resort(r);
            (last, usize::MAX - r.variants.len(), lines(r.candidate))
        });
        runners
    }

    fn is_last_resort(&self, runner: &Runner<'_>) -> bool {
        let mut variants = runner.variants.iter();
        variants.all(|variant| self.opening.is_last_resort(variant))
    }

    /// It was not run whole, and nothing it was run on speaks against it.
    fn is_open(&self, tree: &Oid) -> bool {
        let samples = self.samples_of(tree);
        let against = gates::of_samples(samples)
            .or_else(|| gates::of_canary(samples, self.samples_of(self.head)));
        !self.trials.contains_key(tree) && against.is_none()
    }

    fn samples_of(&self, tree: &Oid) -> &[Sample] {
        self.samples.get(tree).map_or(&[], Vec::as_slice)
    }

    fn samples_to_run(&self, open: &[Runner<'_>]) -> Vec<Leg> {
        if !self.opening.selectable {
            return vec![];
        }
        let lacks = |runner: &&Runner<'_>, part: Part| {
            let samples = self.samples.get(&runner.tree);
            samples.is_none_or(|s| s.iter().all(|sample| sample.part != part))
        };
        let legs = |part: Part, wanted: &dyn Fn(&&Runner<'_>) -> bool| -> Vec<Leg> {
            let runners = open.iter().filter(|r| lacks(r, part) && wanted(r));
            let stage = Stage::Sample(part);
            let leg = |r: &Runner<'_>| Leg {
                tree: r.tree.clone(),
                stage,
            };
            runners.map(leg).collect()
        };
        let failing = legs(Part::Failing, &|_| true);
        if !failing.is_empty() {
            let control = self.samples_of(self.head).is_empty().then(|| Leg {
                tree: self.head.clone(),
                stage: Stage::Control,
            });
            return control.into_iter().chain(failing).collect();
        }
        legs(Part::Near, &|r| !near(r.candidate, self.triage).is_empty())
    }

    /// Nobody is through: the most promising, with its repeat beside it where there is room.
    fn first_whole_runs(&self, open: &[Runner<'_>]) -> Step {
        let Some(first) = open.first() else {
            return Step::Over;
        };
        let beside = self
            .policy
            .repeats
            .min(self.trials_at_once.saturating_sub(1) as u32);
        let leg = |round| Leg {
            tree: first.tree.clone(),
            stage: Stage::Whole(round),
        };
        Step::Run((1..=1 + beside).map(leg).collect())
    }

    /// Somebody is through: its repeats, then whoever can still change the verdict.
    fn behind(&self, leader: &Placed, open: &[Runner<'_>]) -> Step {
        let Some(tree) = &leader.tree else {
            return Step::Over;
        };
        let run = self.trials.get(tree).map_or(&[][..], Vec::as_slice);
        let repeat = (1..=1 + self.policy.repeats).find(|n| run.iter().all(|t| t.round != *n));
        if let Some(round) = repeat {
            let tree = tree.clone();
            let stage = Stage::Whole(round);
            return Step::Run(vec![Leg { tree, stage }]);
        }
        if open.is_empty() {
            return Step::Over;
        }
        let company = self.needs_company(leader);
        let by_another = |r: &&Runner<'_>| company && self.is_of_another_strategy(r, leader);
        let (wanted, others): (Vec<&Runner<'_>>, Vec<&Runner<'_>>) =
            open.iter().partition(by_another);
        if !others.is_empty() && self.bounds.is_none() {
            return Step::Bound;
        }
        let can_win = others.into_iter().filter(|r| self.can_win(r, leader));
        let legs: Vec<Leg> = wanted
            .into_iter()
            .chain(can_win)
            .map(|r| Leg {
                tree: r.tree.clone(),
                stage: Stage::Whole(1),
            })
            .collect();
        if legs.is_empty() {
            Step::Over
        } else {
            Step::Run(legs)
        }
    }

    /// The leader lacks evidence, and another strategy that passes too would be enough of it.
    fn needs_company(&self, leader: &Placed) -> bool {
        let calibration = self.opening.learned.calibration.as_ref();
        let has = leader.evidence.unwrap_or(0.0);
        let would_have = confidence::meant(confidence::in_company(has), calibration);
        let asked = self.policy.min_confidence;
        leader.stands_alone && confidence::meant(has, calibration) < asked && would_have >= asked
    }

    fn is_of_another_strategy(&self, runner: &Runner<'_>, leader: &Placed) -> bool {
        if self.is_last_resort(runner) {
            return false;
        }
        let strategy = |name: &str| {
            let entry = self.opening.entries.iter().find(|e| e.name == name);
            entry.map(|e| e.strategy.name.as_str())
        };
        let own = strategy(&leader.variant);
        runner.variants.iter().any(|name| strategy(name) != own)
    }

    /// Beside the others as they are hoped for: some scorers only rank.
    fn leaders_score(&self, leader: &Placed) -> f64 {
        let beside = self.bounds.and_then(|b| b.get(&leader.variant));
        beside.map(|s| s.total).or(leader.score).unwrap_or(0.0)
    }

    /// Whether any of its variants would stand before the leader if every test passed.
    fn can_win(&self, runner: &Runner<'_>, leader: &Placed) -> bool {
        if leader.last_resort != self.is_last_resort(runner) {
            return leader.last_resort;
        }
        let place = |name: &str| self.opening.entries.iter().position(|e| e.name == name);
        let before = |variant: &str| {
            let Some(HandedIn::Candidate(candidate)) = self.handed_in.get(variant) else {
                return false;
            };
            let clean = candidate.objections.is_empty() && candidate.security.is_empty();
            if clean != leader.objections.is_empty() {
                return clean;
            }
            // Where the scorer has no answer nobody is stopped for it.
            let Some(best) = self.bounds.and_then(|bounds| bounds.get(variant)) else {
                return true;
            };
            let (best_total, has) = (best.total, self.leaders_score(leader));
            let ahead =
                best_total > has || (best_total == has && place(variant) < place(&leader.variant));
            best.disqualified.is_none() && ahead
        };
        runner.variants.iter().any(|variant| before(variant))
    }
}

/// The tests to keep that stand near what this candidate touches.
pub fn near(candidate: &Candidate, triage: &Triage) -> BTreeSet<String> {
    select::near(&candidate.paths, &triage.to_keep)
}

/// The trial of a tree on which everything passes: the best that can become of it.
pub fn perfect(tree: &Oid, head: &TestReport, triage: &Triage) -> Trial {
    let passed = triage.to_keep.len() + triage.failing.len();
    Trial {
        tree: tree.clone(),
        round: 1,
        source: head.source,
        exit: Exit::Code(0),
        passed: passed as u32,
        failed: 0,
        total: passed as u32,
        fixed: triage.failing.clone(),
        unfixed: BTreeSet::new(),
        broken: BTreeSet::new(),
        missing: BTreeSet::new(),
        behaviour: String::new(),
        failures: vec![],
        output: String::new(),
        problem: None,
        seconds: 0.0,
        unsandboxed: false,
        report: None,
    }
}
