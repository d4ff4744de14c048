//! An event as other hosts and other programs read it: CloudEvents 1.0 around a CDEvents message.
//!
//! Touches: nothing.
//! Change here: when a message says something more. Which type a fact has is in [`kinds`], the way back in [`read`], the
//! subject in [`subject`], what is promised to readers in [`schema`] and `docs/events.md`.
//!
//! Everything of our own stands in `customData`, the fact as the log has it. What CDEvents itself has a place for is
//! said there too, for readers who know nothing of ChangeBus.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::event::{Delivery, Event, Exit, Fact, RunId, TestReport};

pub mod kinds;
pub mod read;
pub mod schema;
pub mod subject;
#[cfg(test)]
mod tests;

pub use kinds::Kind;
pub use read::{NotOurs, unwrap};
pub use subject::subject;

/// What the bytes of [`Envelope::json`] are.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

const CLOUDEVENTS: &str = "1.0";
const CDEVENTS: &str = "0.5.1";
const JSON: &str = "application/json";
/// What a source begins with; the host follows.
const SOURCE: &str = "/changebus/";

/// What may stand in a part of a URI as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Envelope {
    specversion: &'static str,
    /// The event's own; what to deduplicate by.
    pub id: String,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    time: Timestamp,
    datacontenttype: &'static str,
    /// Of the types of the vocabulary the official schemas are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    dataschema: Option<String>,
    data: Message,
}

impl Envelope {
    /// # Errors
    /// Never for a fact that has been in the log.
    pub fn json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

/// The CDEvents message.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Message {
    context: Context,
    subject: Subject,
    custom_data: CustomData,
    #[schemars(with = "String")]
    custom_data_content_type: &'static str,
}

// No `schemaUri`: CDEvents tells whoever cannot fetch a schema from there to refuse the message.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct Context {
    #[schemars(with = "String")]
    specversion: &'static str,
    /// The event's own, as in the envelope.
    #[schemars(length(min = 1))]
    id: String,
    /// `/changebus/` and the host that stated it.
    source: String,
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    kind: &'static str,
    timestamp: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct Subject {
    /// What it is about: the commit that was merged or proposed, else the run, else the project; a run of the tests
    /// is named by its event.
    #[schemars(length(min = 1))]
    id: String,
    content: Content,
}

/// What is ChangeBus's own in a message.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct CustomData {
    project: String,
    /// Missing for what happened outside a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    /// Place in the run, from 1, without gaps within an epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// Tenure of the project. What a later one states of a run takes the place of what an earlier one states from that
    /// version on.
    epoch: u64,
    fact: Fact,
}

/// What CDEvents asks for under this type; of our own types nothing, all of theirs is in the fact.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
enum Content {
    TestSuiteRun(TestSuiteRun),
    Ticket(Ticket),
    Change(ProposedChange),
    Own {},
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TestSuiteRun {
    /// The host it ran on.
    environment: Reference,
    outcome: SuiteOutcome,
    /// Why it is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    test_suite: Reference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum SuiteOutcome {
    Success,
    /// It ran to its end, and not all is well.
    Failure,
    /// It did not run, or not to its end, or cannot be taken at its word.
    Error,
}

/// What a human has to decide.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    summary: String,
    #[schemars(with = "String")]
    ticket_type: &'static str,
    group: String,
    #[schemars(with = "String")]
    creator: &'static str,
    /// Names the run at its host; nothing is served there.
    uri: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct ProposedChange {
    /// The project.
    repository: Reference,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct Reference {
    id: String,
}

/// The message of an event. `host` is who stated it where the event does not say so.
pub fn wrap(event: &Event, host: &str) -> Envelope {
    let host = event.origin.as_deref().unwrap_or(host);
    let source = source(host);
    let kind = Kind::of(&event.fact);
    let subject = Subject {
        id: about(event),
        content: content(event, host, &source),
    };
    Envelope {
        specversion: CLOUDEVENTS,
        id: event.id.clone(),
        source: source.clone(),
        kind: kind.name(),
        subject: subject.id.clone(),
        time: event.at,
        datacontenttype: JSON,
        dataschema: kind.is_own().then(|| kind.schema_id()),
        data: Message {
            context: Context {
                specversion: CDEVENTS,
                id: event.id.clone(),
                source,
                kind: kind.name(),
                timestamp: event.at,
            },
            subject,
            custom_data: CustomData {
                project: event.project.clone(),
                run: event.run.clone(),
                version: event.version,
                epoch: event.epoch,
                fact: event.fact.clone(),
            },
            custom_data_content_type: JSON,
        },
    }
}

fn source(host: &str) -> String {
    format!("{SOURCE}{}", utf8_percent_encode(host, UNRESERVED))
}

fn about(event: &Event) -> String {
    match &event.fact {
        Fact::Tested { .. } => event.id.clone(),
        Fact::Delivered {
            delivery: Delivery::Merged { commit, .. } | Delivery::Proposed { commit, .. },
        } => commit.0.clone(),
        _ => run_or_project(event).to_owned(),
    }
}

fn run_or_project(event: &Event) -> &str {
    event.run.as_ref().map_or(&event.project, |run| &run.0)
}

fn content(event: &Event, host: &str, source: &str) -> Content {
    let refer = |id: &str| Reference { id: id.to_owned() };
    match &event.fact {
        Fact::Tested { report, suite, .. } => Content::TestSuiteRun(TestSuiteRun {
            environment: refer(host),
            outcome: outcome(report),
            reason: report.problem.clone(),
            test_suite: refer(if suite.is_empty() {
                &event.project
            } else {
                suite
            }),
        }),
        Fact::Delivered { delivery } => match delivery {
            Delivery::Merged { .. } | Delivery::Proposed { .. } => {
                Content::Change(ProposedChange {
                    repository: refer(&event.project),
                })
            }
            Delivery::Escalated { because, .. } => Content::Ticket(Ticket {
                summary: because.clone(),
                ticket_type: "task",
                group: event.project.clone(),
                creator: "changebus",
                uri: format!(
                    "{source}/runs/{}",
                    utf8_percent_encode(run_or_project(event), UNRESERVED)
                ),
            }),
            Delivery::Moot { .. } | Delivery::Withheld { .. } => Content::Own {},
        },
        _ => Content::Own {},
    }
}

fn outcome(report: &TestReport) -> SuiteOutcome {
    match report.exit {
        _ if report.is_green() => SuiteOutcome::Success,
        Exit::Code(_) if report.problem.is_none() => SuiteOutcome::Failure,
        _ => SuiteOutcome::Error,
    }
}
