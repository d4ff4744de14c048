//! What became of fixes later, and what kind of failure they mended.
//!
//! Touches: nothing.
//! Change here: when something else can become of a fix, or another kind of failure is told apart.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Oid, RunId};

/// What was seen of a fix after it was delivered. Of several the last one holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixOutcome {
    pub run: RunId,
    pub fate: FixFate,
    /// The evidence, as half a sentence.
    pub because: String,
    /// The commit that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Oid>,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FixFate {
    /// It is in the branch, and not for long enough to say more.
    Merged,
    Survived,
    Reverted,
    /// People merged it with changes of their own.
    Edited,
    /// The branch was mended by something else.
    Overridden,
    /// People did not want it.
    Unmerged,
}

impl FixFate {
    pub fn name(self) -> &'static str {
        match self {
            FixFate::Merged => "merged",
            FixFate::Survived => "survived",
            FixFate::Reverted => "reverted",
            FixFate::Edited => "edited",
            FixFate::Overridden => "overridden",
            FixFate::Unmerged => "unmerged",
        }
    }

    /// What it says of the fix, 0 to 1; None where it is too early to say.
    pub fn worth(self) -> Option<f64> {
        match self {
            FixFate::Merged => None,
            FixFate::Survived => Some(1.0),
            FixFate::Edited => Some(0.5),
            FixFate::Reverted | FixFate::Overridden | FixFate::Unmerged => Some(0.0),
        }
    }
}

/// What tests complain of.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    Syntax,
    Import,
    /// Another version of something that is used.
    Dependency,
    Timeout,
    Environment,
    /// Something is called by a name it does not have.
    Name,
    Type,
    /// Code of the project fails instead of answering.
    Crash,
    Assertion,
    #[default]
    Other,
}

impl FailureClass {
    pub fn name(self) -> &'static str {
        match self {
            FailureClass::Syntax => "syntax",
            FailureClass::Import => "import",
            FailureClass::Dependency => "dependency",
            FailureClass::Timeout => "timeout",
            FailureClass::Environment => "environment",
            FailureClass::Name => "name",
            FailureClass::Type => "type",
            FailureClass::Crash => "crash",
            FailureClass::Assertion => "assertion",
            FailureClass::Other => "other",
        }
    }
}

/// A run that found a real failure or flakes, as far as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct RunResult {
    pub run: RunId,
    pub project: String,
    pub at: Timestamp,
    pub kind: Kind,
    pub class: FailureClass,
    pub language: String,
    pub winner: Option<String>,
    /// 0 to 1, of the winner.
    pub confidence: Option<f64>,
    /// What its evidence was worth before that was held against earlier outcomes.
    pub evidence: Option<f64>,
    pub how: How,
    /// Seconds from the push that was seen to what was delivered.
    pub seconds: Option<f64>,
    pub fate: Option<FixFate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Real,
    Flaky,
}

/// How it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Not yet, or nothing had to be.
    Not,
    Merged,
    /// By people, whatever was decided before.
    Approved,
    Proposed,
    Escalated,
}

/// One variant in one tournament.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub run: RunId,
    pub variant: String,
    pub strategy: String,
    /// Of the plugin.
    pub digest: String,
    /// Of the plugin and its configuration together: what decides its prompts.
    pub edition: String,
    /// Asked last, if one was.
    pub model: Option<String>,
    pub proposed: bool,
    /// It came through every run of its trial.
    pub clean: bool,
    pub won: bool,
    pub cost_usd: f64,
}
