//! What people are told of a stretch of time, and that they were told.
//!
//! Touches: nothing.
//! Change here: when a digest should say more.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RunId, RunStatus};

/// What happened between two moments, by project; projects of which nothing is to be told are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Digest {
    /// After this moment, up to and with the other.
    pub from: Timestamp,
    pub to: Timestamp,
    /// `_all` has the lines that are about none of them.
    pub projects: BTreeMap<String, ProjectDigest>,
    /// What the runs of the last year came to, in a sentence; empty where there were none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub figures: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectDigest {
    /// How many runs ended how.
    pub runs: BTreeMap<String, u32>,
    pub broke: Vec<Breakage>,
    pub fixed: Vec<Repair>,
    /// Runs that wait for people at its end.
    pub waiting: Vec<RunId>,
    /// Tests that flaked.
    pub flakes: Vec<String>,
    pub cost_usd: f64,
    /// What routes of applications noted.
    pub lines: Vec<String>,
}

/// A failure that was real.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Breakage {
    pub run: RunId,
    pub failing: u32,
    /// One of them.
    pub test: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Repair {
    pub run: RunId,
    pub variant: Option<String>,
    /// `merged` or `proposed`.
    pub how: String,
    pub commit: String,
}

/// That one notice reached, or will never reach, one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// As `[notices.NAME]` calls it.
    pub sink: String,
    /// The event it is about.
    pub about: String,
    /// Why it was given up, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

impl ProjectDigest {
    pub fn count(&mut self, status: RunStatus) {
        let name = serde_json::to_value(status).unwrap_or_default();
        let name = name.as_str().unwrap_or("unknown").to_owned();
        *self.runs.entry(name).or_default() += 1;
    }

    /// Nothing happened, and nothing waits.
    pub fn is_quiet(&self) -> bool {
        *self == ProjectDigest::default()
    }
}
