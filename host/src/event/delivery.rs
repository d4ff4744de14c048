//! What was decided, and what was done about it.
//!
//! Touches: nothing.
//! Change here: when a verdict or a delivery can carry something new.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Objection, Oid, RunId};

/// The decision of a run, readable as a sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    pub action: Action,
    /// The variant whose candidate is delivered or shown to a human.
    pub winner: Option<String>,
    pub score: Option<f64>,
    pub confidence: Option<f64>,
    /// What the evidence was worth before it was held against what became of earlier fixes; None where that is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
    pub reasons: Vec<String>,
    /// Best first, every variant of the tournament.
    pub standings: Vec<Standing>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    pub variant: String,
    pub state: VariantState,
    pub score: Option<f64>,
    pub confidence: Option<f64>,
    /// As in the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
    /// Empty when every gate holds.
    pub objections: Vec<Objection>,
    /// Why it stands where it stands.
    pub because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VariantState {
    Won,
    Lost,
    Refused,
    Failed,
    /// Its tree is the tree of a variant that stands before it.
    Duplicate,
    Stopped,
}

/// A merge that is ready to be pushed: intent and idempotency key in one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreparedMerge {
    pub branch: String,
    /// The tip it was built on and may replace.
    pub onto: Oid,
    /// The commit to push, made from `onto` and the winner.
    pub commit: Oid,
    pub tree: Oid,
    /// How the merge result was tested, as a sentence.
    pub tested: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Delivery {
    Merged {
        branch: String,
        commit: Oid,
    },
    /// A branch with the fix was pushed, for a pull request.
    Proposed {
        branch: String,
        commit: Oid,
        report: String,
        /// Why it was not merged, where that was decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
    /// A human has to decide; `branch` holds the best candidate, if there is one.
    Escalated {
        branch: Option<String>,
        commit: Option<Oid>,
        report: String,
        because: String,
    },
    /// Nothing had to be delivered any more, or nothing was to be delivered.
    Moot {
        because: String,
    },
    /// `fix --dry-run`: decided, not delivered.
    Withheld {
        report: String,
    },
}

/// A pull request on a forge, with what a run delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullRequest {
    pub run: RunId,
    /// The event that made the run wait for people.
    pub about: String,
    /// As the configuration calls it.
    pub forge: String,
    /// `owner/name` there.
    pub repo: String,
    pub number: u64,
    /// For people.
    pub url: String,
    /// The commit that is offered.
    pub commit: Oid,
}

/// Nothing more is to be expected of a pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullRequestEnd {
    pub run: RunId,
    pub about: String,
    pub forge: String,
    pub number: u64,
    pub fate: PullRequestFate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum PullRequestFate {
    /// On the forge, by whom it tells.
    Merged {
        by: Option<String>,
        commit: Option<Oid>,
    },
    /// Somebody closed it there.
    Closed,
    /// ChangeBus closed it: there was nothing to decide any more.
    Withdrawn { because: String },
    /// It cannot be had: what the forge said.
    Lost { because: String },
}

impl PullRequestFate {
    pub fn name(&self) -> &'static str {
        match self {
            PullRequestFate::Merged { .. } => "merged",
            PullRequestFate::Closed => "closed",
            PullRequestFate::Withdrawn { .. } => "withdrawn",
            PullRequestFate::Lost { .. } => "lost",
        }
    }
}

impl Delivery {
    /// The commit on the run's own branch, where it has one.
    pub fn offers(&self) -> Option<&Oid> {
        match self {
            Delivery::Proposed { commit, .. } => Some(commit),
            Delivery::Escalated { commit, .. } => commit.as_ref(),
            Delivery::Merged { .. } | Delivery::Moot { .. } | Delivery::Withheld { .. } => None,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Delivery::Merged { .. } => "merged",
            Delivery::Proposed { .. } => "proposed",
            Delivery::Escalated { .. } => "escalated",
            Delivery::Moot { .. } => "moot",
            Delivery::Withheld { .. } => "withheld",
        }
    }
}
