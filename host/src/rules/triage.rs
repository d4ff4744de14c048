//! Tells a failure of the change from a flaky test, from one that was red before, and from trouble with the machine.
//!
//! Touches: nothing.
//! Change here: when triage should come to another finding. What a test's runs are worth is in `rules/evidence.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Demand, Evidence, Standing, is_mute, outcomes};
use super::known;
use super::trouble::{self, Trouble};
use crate::event::{Finding, Outcome, TestReport, Triage};

/// What was found, from everything that was run. None where the head was not tested.
pub fn triage(evidence: &Evidence<'_>, demand: Demand) -> Option<Triage> {
    let head = evidence.head.first()?;
    let standings = match head.is_green() {
        true => BTreeMap::new(),
        false => evidence.standings(demand),
    };
    let of = |wanted: fn(&Standing) -> bool| -> BTreeSet<String> {
        let found = standings.iter().filter(|(_, standing)| wanted(standing));
        found.map(|(id, _)| (*id).to_owned()).collect()
    };
    let weighed = Weighed {
        failing: of(|s| *s == Standing::Real),
        flaky: of(|s| matches!(s, Standing::Flaky | Standing::Wavering)),
        wavering: of(|s| *s == Standing::Wavering),
        red_before: of(|s| *s == Standing::RedBefore),
        open: of(|s| matches!(s, Standing::Open { .. })),
        trouble: in_trouble(evidence),
        mute: mute(evidence),
        impatient: evidence.out_of_patience(demand),
        head,
        evidence,
    };
    let finding = weighed.finding();
    let because = weighed.sentence(finding);
    let failing = match finding {
        // Nothing of what a machine in trouble said counts against the change.
        Finding::Infrastructure => BTreeSet::new(),
        // Whoever has to say it wants to know of what.
        Finding::CannotTell => weighed.open.union(&weighed.wavering).cloned().collect(),
        _ => weighed.failing.clone(),
    };
    let mut triage = Triage {
        finding,
        to_keep: kept(evidence, &weighed.flaky),
        failing,
        flaky: weighed.flaky,
        red_before: weighed.red_before,
        because,
        prints: BTreeMap::new(),
        known: None,
        class: None,
        language: None,
    };
    triage.prints = known::prints(&triage, evidence.head().unwrap_or(head));
    Some(triage)
}

/// Trouble that is not the change's: it is there at the base too, or can be nobody's but the machine's.
fn in_trouble(evidence: &Evidence<'_>) -> Option<Trouble> {
    let at_head = trouble::of_all(evidence.head)?;
    if matches!(at_head, Trouble::NotStarted | Trouble::NoRoom) {
        return Some(at_head);
    }
    trouble::of_all(evidence.base).filter(|_| !evidence.base.is_empty())
}

/// Why the base says nothing, if it does not.
fn mute<'a>(evidence: &Evidence<'a>) -> Option<&'a str> {
    let last = evidence.base.last()?;
    let all = evidence.base.iter().all(is_mute);
    last.problem.as_deref().filter(|_| all)
}

fn kept(evidence: &Evidence<'_>, flaky: &BTreeSet<String>) -> BTreeSet<String> {
    let whole = evidence.heads().filter(|report| !report.partial);
    let whole: Vec<_> = whole.map(outcomes).collect();
    let always = |id: &str| {
        whole
            .iter()
            .all(|run| run.get(id) == Some(&Outcome::Passed))
    };
    whole
        .first()
        .into_iter()
        .flatten()
        .map(|(id, _)| *id)
        .filter(|id| always(id) && !flaky.contains(*id))
        .map(str::to_owned)
        .collect()
}

/// The tests by what they turned out to be, and what else bears on the finding.
struct Weighed<'a> {
    failing: BTreeSet<String>,
    flaky: BTreeSet<String>,
    wavering: BTreeSet<String>,
    red_before: BTreeSet<String>,
    open: BTreeSet<String>,
    trouble: Option<Trouble>,
    mute: Option<&'a str>,
    impatient: bool,
    head: &'a TestReport,
    evidence: &'a Evidence<'a>,
}

impl Weighed<'_> {
    fn finding(&self) -> Finding {
        let passed_again = || self.evidence.head.iter().any(|s| s.is_green());
        match () {
            () if self.head.is_green() => Finding::Green,
            () if self.trouble.is_some() => Finding::Infrastructure,
            () if self.mute.is_some() => Finding::CannotTell,
            () if !self.failing.is_empty() => Finding::Real,
            () if !self.open.is_empty() || !self.wavering.is_empty() => Finding::CannotTell,
            () if !self.red_before.is_empty() => Finding::RedBefore,
            () if !self.flaky.is_empty() || passed_again() => Finding::Flaky,
            () => Finding::CannotTell,
        }
    }

    fn sentence(&self, finding: Finding) -> String {
        match finding {
            Finding::Green => "all tests pass".into(),
            Finding::Flaky => format!(
                "what failed passed when it was run again ({}); the change is not to blame",
                count(self.flaky.len())
            ),
            Finding::RedBefore => format!(
                "{} fail at the base commit too; the change is not to blame",
                count(self.red_before.len())
            ),
            Finding::Real | Finding::Known => self.real(),
            Finding::Infrastructure => {
                let advice = self.trouble.map_or("", Trouble::advice);
                format!("the machine is in trouble, and the change is not to blame: {advice}")
            }
            Finding::CannotTell => self.unclear(),
        }
    }

    fn real(&self) -> String {
        let apart = [
            (self.flaky.len(), "flaky"),
            (self.red_before.len(), "red before"),
            (self.open.len(), "not clear yet"),
        ];
        let apart: Vec<_> = apart
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        let aside = match apart.is_empty() {
            true => String::new(),
            false => format!(" ({} aside)", apart.join(", ")),
        };
        let (head, base) = (self.evidence.head.len(), self.evidence.base.len());
        format!(
            "{} failed every time and passed before the change, in {} at the head and {} at the base{aside}",
            count(self.failing.len()),
            runs(head),
            base
        )
    }

    fn unclear(&self) -> String {
        if let Some(why) = self.mute {
            return format!("the tests cannot be judged: {why}");
        }
        if !self.wavering.is_empty() {
            return format!(
                "{} failed every time, but fails by chance at the base commit too: whether the change broke it, a \
                 person has to say",
                count(self.wavering.len())
            );
        }
        if !self.open.is_empty() {
            let spent = match self.impatient {
                true => " in the time that policy.rerun_seconds gives",
                false => "",
            };
            return format!(
                "{} failed in {} at the head, which{spent} is too little to tell broken from flaky: allow more time, or \
                 lower policy.reruns",
                count(self.open.len()),
                runs(self.evidence.head.len())
            );
        }
        let why = self.head.problem.as_deref();
        let why = why.unwrap_or("the command fails, and no test says why");
        format!("the tests cannot be judged: {why}")
    }
}

fn count(tests: usize) -> String {
    match tests {
        1 => "1 test".into(),
        tests => format!("{tests} tests"),
    }
}

fn runs(runs: usize) -> String {
    match runs {
        1 => "1 run".into(),
        runs => format!("{runs} runs"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
