//! What external applications said, and what the configuration made of it.
//!
//! Touches: nothing.
//! Change here: when more of a message is kept.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Stands where a project's name stands, in events that concern none or all of them. No project can be called so.
pub const ALL_PROJECTS: &str = "_all";

/// A message of an external application, as every host keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppMessage {
    /// As `[apps.NAME]` calls it.
    pub app: String,
    /// Words with dots between them; `app.{app}.{event}` is the subject.
    pub event: String,
    /// With `app` and `source` the message's identity, for ever: a CloudEvent's own, or what it was sent under.
    pub id: String,
    pub source: String,
    /// A CloudEvent's `type`, or the subject where the sender gave none.
    pub kind: String,
    /// When it happened, by the sender's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// What it is about, in the sender's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    pub data: serde_json::Value,
}

/// Why a project is to be tested as it stands, whether or not anybody pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// The event that gave rise to it.
    pub because: String,
    /// Who asked, as a subject: `app.ci.finished`.
    pub by: String,
}

/// What a route of the configuration made of a message, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remark {
    pub text: String,
    /// The event that gave rise to it.
    pub because: String,
}

/// What an application said under one name, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub app: String,
    pub event: String,
    pub count: u64,
    pub last: Timestamp,
}
