//! What earlier runs teach about a failure, as the tournament's opening froze it: a replay meets the same.
//!
//! Touches: nothing.
//! Change here: when strategies or confidence may learn something else from earlier runs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FailureClass, FixFate, RunId};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Learned {
    /// Of each strategy that enters: how many of its fixes for such failures last.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lasting: BTreeMap<String, Lasting>,
    /// What evidence has come to mean; None before enough is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Earlier failures of the project that resemble this one, most alike first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<PastFix>,
    /// What people said of fixes of this project that they did not want, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<Rejection>,
}

/// A belief about fixes of one strategy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lasting {
    /// 0 to 1.
    pub share: f64,
    /// Of its own fixes, so many are old enough to say something.
    pub aged: u32,
}

/// What a share of evidence means: the logistic curve `1 / (1 + exp(-(at_zero + slope * ln(x / (1 - x)))))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    pub at_zero: f64,
    pub slope: f64,
    /// Outcomes that it was fitted to.
    pub outcomes: u32,
}

/// An earlier failure, and what was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PastFix {
    pub run: RunId,
    /// 1: the same tests failed with the same words; 0: nothing in common.
    pub likeness: f64,
    pub class: FailureClass,
    /// Some of the tests that failed, held-out ones of today left out.
    pub failing: Vec<String>,
    /// The complaint of one of them.
    pub message: String,
    /// Whose fix won, and what it changed; None where nobody came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<PastPatch>,
    /// The last that was seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fate: Option<FixFate>,
    /// What people said who did not want it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PastPatch {
    pub strategy: String,
    pub rationale: String,
    /// Unified diff, cut to a few KiB.
    pub patch: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    pub run: RunId,
    /// Whose fix it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// In people's own words.
    pub reason: String,
}

impl Learned {
    pub fn is_empty(&self) -> bool {
        *self == Learned::default()
    }
}
