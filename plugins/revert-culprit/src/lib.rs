//! Finds the smallest set of a push's hunks whose reversal makes the failing tests pass; asks no model.
//!
//! Touches: nothing.
//! Change here: when the search should begin elsewhere, or its result be told otherwise.

mod changes;
mod minimise;

use std::collections::BTreeSet;

use changebus_sdk::edits::one_by_one;
use changebus_sdk::frames::{Resolver, places};
use changebus_sdk::untrusted::one_line;
use changebus_sdk::{
    Config, Failure, Fault, FaultKind, Host, Level, Outcome, Proposal, Report, Strategy, Tree,
    export_strategy,
};
use serde::Deserialize;

use changes::Push;
use minimise::{Found, Oracle, Stop, minimise};

#[derive(Debug, Default, Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Questions asked of the tests at most, within what the host grants.
    max_probes: Option<u64>,
}

#[derive(Default)]
pub struct RevertCulprit;

export_strategy!(RevertCulprit, asks = [probe, workspace], config = Settings);

impl Strategy for RevertCulprit {
    fn run(
        &self,
        failure: &impl Failure,
        tree: &impl Tree,
        host: &impl Host,
    ) -> Result<Outcome, String> {
        let config: Settings = host.config()?;
        if failure.attribute("update").is_some() {
            let why = "nobody pushed it: an update is taken back by not merging it";
            return Ok(Outcome::decline(why));
        }
        let push = Push::read(failure, tree);
        if push.units.is_empty() {
            return Ok(Outcome::decline(
                "the push changes nothing that may be taken back",
            ));
        }
        let mut probes = Probes {
            host,
            push: &push,
            most: config.max_probes.unwrap_or(u64::MAX),
            asked: 0,
        };
        let start = match probes.start() {
            Ok(start) => start,
            Err(why) => return Ok(Outcome::Decline(why)),
        };
        let suspects = push.touching(&suspect_paths(failure, tree));
        let mut oracle = Oracle::new(&start, |units: &BTreeSet<usize>| probes.good(units));
        let found = search(start, &suspects, &mut oracle);
        let asked = probes.asked;
        let count = found.subset.len();
        let of = push.units.len();
        host.log(
            Level::Info,
            &format!("{count} of {of} changes are to blame after {asked} probes"),
            &[],
        );
        Ok(Outcome::Propose(proposal(failure, &push, &found, asked)))
    }
}

/// The files that the failing tests' traces name: the likeliest culprits, so they are asked about first.
fn suspect_paths(failure: &impl Failure, tree: &impl Tree) -> BTreeSet<String> {
    let mut resolver = Resolver::new(tree);
    let tests = failure.failing_tests();
    let details = tests
        .iter()
        .take(20)
        .filter_map(|test| failure.detail(test, 8 << 10));
    let named: Vec<_> = details.flat_map(|detail| places(&detail)).collect();
    one_by_one(
        named
            .iter()
            .filter_map(|place| resolver.resolve(&place.path)),
    )
}

/// The suspects alone first, then whatever they left.
fn search<F>(start: BTreeSet<usize>, suspects: &BTreeSet<usize>, oracle: &mut Oracle<F>) -> Found
where
    F: FnMut(&BTreeSet<usize>) -> Result<bool, Stop>,
{
    let likely: BTreeSet<usize> = one_by_one(start.intersection(suspects).copied());
    let from = match oracle.holds(&likely) {
        Ok(true) => likely,
        Ok(false) => start,
        Err(stop) => {
            return Found {
                subset: start,
                stopped: Some(stop),
            };
        }
    };
    minimise(from.into_iter().collect(), oracle)
}

/// Asks the tests about a tree with some of the push taken back.
struct Probes<'a, H: Host> {
    host: &'a H,
    push: &'a Push,
    most: u64,
    asked: u64,
}

impl<H: Host> Probes<'_, H> {
    /// A set of units that is known to be good: all of them, or one file's where all together break other tests.
    fn start(&mut self) -> Result<BTreeSet<usize>, String> {
        let all = self.push.all();
        let report = self
            .probe(&all)
            .map_err(|fault| format!("the tests could not be asked: {fault}"))?;
        if report.is_good() {
            return Ok(all);
        }
        if !report.fixed {
            let tests = named(&report.still_failing);
            return Err(format!(
                "taking back the whole push (but for tests and protected files) does not help: {tests} still fails"
            ));
        }
        let files = self
            .push
            .by_file(&all)
            .into_iter()
            .filter(|file| *file != all);
        let good = files.map(|file| self.good(&file).map(|good| good.then_some(file)));
        let one_file = good.take_while(Result::is_ok).flatten().flatten().next();
        one_file.ok_or_else(|| {
            let tests = named(&report.broken);
            format!("taking back the whole push mends the failing tests but breaks {tests}, and so far no single file's changes are to blame alone")
        })
    }

    /// A tree on which the tests cannot run is not a good one.
    fn good(&mut self, units: &BTreeSet<usize>) -> Result<bool, Stop> {
        match self.probe(units) {
            Ok(report) => Ok(report.is_good()),
            Err(fault) if ends_the_search(&fault) => Err(Stop(fault.message)),
            Err(_) => Ok(false),
        }
    }

    fn probe(&mut self, units: &BTreeSet<usize>) -> Result<Report, Fault> {
        if self.asked >= self.most {
            return Err(Fault::new(
                FaultKind::Budget,
                "probe.spent",
                "max_probes is used up",
            ));
        }
        let report = self.host.probe(&self.push.without(units))?;
        self.asked += 1;
        Ok(report)
    }
}

fn ends_the_search(fault: &Fault) -> bool {
    use FaultKind::{Budget, Cancelled, Denied, Unavailable};
    matches!(fault.kind, Budget | Cancelled | Denied | Unavailable) || fault.code == "probe.spent"
}

fn named(tests: &[String]) -> String {
    match tests {
        [] => "a test".to_owned(),
        [one] => format!("`{}`", one_line(one, 120)),
        [one, more @ ..] => format!("`{}` (and {} more)", one_line(one, 120), more.len()),
    }
}

fn proposal(failure: &impl Failure, push: &Push, found: &Found, asked: u64) -> Proposal {
    let share = push.lines(&found.subset) as f64 / push.lines(&push.all()).max(1) as f64;
    Proposal {
        patch: push.without(&found.subset),
        rationale: rationale(failure, push, found, share, asked),
        confidence: confidence(share, found.stopped.is_none()),
        notes: vec![
            ("reverted-share".to_owned(), format!("{share:.2}")),
            (
                "reverted-changes".to_owned(),
                found.subset.len().to_string(),
            ),
            (
                "one-minimal".to_owned(),
                found.stopped.is_none().to_string(),
            ),
            ("probes".to_owned(), asked.to_string()),
        ],
    }
}

/// Taking back little is likely right; taking back most of a push takes its purpose with it.
fn confidence(share: f64, proven: bool) -> f32 {
    let confidence = if share > 0.5 { 0.3 } else { 0.8 - 0.6 * share };
    let confidence = if proven {
        confidence
    } else {
        confidence * 0.75
    };
    (confidence * 100.0).round() as f32 / 100.0
}

fn rationale(failure: &impl Failure, push: &Push, found: &Found, share: f64, asked: u64) -> String {
    let percent = (share * 100.0).round();
    let (count, of) = (found.subset.len(), push.units.len());
    let mut text = format!(
        "Taking back {count} of the push's {of} changes ({percent}% of its changed lines) makes the failing tests pass and breaks nothing:\n"
    );
    for &unit in found.subset.iter().take(20) {
        text.push_str(&format!("- {}\n", one_line(&push.units[unit].label, 300)));
    }
    if count > 20 {
        text.push_str(&format!("- and {} more\n", count - 20));
    }
    match &found.stopped {
        None => text.push_str(&format!("None of them can be left out ({asked} probes).\n")),
        Some(Stop(why)) => text.push_str(&format!(
            "Fewer might do: the search ended after {asked} probes ({}).\n",
            one_line(why, 200)
        )),
    }
    let commits: Vec<String> = failure
        .commits(10)
        .iter()
        .map(|c| commit(&c.id, &c.message))
        .collect();
    if !commits.is_empty() {
        text.push_str(&format!("The push: {}.\n", commits.join("; ")));
    }
    if share > 0.5 {
        text.push_str("This takes back most of the push; its purpose goes with it.\n");
    }
    if !push.left_alone.is_empty() {
        let paths: Vec<String> = push
            .left_alone
            .iter()
            .take(5)
            .map(|(path, why)| format!("`{}` ({})", one_line(path, 120), one_line(why, 80)))
            .collect();
        text.push_str(&format!("Left as they are: {}.\n", paths.join(", ")));
    }
    text
}

fn commit(id: &str, message: &str) -> String {
    let short: String = id.chars().take(10).collect();
    format!(
        "{short} \"{}\"",
        one_line(message.lines().next().unwrap_or_default(), 80)
    )
}

#[cfg(test)]
mod tests;
