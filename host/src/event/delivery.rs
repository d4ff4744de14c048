//! What was decided, and what was done about it.
//!
//! Touches: nothing.
//! Change here: when a verdict or a delivery can carry something new.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Objection, Oid};

/// The decision of a run, readable as a sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    pub action: Action,
    /// The variant whose candidate is delivered or shown to a human.
    pub winner: Option<String>,
    pub score: Option<f64>,
    pub confidence: Option<f64>,
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

impl Delivery {
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
