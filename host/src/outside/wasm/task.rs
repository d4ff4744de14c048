//! What a plugin is given to work on and what it answers, in the host's own words.
//!
//! Touches: nothing.
//! Change here: when a plugin may learn something new; then give it a getter in `wit/` and `imports.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::event::{
    Commit, Fault, Learned, ModelAnswer, ModelRequest, Patch, ProbeReport, TestFailure, ToolReport,
};
use crate::outside::reading::ReadTree;

/// One strategy's turn: the failure, the tree it stands in, and what it may ask for.
pub struct StrategyTask {
    pub failure: FailureFacts,
    /// Tree of the failing commit.
    pub tree: Arc<dyn ReadTree>,
    /// Tree of the last commit before the change.
    pub before: Arc<dyn ReadTree>,
    /// The `config` table of the variant; `{}` where there is none.
    pub config: serde_json::Value,
    pub services: Arc<dyn Services>,
    /// `scope/key/metric` to value, as the tournament's opening froze it.
    pub history: Arc<BTreeMap<String, f64>>,
    pub learned: Arc<Learned>,
    /// Start to answer, waiting for the model and for probes included.
    pub wall_limit: Duration,
}

/// What broke, as far as this strategy may know it: held-out tests are left out of `failing` and `failures`.
pub struct FailureFacts {
    pub project: String,
    /// The last commit before the change, and the failing one.
    pub base: String,
    pub head: String,
    /// Ids of the tests to fix, in the order the strategy sees them.
    pub failing: Vec<String>,
    /// Message, detail and place of those tests.
    pub failures: Vec<TestFailure>,
    /// The end of what the test command printed.
    pub suite_output: String,
    /// Newest first.
    pub commits: Vec<Commit>,
    /// Sorted.
    pub changed_paths: Vec<String>,
    /// `language`, `class`, `test-command`.
    pub attributes: BTreeMap<String, String>,
    pub change: Arc<dyn ReadChange>,
}

/// The parts of a change that are worked out only when a strategy asks.
pub trait ReadChange: Send + Sync {
    /// Unified diff of one path or of all, at most `max_bytes` long. May block.
    fn diff(&self, path: Option<&str>, context_lines: u32, max_bytes: u32) -> String;
    /// Why a patch may not touch this path, if so. Quick.
    fn protected(&self, path: &str) -> Option<String>;
}

/// What costs money or time. The implementor keeps the books and the journal: a guest is deterministic, so
/// answering a repeated call from the journal brings it back to where it stood.
///
/// The futures run on the runtime that called `run_strategy`, never on the guests' threads, and are
/// dropped when the strategy is stopped.
pub trait Services: Send + Sync {
    fn complete(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, Fault>>;
    fn probe(&self, patch: Patch) -> BoxFuture<'_, Result<ProbeReport, Fault>>;
    fn run_tool(&self, name: String, patch: Patch) -> BoxFuture<'_, Result<ToolReport, Fault>>;
    /// Names of the project's tools, sorted.
    fn tools(&self) -> Vec<String>;
    /// Milliseconds since 1970: the time of the last answer that took time, so a replay reads the same.
    fn now_ms(&self) -> u64;
    /// The same bytes for the same run, variant and position.
    fn random(&self, len: u32) -> Vec<u8>;
    /// `llm.calls`, `llm.output-tokens`, `llm.usd-micros`, `probe.runs`; none where unknown or unlimited.
    fn remaining(&self, meter: &str) -> Option<u64>;
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// What a strategy answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyAnswer {
    Propose {
        patch: Patch,
        /// For people; at most 16 KiB.
        rationale: String,
        /// The strategy's own, 0 to 1.
        confidence: f64,
        /// At most 50, each at most 4 KiB.
        notes: Vec<(String, String)>,
    },
    /// Nothing this strategy should change, and why.
    Decline(String),
}

/// A tournament as a scorer or an escalation plugin sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Field {
    pub project: String,
    pub base: String,
    pub head: String,
    /// `merge-threshold`, `min-confidence`.
    pub attributes: BTreeMap<String, String>,
    /// In the order of the configuration; best first once they are scored.
    pub contenders: Vec<Contender>,
    /// Why the choice between the best is not clear; empty where it is, and before scoring.
    pub ambiguity: Vec<String>,
    /// The `config` table of the plugin; `{}` where there is none.
    pub config: serde_json::Value,
    /// `scope/key/metric` to value, as the tournament's opening froze it.
    #[serde(skip)]
    pub history: Arc<BTreeMap<String, f64>>,
    #[serde(skip)]
    pub learned: Arc<Learned>,
}

/// One candidate after its trials.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contender {
    /// The variant's name; unique in the field.
    pub id: String,
    pub strategy: String,
    pub rationale: String,
    /// The strategy's own, 0 to 1.
    pub confidence: f64,
    /// Unified diff.
    pub patch: String,
    pub paths: Vec<String>,
    /// `tests.*`, `diff.*`, `apply.quality`, `cost.usd`, as `wit/` lists them.
    pub metrics: BTreeMap<String, f64>,
    /// Gates it breaks, as sentences.
    pub broken_gates: Vec<String>,
    /// Ids of the tests that fail with it.
    pub failing: Vec<String>,
    /// The scorer's total, 0 to 100; none before scoring.
    pub score: Option<f64>,
    /// The host's confidence, 0 to 1; none before scoring.
    pub evidence: Option<f64>,
    /// Why it counts as security-related; empty where it does not.
    pub security: Vec<String>,
}
