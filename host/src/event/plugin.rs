//! One call of a plugin: what it was for, what it used up, how it ended.
//!
//! Touches: nothing.
//! Change here: when a call uses up something that is not counted yet.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PluginFailureKind, PluginRef};

/// A plugin was called, once; the answer itself is a fact of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginCall {
    pub role: CallRole,
    pub plugin: PluginRef,
    pub ledger: Ledger,
    /// SHA-256 of the call's journal, hex; the journal is kept beside the log.
    pub journal: Option<String>,
    pub ended: Ended,
}

/// What a plugin was called for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallRole {
    /// To propose, for this variant.
    Strategy(String),
    Scorer,
    Escalation,
}

impl std::fmt::Display for CallRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallRole::Strategy(variant) => write!(f, "variant {variant}"),
            CallRole::Scorer => f.write_str("scorer"),
            CallRole::Escalation => f.write_str("escalation"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    Answered,
    Failed {
        kind: PluginFailureKind,
        why: String,
        fault_of: FaultOf,
    },
}

/// Who is to blame: only what a plugin did itself counts against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultOf {
    Plugin,
    Host,
}

/// Whether a plugin's file may be called, from what its calls did before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Health {
    /// Faults in a row so far.
    Well { strikes: u32 },
    /// Tried again when the time is over.
    Benched {
        since: Timestamp,
        until: Timestamp,
        why: String,
    },
    /// Until an operator clears it, or the file is another.
    Quarantined { since: Timestamp, why: String },
}

/// Everything one call used up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ledger {
    /// Computing, in steps of 10 ms.
    pub cpu_ms: u64,
    /// Start to end, waiting included.
    pub wall_ms: u64,
    /// All linear memories together, at their largest.
    pub memory_bytes: u64,
    /// From the guest to the host, and back.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub host_calls: u64,
    pub log_lines: u64,
    pub log_dropped: u64,
    pub llm_calls: u64,
    pub llm_tokens: u64,
    pub usd_micros: u64,
    /// Probes and tools.
    pub probes: u64,
    /// What it asked for and was not given, in the order of the first time.
    pub denials: Vec<Denial>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Denial {
    /// Code of the fault or name of the limit: `llm.budget`, `grant.probe`, `log.lines`.
    pub code: String,
    pub times: u64,
    /// As it was told the first time.
    pub why: String,
}

impl Ledger {
    /// Notes a refusal; the first of a code is quoted, further ones are counted.
    pub fn deny(&mut self, code: &str, why: &str) {
        match self.denials.iter_mut().find(|d| d.code == code) {
            Some(denial) => denial.times += 1,
            None => self.denials.push(Denial {
                code: code.to_owned(),
                times: 1,
                why: why.to_owned(),
            }),
        }
    }
}
