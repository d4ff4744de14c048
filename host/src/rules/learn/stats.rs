//! What runs came to, added up: how much was mended without people, which variants win, what survives, what it costs.
//!
//! Touches: nothing.
//! Change here: when another figure is wanted. How sure a figure is says `estimate.rs`; where the rows come from,
//! `outside/store/results.rs`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::estimate::{self, Belief, Bin, Kept, Share};
use crate::event::{Attempt, Calibration, FailureClass, FixFate, How, Kind, RunId, RunResult};

/// A count among others, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    pub count: usize,
    pub of: usize,
    pub share: Option<f64>,
    /// With 95 %.
    pub low: Option<f64>,
    pub high: Option<f64>,
}

impl Counted {
    pub fn of(count: usize, of: usize) -> Counted {
        let share = estimate::wilson(count as f64, of as f64);
        Counted {
            count,
            of,
            share: share.map(|s| s.estimate),
            low: share.map(|s| s.low),
            high: share.map(|s| s.high),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Real failures.
    pub failures: usize,
    /// Mended and merged without anybody being asked.
    pub auto_resolved: Counted,
    pub escalated: Counted,
    /// Of the red runs, those that only flaked.
    pub flaky: Counted,
    /// Of the merges nobody was asked about.
    pub reverted: Counted,
    pub survived: Counted,
    pub cost_usd: f64,
    /// None before one has survived.
    pub cost_per_surviving_fix: Option<f64>,
    /// Half of what was delivered took no longer.
    pub median_seconds: Option<f64>,
    /// By its share of the wins.
    pub variants: Vec<Standing>,
    pub strategies: Vec<Standing>,
    /// Strategies by what decides their prompts: the plugin's bytes and its configuration.
    pub editions: Vec<Standing>,
    pub models: Vec<Standing>,
    pub classes: Vec<Standing>,
    pub languages: Vec<Standing>,
    pub projects: Vec<Standing>,
    pub confidence: Promises,
}

/// One of several, and how it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    pub name: String,
    /// Candidates handed in, of tournaments entered.
    pub proposed: Counted,
    /// Came through the trial, of those handed in.
    pub clean: Counted,
    /// Of the tournaments that somebody won.
    pub won: Counted,
    pub survived: usize,
    pub reverted: usize,
    /// Fixes of which it is known whether they lasted.
    pub aged: usize,
    /// What is believed of how many of its fixes last, with 95 %: what is known of all counts where little is known of it.
    pub lasting: f64,
    pub lasting_low: f64,
    pub lasting_high: f64,
    /// Too few to tell others.
    pub too_few: bool,
    pub cost_usd: f64,
    pub cost_per_surviving_fix: Option<f64>,
}

/// Whether confidence was worth something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Promises {
    pub aged: usize,
    pub brier: Option<f64>,
    pub calibration_error: Option<f64>,
    pub bins: Vec<(f64, f64, usize)>,
}

/// Of these rows, seen from this moment.
pub fn of(results: &[RunResult], attempts: &[Attempt], now: Timestamp) -> Stats {
    let by_run: BTreeMap<&RunId, &RunResult> = results.iter().map(|r| (&r.run, r)).collect();
    let real: Vec<&RunResult> = results.iter().filter(|r| r.kind == Kind::Real).collect();
    let count = |is: &dyn Fn(&&&RunResult) -> bool| real.iter().filter(is).count();
    let merged = count(&|r| r.how == How::Merged);
    let of_merged = |fate: FixFate| count(&|r| r.how == How::Merged && r.fate == Some(fate));
    let flaky = results.len() - real.len();
    let (survived, reverted) = (of_merged(FixFate::Survived), of_merged(FixFate::Reverted));
    let lasting = count(&|r| r.fate == Some(FixFate::Survived));
    let cost_usd: f64 = attempts.iter().map(|a| a.cost_usd).sum();
    let rows = Rows {
        by_run: &by_run,
        attempts,
        now,
        whole: belief(real.iter().copied(), now, Belief::NONE),
    };
    Stats {
        failures: real.len(),
        auto_resolved: Counted::of(merged, real.len()),
        escalated: Counted::of(count(&|r| r.how == How::Escalated), real.len()),
        flaky: Counted::of(flaky, results.len()),
        reverted: Counted::of(reverted, survived + reverted),
        survived: Counted::of(survived, survived + reverted),
        cost_usd,
        cost_per_surviving_fix: (lasting > 0).then(|| cost_usd / lasting as f64),
        median_seconds: median(real.iter().filter_map(|r| r.seconds).collect()),
        variants: rows.by(|a, _| Some(a.variant.clone())),
        strategies: rows.by(|a, _| Some(a.strategy.clone())),
        editions: rows.by(|a, _| Some(format!("{} {}", a.strategy, a.edition))),
        models: rows.by(|a, _| a.model.clone()),
        classes: rows.by(|_, r| Some(r.class.name().to_owned())),
        languages: rows.by(|_, r| Some(r.language.clone()).filter(|l| !l.is_empty())),
        projects: rows.by(|_, r| Some(r.project.clone())),
        confidence: promises(&kept(results)),
    }
}

struct Rows<'a> {
    by_run: &'a BTreeMap<&'a RunId, &'a RunResult>,
    attempts: &'a [Attempt],
    now: Timestamp,
    whole: Belief,
}

impl Rows<'_> {
    fn by(&self, name: impl Fn(&Attempt, &RunResult) -> Option<String>) -> Vec<Standing> {
        let mut groups: BTreeMap<String, Vec<(&Attempt, &RunResult)>> = BTreeMap::new();
        for attempt in self.attempts {
            let Some(result) = self.by_run.get(&attempt.run) else {
                continue;
            };
            if let Some(name) = name(attempt, result) {
                groups.entry(name).or_default().push((attempt, result));
            }
        }
        let mut standings: Vec<Standing> = groups
            .into_iter()
            .map(|(name, rows)| self.standing(name, &rows))
            .collect();
        standings.sort_by(|a, b| {
            let share = |s: &Standing| s.won.share.unwrap_or(0.0);
            share(b).total_cmp(&share(a)).then(a.name.cmp(&b.name))
        });
        standings
    }

    fn standing(&self, name: String, rows: &[(&Attempt, &RunResult)]) -> Standing {
        let count = |is: &dyn Fn(&&(&Attempt, &RunResult)) -> bool| rows.iter().filter(is).count();
        let proposed = count(&|(a, _)| a.proposed);
        let decided = count(&|(_, r)| r.winner.is_some());
        let won = || rows.iter().filter(|(a, _)| a.won).map(|(_, r)| *r);
        let fate = |fate| won().filter(|r| r.fate == Some(fate)).count();
        let (survived, reverted) = (fate(FixFate::Survived), fate(FixFate::Reverted));
        let aged = won().filter(|r| worth(r).is_some()).count();
        let lasting = belief(won(), self.now, self.whole.of_a_part()).share();
        let cost_usd: f64 = rows.iter().map(|(a, _)| a.cost_usd).sum();
        Standing {
            name,
            proposed: Counted::of(proposed, rows.len()),
            clean: Counted::of(count(&|(a, _)| a.clean), proposed),
            won: Counted::of(count(&|(a, _)| a.won), decided),
            survived,
            reverted,
            aged,
            lasting: lasting.estimate,
            lasting_low: lasting.low,
            lasting_high: lasting.high,
            too_few: (aged as f64) < estimate::ENOUGH,
            cost_usd,
            cost_per_surviving_fix: (survived > 0).then(|| cost_usd / survived as f64),
        }
    }
}

fn worth(result: &RunResult) -> Option<f64> {
    result.fate.and_then(FixFate::worth)
}

fn belief<'a>(
    results: impl Iterator<Item = &'a RunResult>,
    now: Timestamp,
    start: Belief,
) -> Belief {
    let mut belief = start;
    for result in results {
        if let Some(worth) = worth(result) {
            belief.learn(worth, estimate::weight(days_between(result.at, now)));
        }
    }
    belief
}

fn days_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() / 86_400.0
}

/// What was promised of the winners, and what came of them.
pub fn kept(results: &[RunResult]) -> Vec<Kept> {
    held_against(results, |result| result.confidence)
}

/// What evidence has come to mean, by what came of the winners it spoke for; None where too little is known.
pub fn calibration(results: &[RunResult]) -> Option<Calibration> {
    Calibration::fit(&held_against(results, |result| result.evidence))
}

fn held_against(results: &[RunResult], promised: impl Fn(&RunResult) -> Option<f64>) -> Vec<Kept> {
    let one = |result: &RunResult| {
        Some(Kept {
            promised: promised(result)?,
            came: worth(result)?,
        })
    };
    results.iter().filter_map(one).collect()
}

pub fn promises(all: &[Kept]) -> Promises {
    let bin = |bin: Bin| (bin.promised, bin.came, bin.count);
    Promises {
        aged: all.len(),
        brier: estimate::brier(all),
        calibration_error: estimate::calibration_error(all),
        bins: estimate::reliability(all).into_iter().map(bin).collect(),
    }
}

pub fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// What a strategy's fixes come to where little is known: how many last, of its own on this kind of failure in this
/// project, starting from its own on this kind anywhere, its own on any, and everybody's.
pub fn lasting(
    results: &[RunResult],
    attempts: &[Attempt],
    strategy: &str,
    class: FailureClass,
    project: &str,
    now: Timestamp,
) -> Share {
    let own: Vec<&RunResult> = won_by(results, attempts, Some(strategy)).collect();
    let of_class = || own.iter().copied().filter(|r| r.class == class);
    let everybody = belief(results.iter(), now, Belief::NONE);
    let anywhere = belief(own.iter().copied(), now, everybody.of_a_part());
    let on_class = belief(of_class(), now, anywhere.of_a_part());
    let here = of_class().filter(|r| r.project == project);
    belief(here, now, on_class.of_a_part()).share()
}

/// The fixes of one strategy that are old enough to say something.
pub fn aged(results: &[RunResult], attempts: &[Attempt], strategy: &str) -> usize {
    won_by(results, attempts, Some(strategy))
        .filter(|result| worth(result).is_some())
        .count()
}

/// What won, by this strategy or by any.
fn won_by<'a>(
    results: &'a [RunResult],
    attempts: &'a [Attempt],
    strategy: Option<&'a str>,
) -> impl Iterator<Item = &'a RunResult> {
    let by_run: BTreeMap<&RunId, &RunResult> = results.iter().map(|r| (&r.run, r)).collect();
    attempts
        .iter()
        .filter(move |a| a.won && strategy.is_none_or(|strategy| a.strategy == strategy))
        .filter_map(move |a| by_run.get(&a.run).copied())
}

/// What became of fixes for failures of this class: `class/NAME/METRIC` in this project, `class-anywhere/NAME/METRIC` in
/// all, and `strategy-on-class/STRATEGY/NAME/METRIC` in this project, with `aged`, `survived` and `reverted`. What fewer
/// than ten stand behind is left out: nobody should go by it.
pub fn on_class(
    results: &[RunResult],
    attempts: &[Attempt],
    class: FailureClass,
    project: &str,
) -> BTreeMap<String, f64> {
    let of_class = |r: &&RunResult| r.class == class;
    let here = |r: &&RunResult| r.class == class && r.project == project;
    let name = class.name();
    let mut figures = BTreeMap::new();
    let all = |strategy| won_by(results, attempts, strategy);
    tell(
        &mut figures,
        &format!("class/{name}"),
        all(None).filter(here),
    );
    tell(
        &mut figures,
        &format!("class-anywhere/{name}"),
        all(None).filter(of_class),
    );
    let strategies: BTreeSet<&str> = attempts.iter().map(|a| a.strategy.as_str()).collect();
    for strategy in strategies {
        let scope = format!("strategy-on-class/{strategy}/{name}");
        tell(&mut figures, &scope, all(Some(strategy)).filter(here));
    }
    figures
}

fn tell<'a>(
    figures: &mut BTreeMap<String, f64>,
    scope: &str,
    fixes: impl Iterator<Item = &'a RunResult>,
) {
    let aged: Vec<&RunResult> = fixes.filter(|r| worth(r).is_some()).collect();
    if (aged.len() as f64) < estimate::ENOUGH {
        return;
    }
    let fate = |fate| aged.iter().filter(|r| r.fate == Some(fate)).count() as f64;
    let metrics = [
        ("aged", aged.len() as f64),
        ("survived", fate(FixFate::Survived)),
        ("reverted", fate(FixFate::Reverted)),
    ];
    figures.extend(metrics.map(|(metric, value)| (format!("{scope}/{metric}"), value)));
}

/// The sentence that everything comes to.
pub fn sentence(stats: &Stats) -> String {
    if stats.failures == 0 {
        return "No failure so far was real.".to_owned();
    }
    let percent = |c: &Counted| format!("{:.0} %", c.share.unwrap_or(0.0) * 100.0);
    let mut said = format!(
        "Auto-resolved {} of {} {} ({} to {})",
        percent(&stats.auto_resolved),
        stats.failures,
        if stats.failures == 1 {
            "failure"
        } else {
            "failures"
        },
        bound(stats.auto_resolved.low),
        bound(stats.auto_resolved.high),
    );
    if let Some(first) = stats.variants.first().filter(|v| v.won.count > 0) {
        said += &format!(
            ", variant {} wins {} of {}",
            first.name,
            percent(&first.won),
            first.won.of
        );
    }
    said += &match stats.reverted.of {
        0 => ", no auto-merge is old enough to say whether it lasts".to_owned(),
        of => format!(
            ", reverted {} of {of} auto-merges ({} to {})",
            percent(&stats.reverted),
            bound(stats.reverted.low),
            bound(stats.reverted.high)
        ),
    };
    said + "."
}

fn bound(share: Option<f64>) -> String {
    format!("{:.0} %", share.unwrap_or(0.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(n: usize, how: How, fate: Option<FixFate>) -> RunResult {
        RunResult {
            run: RunId(format!("app-{n}")),
            project: "app".into(),
            at: "2026-11-01T00:00:00Z".parse().expect("a time"),
            kind: Kind::Real,
            class: FailureClass::Assertion,
            language: "python".into(),
            winner: Some("A".into()),
            confidence: Some(0.8),
            evidence: Some(0.8),
            how,
            seconds: Some(60.0),
            fate,
        }
    }

    fn attempt(n: usize, variant: &str, won: bool) -> Attempt {
        Attempt {
            run: RunId(format!("app-{n}")),
            variant: variant.into(),
            strategy: format!("strategy-{variant}"),
            digest: String::new(),
            edition: String::new(),
            model: None,
            proposed: true,
            clean: won,
            won,
            cost_usd: 0.5,
        }
    }

    #[test]
    fn the_published_sentence_comes_out_with_counts_and_intervals() {
        let now = "2026-11-27T00:00:00Z".parse().expect("a time");
        let fates = [Some(FixFate::Survived), Some(FixFate::Reverted), None];
        let mut results: Vec<RunResult> =
            (0..3).map(|n| result(n, How::Merged, fates[n])).collect();
        results.push(result(3, How::Escalated, None));
        let attempts: Vec<Attempt> = (0..4)
            .flat_map(|n| [attempt(n, "A", n != 2), attempt(n, "B", n == 2)])
            .collect();
        let stats = of(&results, &attempts, now);
        assert_eq!(
            sentence(&stats),
            "Auto-resolved 75 % of 4 failures (30 % to 95 %), variant A wins 75 % of 4, reverted 50 % of 2 auto-merges \
             (9 % to 91 %)."
        );
        assert_eq!(stats.cost_per_surviving_fix, Some(4.0));
        assert_eq!(stats.confidence.aged, 2);
        let a = &stats.variants[0];
        assert!(a.too_few && (a.survived, a.reverted, a.aged) == (1, 1, 2));
        assert_eq!(sentence(&of(&[], &[], now)), "No failure so far was real.");
    }

    #[test]
    fn what_worked_on_a_class_is_told_from_ten_outcomes_on() {
        let of_class = |n: usize| -> BTreeMap<String, f64> {
            let mut results: Vec<RunResult> = (0..n)
                .map(|n| {
                    result(
                        n,
                        How::Merged,
                        Some([FixFate::Survived, FixFate::Reverted][n % 2]),
                    )
                })
                .collect();
            results.extend((0..9).map(|m| RunResult {
                project: "other".into(),
                ..result(100 + m, How::Approved, Some(FixFate::Survived))
            }));
            let attempts: Vec<Attempt> = results
                .iter()
                .enumerate()
                .map(|(n, r)| Attempt {
                    run: r.run.clone(),
                    ..attempt(n, "A", true)
                })
                .collect();
            on_class(&results, &attempts, FailureClass::Assertion, "app")
        };
        let few = of_class(9);
        assert_eq!(
            few.keys()
                .filter(|key| !key.starts_with("class-anywhere/"))
                .count(),
            0
        );
        assert_eq!(few["class-anywhere/assertion/aged"], 18.0);
        let enough = of_class(10);
        assert_eq!(enough["class/assertion/aged"], 10.0);
        assert_eq!(enough["class/assertion/reverted"], 5.0);
        assert_eq!(
            enough["strategy-on-class/strategy-A/assertion/survived"],
            5.0
        );
    }
}
