//! Variants, what they asked for, what they handed in, and how they stood.
//!
//! Touches: nothing.
//! Change here: when an entry, a candidate, a trial or a score can carry something new.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Exit, Holding, Learned, Oid, ReportSource, RunId, TestFailure};

/// Who enters, with what; fixed when the tournament opens, so that a replay meets the same field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Opening {
    pub entries: Vec<Entry>,
    /// Failing tests the strategies are not shown; they count in the trial all the same.
    pub held_out: BTreeSet<String>,
    /// Scorer and escalation plugin that will judge: name and digest.
    pub scorer: PluginRef,
    pub escalation: PluginRef,
    /// History figures a strategy may read: `scope/key/metric` to value, as of now.
    pub history: BTreeMap<String, f64>,
    /// What earlier runs teach about this failure, as of now.
    #[serde(default, skip_serializing_if = "Learned::is_empty")]
    pub learned: Learned,
    /// The failing tests can be run by themselves, so trials go in stages.
    #[serde(default)]
    pub selectable: bool,
    /// What broke the branch is what a run delivered: nobody but the variant that takes it back enters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_back: Option<TakesBack>,
    /// How the dependency that broke it would stay where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<Holding>,
    /// What the packages that move bring, as far as they tell themselves: for strategies and people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brings: Option<String>,
}

impl Opening {
    /// Whether this variant is for the case that nobody else's candidate stands.
    pub fn is_last_resort(&self, variant: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.name == variant && entry.last_resort)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TakesBack {
    pub run: RunId,
    /// Tests that it had mended. They may fail again.
    pub mended: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// The variant's name in the configuration.
    pub name: String,
    pub strategy: PluginRef,
    pub config: serde_json::Value,
    /// It wins only where no other does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_resort: bool,
}

impl Entry {
    /// Names plugin and configuration together, which decide every prompt: eight hex digits for each.
    pub fn edition(&self) -> String {
        let mut config = self.config.clone();
        config.sort_all_objects();
        let config = Sha256::digest(config.to_string());
        let config: String = config.iter().take(4).map(|b| format!("{b:02x}")).collect();
        let plugin: String = self.strategy.digest.chars().take(8).collect();
        format!("{plugin}-{config}")
    }
}

/// A plugin pinned to the bytes that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginRef {
    pub name: String,
    /// SHA-256 of the component, hex; empty where the plugin is missing.
    pub digest: String,
}

/// A request for a completion as a strategy made it, before the client shapes it for the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelRequest {
    /// None: the model of the configuration.
    pub model: Option<String>,
    pub max_output_tokens: u32,
    pub system: Vec<SystemBlock>,
    pub messages: Vec<ModelMessage>,
    /// `low` to `max`; dropped for models without it.
    pub effort: Option<String>,
    /// Sent only to models that take it.
    pub temperature: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemBlock {
    pub text: String,
    /// The same block goes out for other variants too, so it is worth caching.
    pub shared: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelMessage {
    pub role: ModelRole,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelRole {
    User,
    Assistant,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelAnswer {
    pub text: String,
    pub model: String,
    pub stop_reason: String,
    pub usage: Usage,
    /// The provider's id of the request, for support.
    pub request_id: Option<String>,
    /// What was changed about the request before it went out, such as a dropped temperature.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Tokens and money; sums with `+=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// All input, cached or not.
    pub input_tokens: u64,
    pub output_tokens: u64,
    #[serde(default)]
    pub cache_read_tokens: u64,
    #[serde(default)]
    pub cache_write_tokens: u64,
    pub cost_usd: f64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.cost_usd += other.cost_usd;
    }
}

/// Why a guest did not get what it asked for. Mirrors `changebus:types/errors.fault`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Fault {
    pub kind: FaultKind,
    /// Open and dotted, such as `llm.refused`.
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// What was spent all the same, such as on a truncated answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<FaultUsage>,
}

/// `Usage` in whole micro-dollars, so that a fault can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultUsage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub usd_micros: u64,
}

impl From<FaultUsage> for Usage {
    fn from(spent: FaultUsage) -> Usage {
        Usage {
            input_tokens: spent.input_tokens,
            output_tokens: spent.output_tokens,
            cost_usd: spent.usd_micros as f64 / 1e6,
            ..Usage::default()
        }
    }
}

impl Fault {
    pub fn new(kind: FaultKind, code: &str, message: impl Into<String>) -> Fault {
        Fault {
            kind,
            code: code.to_owned(),
            message: message.into(),
            retry_after_ms: None,
            usage: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    Denied,
    Budget,
    Invalid,
    NotFound,
    Conflict,
    Unavailable,
    Timeout,
    Cancelled,
    Internal,
}

/// A change to the head's tree in the strategy's own words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Patch {
    pub edits: Vec<Edit>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "edit", rename_all = "kebab-case")]
pub enum Edit {
    Replace {
        path: String,
        search: String,
        replacement: String,
    },
    /// Whole file; text only survives as text, other bytes as base64 are not accepted here.
    Write {
        path: String,
        content: String,
    },
    Delete {
        path: String,
    },
    UnifiedDiff {
        text: String,
    },
}

/// What the tests said of a probed patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeReport {
    pub still_failing: Vec<String>,
    pub broken: Vec<String>,
    pub failures: Vec<TestFailure>,
    pub output: String,
    pub passed: u32,
    pub failed: u32,
    pub seconds: f64,
}

/// What a tool of the project did to a patched tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolReport {
    /// None where it was killed by a signal or its timeout.
    pub exit_code: Option<i32>,
    /// The end of what it printed.
    pub output: String,
    /// Paths it changed, sorted.
    pub changed: Vec<String>,
    /// The given patch and the tool's changes together, against the head.
    pub diff: String,
    pub seconds: f64,
}

/// What a variant proposed, resolved to a tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    pub rationale: String,
    /// The strategy's own, 0 to 1.
    pub self_confidence: f64,
    /// Tree with the patch applied, as proposed.
    pub tree: Oid,
    /// Tree that is tried: tests, test configuration and CI files as in the head.
    pub trial_tree: Oid,
    /// Head to `tree`, made by git with full ids; at most 1 MiB, else the run keeps only the tree.
    pub patch: String,
    pub diff: DiffStat,
    pub paths: Vec<String>,
    pub applied: Applied,
    /// Gates broken by the patch as it stands, before any test ran.
    pub objections: Vec<Objection>,
    pub security: Vec<String>,
    pub seconds: f64,
    #[serde(default)]
    pub notes: Vec<(String, String)>,
}

/// A path as the patch changes it; modes as git writes them, 0 where there is no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    pub path: String,
    pub old_mode: u32,
    pub new_mode: u32,
    pub binary: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffStat {
    pub files: u32,
    pub insertions: u32,
    pub deletions: u32,
}

/// How closely the patch matched the tree, best first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Applied {
    Exact,
    /// Only line ends or trailing blanks differed.
    Whitespace,
    /// The block was shifted as a whole.
    Indent,
    /// Parts were left out with `...` and found uniquely.
    Elided,
}

impl Applied {
    /// 1 for exact, less for each step down the ladder.
    pub fn quality(self) -> f64 {
        match self {
            Applied::Exact => 1.0,
            Applied::Whitespace => 0.8,
            Applied::Indent => 2.0 / 3.0,
            Applied::Elided => 0.5,
        }
    }
}

/// A hard condition of the host that a candidate breaks, as gate and sentence. Gate 6, that the branch still fails
/// and the merge result itself was tested, is held at delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Objection {
    pub gate: Gate,
    pub because: String,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// 1: every test that failed because of the change passes.
    Fixes,
    /// 2: nothing that passed is lost or missing, and a report says so.
    KeepsTheRest,
    /// 3: tests, test configuration, CI and tool configuration stay as they are.
    LeavesTheJudgeAlone,
    /// 4: no path outside the tree, no protected path, link, submodule, mode or binary trick.
    StaysInBounds,
    /// 5: the trial repeats.
    Repeats,
    /// 7: security-related changes are for people.
    NotSecurity,
}

/// Why a variant has no candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub why: String,
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The strategy's own, reasoned `no-fix`.
    NoFix,
    /// The patch could not be applied, or changes nothing, or leaves the tree.
    BadPatch,
    /// The plugin returned an error, trapped or broke a limit.
    PluginFailed,
}

/// Why a plugin call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{why}")]
pub struct PluginFailure {
    pub kind: PluginFailureKind,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PluginFailureKind {
    /// Not in any plugin directory, or it could not be loaded.
    Missing,
    /// It said `err` itself.
    Returned,
    Trapped,
    TimedOut,
    OutOfMemory,
    /// More data, host calls or log than it may.
    Flooded,
    /// An answer that makes no sense: NaN, an unknown contender.
    Nonsense,
    /// Not called, because of what it did before.
    Benched,
}

/// One validation of one tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    pub tree: Oid,
    /// 1 for the first, then the repeats.
    pub round: u32,
    pub source: ReportSource,
    pub exit: Exit,
    pub passed: u32,
    pub failed: u32,
    pub total: u32,
    /// Of the tests to fix: those that pass now, and those that do not.
    pub fixed: BTreeSet<String>,
    pub unfixed: BTreeSet<String>,
    /// Of the tests to keep: those that are bad, and those that are gone or skipped.
    pub broken: BTreeSet<String>,
    pub missing: BTreeSet<String>,
    /// Digest over every (id, outcome): candidates with one digest behave alike, as far as the suite sees.
    pub behaviour: String,
    pub failures: Vec<TestFailure>,
    pub output: String,
    pub problem: Option<String>,
    pub seconds: f64,
    /// It ran with the daemon's own rights, because the project says so.
    #[serde(default)]
    pub unsandboxed: bool,
    /// The report it was made of, where later runs may go by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<KeptReport>,
}

/// A report that is kept beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptReport {
    /// Of the setup and test command, as in `Fact::Tested`.
    pub suite: String,
    /// SHA-256 of the report, hex.
    pub digest: String,
}

/// Some tests alone, run on one tree: enough to stop a candidate, never enough for it to win.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    pub tree: Oid,
    pub part: Part,
    /// How many tests were asked for, and which of them do not pass.
    pub asked: u32,
    pub bad: BTreeSet<String>,
    pub problem: Option<String>,
    /// The end of what the command printed, where not all is well.
    pub output: String,
    pub seconds: f64,
    /// None where none was laid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// What a report says of a test that has to fail, laid beside the failing ones under a name nobody could know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Canary {
    Failed,
    /// Or it was skipped.
    Passed,
    Absent,
}

/// Which tests a sample is of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The tests to fix.
    Failing,
    /// Of the tests to keep, those that stand near what the candidate touches.
    Near,
}

/// What the scorer made of the field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scoring {
    /// By variant; missing where the scorer failed or left it out.
    pub scores: BTreeMap<String, Score>,
    /// Set when the scorer plugin gave no usable answer.
    pub failure: Option<PluginFailure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// 0 to 100.
    pub total: f64,
    pub marks: BTreeMap<String, f64>,
    pub disqualified: Option<String>,
}

/// The escalation plugin's opinion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    pub action: Action,
    pub contender: Option<String>,
    /// Code and sentence.
    pub reasons: Vec<(String, String)>,
}

/// What is done with the winner, in order of authority, least first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Nothing,
    Human,
    PullRequest,
    Merge,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Nothing => "nothing",
            Action::Human => "human",
            Action::PullRequest => "pull-request",
            Action::Merge => "merge",
        }
    }
}
