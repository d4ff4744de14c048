//! Tells a run's story from its events: as JSON, on one screen, as a report, in one line.
//!
//! Touches: nothing.
//! Change here: when people or machines shall learn something else about a run. The JSON is documented and
//! stable: fields may be added, never renamed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::event::{
    Action, Candidate, Denial, DiffStat, Event, Gate, Objection, Oid, RunStatus, Sample, Step,
    Trial, Update, Usage, VariantState,
};

pub mod deps;
pub mod evaluation;
mod lines;
mod look;
pub mod plot;
mod report;
mod screen;
mod tale;
pub mod text;
mod words;

pub use lines::{
    AppStatus, ProjectStatus, app_lines, event_line, flake_line, project_line, pull_request_words,
    review_words, run_line,
};
pub use look::Look;
pub use report::{offer, report};
pub use screen::screen;
pub use words::{Words, event_words, sighting_words};

use tale::{Attempt, Tale};

/// A run as `changebus fix --json` and `changebus show RUN --json` print it. Figures that do not exist,
/// such as the score of a run without a tournament, are 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub run: String,
    pub project: String,
    pub change: ChangeStory,
    /// None (`null`) only while the run is open.
    pub status: Option<RunStatus>,
    /// Ids of the tests that fail because of the change; before triage, of all that fail.
    pub failing: Vec<String>,
    pub winner: Option<String>,
    /// 0 to 100, of the winner.
    pub score: f64,
    /// 0 to 1, of the winner.
    pub confidence: f64,
    pub verdict: VerdictStory,
    /// In the order of the configuration.
    pub variants: Vec<VariantStory>,
    pub seconds: Seconds,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeStory {
    pub base: Oid,
    pub head: Oid,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictStory {
    pub action: Action,
    pub reasons: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantStory {
    pub name: String,
    pub strategy: String,
    /// `stopped` where it could not win any more and the whole suite was not run on it; too where the run ended, or stands, before a verdict.
    pub state: VariantState,
    /// Why it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    pub score: f64,
    /// The scorer's marks; `tests`, `diff` and `apply` always, then its own by name.
    pub marks: Map<String, serde_json::Value>,
    /// The gates it breaks, as `name: sentence`.
    pub gates: Vec<String>,
    /// Of its last trial; where the whole suite was not run, of the last tests that were.
    pub tests: TestCounts,
    pub diff: DiffStat,
    /// Unified diff against the head, byte for byte; empty where there is none.
    pub patch: String,
    /// Its own explanation, or why it handed in nothing.
    pub rationale: String,
    pub usage: UsageStory,
    /// What the strategy asked for and was not given.
    #[serde(default)]
    pub denials: Vec<Denial>,
    /// What the strategy took, and its trials.
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCounts {
    pub passed: u32,
    pub failed: u32,
    /// Tests that passed before and are gone or skipped now.
    pub missing: u32,
    pub total: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageStory {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: f64,
}

/// How long each stage lasted, from its first sign to its last. Stages may overlap; `total` is the whole
/// run, delivery included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// The first run of the suite at the head.
    pub test: f64,
    /// From then to the finding, with every rerun it took.
    pub triage: f64,
    /// From the opening of the tournament to the last variant that handed something in, or nothing.
    pub generate: f64,
    /// From the start of the first trial to the end of the last.
    pub validate: f64,
    pub total: f64,
}

impl Story {
    /// The story of one run's events, in order; None where they do not begin with a change.
    pub fn of(events: &[Event]) -> Option<Story> {
        let tale = Tale::of(events)?;
        let verdict = tale.verdict.as_ref();
        Some(Story {
            run: tale.run.to_string(),
            project: tale.project.to_owned(),
            change: ChangeStory {
                base: tale.change.base.clone(),
                head: tale.change.head.clone(),
            },
            status: tale.status,
            failing: tale.failing().into_iter().map(str::to_owned).collect(),
            winner: verdict.and_then(|v| v.winner.clone()),
            score: verdict.and_then(|v| v.score).unwrap_or(0.0),
            confidence: verdict.and_then(|v| v.confidence).unwrap_or(0.0),
            verdict: VerdictStory {
                action: tale.action(),
                reasons: tale.reasons(),
            },
            variants: tale.attempts.iter().map(variant).collect(),
            seconds: tale.seconds(),
        })
    }
}

fn variant(attempt: &Attempt<'_>) -> VariantStory {
    let candidate = attempt.candidate;
    VariantStory {
        name: attempt.name.to_owned(),
        strategy: attempt.strategy.to_owned(),
        state: attempt.state().unwrap_or(VariantState::Stopped),
        stopped: attempt.stopped().map(|why| text::clean(&why)),
        score: attempt.total().unwrap_or(0.0),
        marks: marks(attempt),
        gates: attempt.objections().iter().map(gate_line).collect(),
        tests: attempt
            .trial
            .map(counts)
            .or_else(|| attempt.sample.map(sampled))
            .unwrap_or_default(),
        diff: candidate.map(|c| c.diff).unwrap_or_default(),
        patch: candidate.map(|c| c.patch.clone()).unwrap_or_default(),
        rationale: text::clean(attempt.rationale()),
        usage: usage(attempt.usage),
        denials: attempt.denials.to_vec(),
        seconds: rounded(attempt.seconds(), 1e3),
    }
}

fn marks(attempt: &Attempt<'_>) -> Map<String, serde_json::Value> {
    let known = tale::MARKS.map(|name| (name.to_owned(), 0.0.into()));
    let given = attempt.marks();
    known
        .into_iter()
        .chain(given.map(|(name, mark)| (name.to_owned(), mark.into())))
        .collect()
}

fn gate_line(objection: &Objection) -> String {
    let name = gate_name(objection.gate);
    format!("{name}: {}", text::clean(&objection.because))
}

/// The gate as it stands in JSON.
fn gate_name(gate: Gate) -> &'static str {
    match gate {
        Gate::Fixes => "fixes",
        Gate::KeepsTheRest => "keeps-the-rest",
        Gate::LeavesTheJudgeAlone => "leaves-the-judge-alone",
        Gate::StaysInBounds => "stays-in-bounds",
        Gate::Repeats => "repeats",
        Gate::NotSecurity => "not-security",
    }
}

fn counts(trial: &Trial) -> TestCounts {
    TestCounts {
        passed: trial.passed,
        failed: trial.failed,
        missing: u32::try_from(trial.missing.len()).unwrap_or(u32::MAX),
        total: trial.total,
    }
}

fn sampled(sample: &Sample) -> TestCounts {
    let failed = u32::try_from(sample.bad.len()).unwrap_or(u32::MAX);
    TestCounts {
        passed: sample.asked.saturating_sub(failed),
        failed,
        missing: 0,
        total: sample.asked,
    }
}

fn usage(usage: Usage) -> UsageStory {
    UsageStory {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cost_usd: rounded(usage.cost_usd, 1e6),
    }
}

/// Sums of decimals end in dust; nobody measures below `1 / steps` here.
fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    // A clock that was set back must not make a stage negative.
    rounded(to.duration_since(from).as_secs_f64().max(0.0), 1e3)
}

pub fn state_name(state: VariantState) -> &'static str {
    match state {
        VariantState::Won => "won",
        VariantState::Lost => "lost",
        VariantState::Refused => "refused",
        VariantState::Failed => "failed",
        VariantState::Duplicate => "duplicate",
        VariantState::Stopped => "stopped",
    }
}

/// `chalk 4.1.2 to 5.3.0 in package.json`
pub(crate) fn update_words(update: &Update) -> String {
    let step = |s: &Step| format!("{} {} to {}", s.name, s.from, s.to);
    let steps: Vec<String> = update.steps().map(step).collect();
    let steps = match steps.as_slice() {
        [first, _, _, _, ..] => format!("{first} and {} more", steps.len() - 1),
        few => few.join(", "),
    };
    format!("{steps} in {}", update.manifest)
}

/// As it stands in JSON.
pub fn status_name(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Green => "green",
        RunStatus::Flaky => "flaky",
        RunStatus::RedBefore => "red-before",
        RunStatus::Known => "known",
        RunStatus::InVain => "in vain",
        RunStatus::Fixed => "fixed",
        RunStatus::Updated => "updated",
        RunStatus::Split => "split",
        RunStatus::Human => "human",
        RunStatus::NoFix => "no-fix",
        RunStatus::Error => "error",
    }
}

/// `1 file`, `2 files`
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn diff_words(candidate: &Candidate) -> String {
    let DiffStat {
        files,
        insertions,
        deletions,
    } = candidate.diff;
    let files = count(files as usize, "file");
    format!("{files} +{insertions} -{deletions}")
}

pub fn dollars(amount: f64) -> String {
    match amount {
        0.0 => "$0".to_owned(),
        some if some < 1.0 => format!("${some:.4}"),
        much => format!("${much:.2}"),
    }
}

pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests;
