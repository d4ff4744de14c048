//! What people decided about a run that waits for them.
//!
//! Touches: nothing.
//! Change here: when people can decide something else, or another way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RunId;

/// One decision about one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    pub run: RunId,
    pub ruling: Ruling,
    /// In their own words; may be empty where something is approved.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who decided, as the channel knows them.
    pub by: String,
    pub via: Channel,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "ruling", rename_all = "kebab-case")]
pub enum Ruling {
    /// This candidate is to be merged; the one that stands first where none is named.
    Approve { variant: Option<String> },
    /// None of them is.
    Reject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    CommandLine,
    Page,
    Humanrail,
    /// On the forge where the pull request is.
    Forge,
}

/// A decision that people elsewhere were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// As the service calls it.
    pub id: String,
    pub run: RunId,
    /// The event that made the run wait for people.
    pub about: String,
}

/// How that came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskEnd {
    pub id: String,
    pub run: RunId,
    /// `verified`, `failed`, `cancelled` or `expired`.
    pub status: String,
    /// What is to be known about it, where it was not decided.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Channel {
    pub fn name(self) -> &'static str {
        match self {
            Channel::CommandLine => "on the command line",
            Channel::Page => "on the page",
            Channel::Humanrail => "through HumanRail",
            Channel::Forge => "on the forge",
        }
    }
}
