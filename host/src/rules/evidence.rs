//! Weighs what runs of the tests say about each failing test, and says which run is worth asking for next.
//!
//! Touches: nothing.
//! Change here: when a failure should take more, less or other evidence before it is called one. Why it is weighed so
//! stands in `docs/decisions/0010-when-a-failure-is-real.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::trouble::{self, Trouble};
use crate::config::Policy;
use crate::event::{Flips, Outcome, ReportSource, TestReport};

/// Id that stands for the whole suite where only an exit code is known.
pub const WHOLE_SUITE: &str = "(the test command)";

/// Runs of the head before the base is asked: most of what is flaky shows by then, and what was red before needs no more.
const BEFORE_THE_BASE: usize = 3;
/// What is asked on top of a test that flipped in earlier runs, or does otherwise alone than among the others: 4^3 = 64
/// times the certainty.
const KNOWN_TO_FLIP: usize = 3;
/// Runs that say nothing of what they were asked for come to an end too: in all, so many times what is asked of one side.
const MOST_TIMES: usize = 4;
/// Runs that end in trouble on one commit before it counts as such.
const IN_TROUBLE: usize = 3;

/// It says nothing of any test.
pub fn is_mute(report: &TestReport) -> bool {
    report.problem.is_some() && report.tests.is_empty()
}

/// What one run of the tests, or of a part of them, says of a test.
fn saw(report: &TestReport, id: &str) -> Saw {
    match outcomes(report).get(id) {
        Some(Outcome::Passed) => Saw::Passed,
        Some(Outcome::Flaky) => Saw::Flaky,
        Some(Outcome::Skipped) => Saw::Skipped,
        Some(Outcome::Failed | Outcome::Errored) => Saw::Bad,
        None if report.partial => Saw::Nothing,
        // Whatever it was, it is well now.
        None if report.is_green() => Saw::Passed,
        None if incomplete(report) => Saw::Bad,
        None if id == WHOLE_SUITE => Saw::Nothing,
        None => Saw::Gone,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saw {
    Passed,
    Bad,
    /// Both, within one run.
    Flaky,
    /// The run reached its end without it.
    Gone,
    Skipped,
    Nothing,
}

/// The outcomes of a report; an exit code alone counts as one test.
pub fn outcomes(report: &TestReport) -> BTreeMap<&str, Outcome> {
    if report.source == ReportSource::ExitCode && report.tests.is_empty() {
        let outcome = if report.is_green() {
            Outcome::Passed
        } else {
            Outcome::Failed
        };
        return BTreeMap::from([(WHOLE_SUITE, outcome)]);
    }
    report
        .tests
        .iter()
        .map(|(id, outcome)| (id.as_str(), *outcome))
        .collect()
}

/// The run did not reach every test: nothing can be concluded from an id that is not there.
pub fn incomplete(report: &TestReport) -> bool {
    let told_nothing = report.source == ReportSource::ExitCode && !report.is_green();
    told_nothing
        || report.problem.is_some()
        || report.tests.values().any(|o| *o == Outcome::Errored)
}

/// Everything that was run at the head and at the base so far, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub head: &'a [TestReport],
    pub base: &'a [TestReport],
    /// Of earlier runs.
    pub flips: &'a BTreeMap<String, Flips>,
}

/// How much is asked, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Runs at the head in which a test has to fail, and at the base in which it has to pass. A test that fails by chance
    /// passes for broken less often than once in 4 to this power, however often it fails: p^n * (1-p)^n <= 4^-n.
    pub runs: usize,
    /// Of reruns, in seconds.
    pub patience: f64,
}

impl From<&Policy> for Demand {
    fn from(policy: &Policy) -> Demand {
        Demand {
            runs: policy.reruns as usize + 1,
            patience: policy.rerun_seconds as f64,
        }
    }
}

/// What the evidence makes of a test that was bad at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Bad, and not bad, on one and the same tree.
    Flaky,
    /// Flaky at the base, and bad every time at the head: the change may have broken it all the same.
    Wavering,
    RedBefore,
    /// Bad every time at the head, and good every time at the base, as often as is asked.
    Real,
    /// So many more runs are asked at the head and at the base.
    Open {
        head: usize,
        base: usize,
    },
}

/// The run that is worth asking for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Head(Option<BTreeSet<String>>),
    Base(Option<BTreeSet<String>>),
    /// No further run would say more, or there is no time for one.
    Enough,
}

impl<'a> Evidence<'a> {
    /// Runs at the head that count: those that ended in trouble do not where others did not.
    pub fn heads(&self) -> impl Iterator<Item = &'a TestReport> + use<'a> {
        sound(self.head)
    }

    /// The run of the whole suite that tells most about what failed.
    pub fn head(&self) -> Option<&'a TestReport> {
        self.heads()
            .find(|report| !report.partial)
            .or(self.head.first())
    }

    fn bases(&self) -> impl Iterator<Item = &'a TestReport> {
        sound(self.base).filter(|sample| !is_mute(sample))
    }

    /// Every test that was bad at the head once, or that the head broke off before.
    fn suspects(&self) -> BTreeSet<&'a str> {
        let bad = |(id, outcome): (&'a str, Outcome)| {
            (outcome.is_bad() || outcome == Outcome::Flaky).then_some(id)
        };
        let seen = self.heads().flat_map(|sample| outcomes(sample));
        let mut suspects: BTreeSet<&str> = seen.filter_map(bad).collect();
        suspects.extend(self.lost());
        let names_tests = |sample: &TestReport| sample.source != ReportSource::ExitCode;
        if self.heads().chain(self.bases()).any(names_tests) {
            // A head broke off before it came to its tests. It is they that have to pass again: no candidate's report
            // could ever name the stand-in.
            suspects.remove(WHOLE_SUITE);
        }
        suspects
    }

    /// Tests that passed before and are not even reported any more, because the run broke off. In a run that reached its
    /// end, an id that is gone was removed by the push, which is its author's right.
    fn lost(&self) -> BTreeSet<&'a str> {
        let whole = || self.heads().filter(|sample| !sample.partial);
        if !whole().all(incomplete) {
            return BTreeSet::new();
        }
        let seen = self.bases().flat_map(|sample| outcomes(sample));
        let passed = seen.filter(|(_, outcome)| *outcome == Outcome::Passed);
        let gone = |id: &&str| whole().all(|s| !outcomes(s).contains_key(*id));
        passed.map(|(id, _)| id).filter(gone).collect()
    }

    /// What is known of each suspect.
    pub fn standings(&self, demand: Demand) -> BTreeMap<&'a str, Standing> {
        let suspects = self.suspects().into_iter();
        suspects
            .filter_map(|id| Some((id, self.standing(id, demand)?)))
            .collect()
    }

    /// None for what was bad once and then neither bad nor good.
    fn standing(&self, id: &str, demand: Demand) -> Option<Standing> {
        let head = Tally::of(self.heads(), id);
        let named = self.bases().filter(|s| outcomes(s).contains_key(id));
        let base = Tally::of(named, id);
        if head.flipped() {
            return Some(Standing::Flaky);
        }
        if head.whole.bad == 0 || head.skipped {
            return None;
        }
        if base.flipped() {
            return Some(Standing::Wavering);
        }
        // Alone it does otherwise than among the others: then only whole runs speak for it.
        let alone = !head.depends_on_the_rest() && !base.depends_on_the_rest();
        let (bad, good) = match alone {
            true => (
                head.whole.bad + head.part.bad,
                base.whole.good + base.part.good,
            ),
            false => (head.whole.bad, base.whole.good),
        };
        if base.whole.bad > 0 {
            return Some(Standing::RedBefore);
        }
        let flipped = self.flips.get(id).is_some_and(|seen| seen.flips > 0);
        let suspicious = flipped || !alone;
        let asked = demand.runs + if suspicious { KNOWN_TO_FLIP } else { 0 };
        // A test that is new has only the head to speak for it: 2^-2n is as good as 4^-n.
        let is_new = self.bases().next().is_some() && good == 0;
        let (at_head, at_base) = match is_new && demand.runs > 1 {
            true => (asked * 2, 0),
            false if is_new => (asked, 0),
            false => (asked, asked),
        };
        let (head, base) = (at_head.saturating_sub(bad), at_base.saturating_sub(good));
        Some(match (head, base) {
            (0, 0) => Standing::Real,
            (head, base) => Standing::Open { head, base },
        })
    }

    /// The run that would tell more. Cheap ones first, and none once everything has shown what it is.
    pub fn ask(&self, demand: Demand) -> Ask {
        let whole = |sample: &&TestReport| !sample.partial;
        if self.head.iter().filter(whole).any(|s| s.is_green()) {
            return Ask::Enough;
        }
        let most = MOST_TIMES * (demand.runs + KNOWN_TO_FLIP);
        let impatient = self.out_of_patience(demand) || self.head.len() + self.base.len() >= most;
        match trouble::of_all(self.head) {
            Some(_) if self.head.len() < IN_TROUBLE && !impatient => return Ask::Head(None),
            Some(Trouble::NotStarted | Trouble::NoRoom) => return Ask::Enough,
            _ => {}
        }
        let open = self.open(demand);
        if open.is_empty() && !(self.says_nothing() && self.base.is_empty()) {
            return Ask::Enough;
        }
        let first = demand.runs.min(BEFORE_THE_BASE);
        // What passed alone is most likely flaky, and another run among the others shows it.
        let by_company = self.depend_on_the_rest(open.keys());
        let told = |sample: &&TestReport| !by_company || !sample.partial;
        if self.heads().filter(told).count() < first && !impatient {
            return Ask::Head(self.part(self.head, open.keys()));
        }
        if self.base.is_empty() {
            return Ask::Base(None);
        }
        if impatient {
            return Ask::Enough;
        }
        if self.bases().next().is_none() {
            // Whether it was trouble is worth a second look; what cannot be tested at all stays so.
            let troubled = trouble::of_all(self.base).is_some();
            return match troubled && self.base.len() < IN_TROUBLE {
                true => Ask::Base(None),
                false => Ask::Enough,
            };
        }
        let at_head: Vec<&&str> = open
            .iter()
            .filter(|(_, (head, _))| *head > 0)
            .map(|(id, _)| id)
            .collect();
        if at_head.is_empty() {
            Ask::Base(self.part(self.base, open.keys()))
        } else {
            Ask::Head(self.part(self.head, at_head.into_iter()))
        }
    }

    /// The head fails without naming a test.
    fn says_nothing(&self) -> bool {
        self.heads().all(incomplete)
    }

    fn open(&self, demand: Demand) -> BTreeMap<&'a str, (usize, usize)> {
        let standings = self.standings(demand).into_iter();
        standings
            .filter_map(|(id, standing)| match standing {
                Standing::Open { head, base } => Some((id, (head, base))),
                _ => None,
            })
            .collect()
    }

    /// The tests to ask for alone; the whole suite where a part would not tell.
    fn part<'b>(
        &self,
        before: &[TestReport],
        ids: impl Iterator<Item = &'b &'a str>,
    ) -> Option<BTreeSet<String>>
    where
        'a: 'b,
    {
        let ids: BTreeSet<String> = ids.map(|id| (*id).to_owned()).collect();
        let stands_for_all = ids.contains(WHOLE_SUITE) || ids.is_empty() || self.says_nothing();
        // A part that left out what it was asked for would leave it out again.
        let deaf = |report: &TestReport| {
            let named = outcomes(report);
            report.partial && ids.iter().any(|id| !named.contains_key(&id[..]))
        };
        let unheard = before.iter().any(deaf);
        let otherwise = self.depend_on_the_rest(ids.iter());
        (!stands_for_all && !unheard && !otherwise).then_some(ids)
    }

    fn depend_on_the_rest(&self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> bool {
        let tally = |samples: &[TestReport], id: &str| {
            let named = |s: &&TestReport| outcomes(s).contains_key(id);
            Tally::of(samples.iter().filter(named), id).depends_on_the_rest()
        };
        ids.into_iter()
            .any(|id| tally(self.head, id.as_ref()) || tally(self.base, id.as_ref()))
    }

    /// Seconds that reruns took.
    fn spent(&self) -> f64 {
        let reruns = self.head.iter().skip(1).chain(self.base.iter().skip(1));
        reruns.map(|sample| sample.seconds).sum()
    }

    pub fn out_of_patience(&self, demand: Demand) -> bool {
        self.spent() >= demand.patience
    }
}

/// How often one test was good and bad on one tree: in runs of the whole suite, and alone with those it was asked with.
#[derive(Default)]
struct Tally {
    whole: Count,
    part: Count,
    /// Good and bad within one run.
    within: bool,
    skipped: bool,
}

#[derive(Default)]
struct Count {
    good: usize,
    bad: usize,
}

impl Tally {
    fn of<'a>(reports: impl Iterator<Item = &'a TestReport>, id: &str) -> Tally {
        let mut tally = Tally::default();
        for report in reports {
            let count = match report.partial {
                false => &mut tally.whole,
                true => &mut tally.part,
            };
            match saw(report, id) {
                Saw::Passed => count.good += 1,
                Saw::Bad | Saw::Gone => count.bad += 1,
                Saw::Flaky => tally.within = true,
                Saw::Skipped => tally.skipped = true,
                Saw::Nothing => {}
            }
        }
        tally
    }

    /// What differs between a whole run and a part may be the company, not chance.
    fn flipped(&self) -> bool {
        let both = |count: &Count| count.good > 0 && count.bad > 0;
        self.within || both(&self.whole) || both(&self.part)
    }

    fn depends_on_the_rest(&self) -> bool {
        let (whole, part) = (&self.whole, &self.part);
        whole.bad > 0 && part.good > 0 || whole.good > 0 && part.bad > 0
    }
}

/// Those that did not end in trouble; all of them where every one did.
fn sound(samples: &[TestReport]) -> impl Iterator<Item = &TestReport> {
    let all = trouble::of_all(samples).is_some();
    samples
        .iter()
        .filter(move |sample| all || trouble::of(sample).is_none())
}
