//! How an event looks to others: a CloudEvent that carries a CDEvent, with the fact in it as it is kept here.
//!
//! Touches: nothing.
//! Change here: when a fact should be called otherwise out there, or more of it said in words others know.
//! `docs/events.md` shows what consumers may rely on.

use serde_json::{Value, json};

use crate::config::is_plain_name;
use crate::event::{Delivery, Event, Fact, RunId, RunStatus, TestReport};

const CLOUD_EVENTS: &str = "1.0";
const CDEVENTS: &str = "0.5.1";
/// Of an id, here and in CloudEvents of others.
pub const LONGEST_ID: usize = 200;

/// Why a message is no event of a fleet's.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    #[error("it is no JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("its `{field}` {why}")]
    Field { field: &'static str, why: String },
    #[error(
        "its fact does not read as one this version knows ({0}): was it stated by a newer one?"
    )]
    Fact(serde_json::Error),
}

/// Where an event is told, below the prefix. Names of projects are plain words, so nobody gets out of his place.
pub fn subject(event: &Event) -> String {
    event.fact.subject(&event.project)
}

/// Structured JSON of CloudEvents 1.0. `host` is the one that tells, where the event is its own.
pub fn wrap(event: &Event, host: &str) -> Vec<u8> {
    let source = format!("/changebus/{}", event.origin.as_deref().unwrap_or(host));
    let kind = kind(&event.fact);
    let about = event
        .run
        .as_ref()
        .map_or(event.project.as_str(), |run| run.0.as_str());
    let told = json!({
        "specversion": CLOUD_EVENTS,
        "id": event.id,
        "source": source,
        "type": kind.name(),
        "subject": about,
        "time": event.at.to_string(),
        "datacontenttype": "application/json",
        "data": {
            "context": {
                "specversion": CDEVENTS,
                "id": event.id,
                "source": source,
                "type": kind.name(),
                "timestamp": event.at.to_string(),
            },
            "subject": {
                "id": about,
                "source": source,
                "content": content(event),
            },
            "customDataContentType": "application/json",
            "customData": {
                "project": event.project,
                "run": event.run,
                "version": event.version,
                "epoch": event.epoch,
                "fact": event.fact,
            },
        },
    });
    told.to_string().into_bytes()
}

/// The event as the host that stated it keeps it; it has no place in this log yet.
pub fn unwrap(bytes: &[u8]) -> Result<Event, NotOurs> {
    let mut told: Value = serde_json::from_slice(bytes).map_err(NotOurs::NotJson)?;
    let text = |field: &'static str, value: &Value| match value.as_str() {
        Some(text)
            if !text.is_empty() && text.len() <= LONGEST_ID && !text.contains(char::is_control) =>
        {
            Ok(text.to_owned())
        }
        Some(_) => Err(wrong(
            field,
            "is empty, too long, or holds control characters",
        )),
        None => Err(wrong(field, "is missing, or no text")),
    };
    let version = text("specversion", &told["specversion"])?;
    if version != CLOUD_EVENTS {
        return Err(wrong(
            "specversion",
            format!("is {version}; only {CLOUD_EVENTS} is understood"),
        ));
    }
    let id = text("id", &told["id"])?;
    let source = text("source", &told["source"])?;
    let origin = source
        .strip_prefix("/changebus/")
        .filter(|host| is_plain_name(host));
    let origin = origin.ok_or_else(|| wrong("source", "names no host of a fleet"))?;
    let at = text("time", &told["time"])?;
    let at = at
        .parse()
        .map_err(|e: jiff::Error| wrong("time", format!("cannot be read: {e}")))?;
    let own = &mut told["data"]["customData"];
    let project = text("data.customData.project", &own["project"])?;
    if !is_plain_name(&project) {
        return Err(wrong("data.customData.project", "is no name of a project"));
    }
    let run = match &own["run"] {
        Value::Null => None,
        run => Some(RunId(text("data.customData.run", run)?)),
    };
    if run.as_ref().is_some_and(|run| !is_run_name(&run.0)) {
        return Err(wrong("data.customData.run", "is no name of a run"));
    }
    let version = own["version"].as_u64();
    if run.is_some() != version.is_some() {
        return Err(wrong("data.customData.version", "does not go with its run"));
    }
    let epoch = own["epoch"].as_u64();
    let epoch = epoch.ok_or_else(|| wrong("data.customData.epoch", "is missing, or no number"))?;
    let fact = serde_json::from_value(own["fact"].take()).map_err(NotOurs::Fact)?;
    Ok(Event {
        seq: 0,
        id,
        at,
        project,
        run,
        version,
        epoch,
        origin: Some(origin.to_owned()),
        fact,
    })
}

fn is_run_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn wrong(field: &'static str, why: impl Into<String>) -> NotOurs {
    let why = why.into();
    NotOurs::Field { field, why }
}

/// What a fact is called.
enum Kind {
    /// The vocabulary of CDEvents has a word for it.
    Common(&'static str),
    /// It has none; subject and predicate.
    Own(&'static str, &'static str),
}

impl Kind {
    fn name(&self) -> String {
        match self {
            Kind::Common(name) => format!("dev.cdevents.{name}"),
            Kind::Own(subject, predicate) => {
                format!("dev.cdeventsx.changebus-{subject}.{predicate}.0.1.0")
            }
        }
    }
}

fn kind(fact: &Fact) -> Kind {
    use Kind::{Common, Own};
    match fact {
        Fact::ChangeSeen { .. } => Common("pipelinerun.queued.0.3.0"),
        Fact::RunClosed { .. } => Common("pipelinerun.finished.0.3.0"),
        Fact::Tested { .. } => Common("testsuiterun.finished.0.3.0"),
        Fact::Delivered { delivery } => match delivery {
            Delivery::Merged { .. } => Common("change.merged.0.3.0"),
            Delivery::Proposed { .. } => Own("delivery", "proposed"),
            Delivery::Escalated { .. } => Own("delivery", "escalated"),
            Delivery::Withheld { .. } => Own("delivery", "withheld"),
            Delivery::Moot { .. } => Own("delivery", "moot"),
        },
        Fact::Watched { .. } => Own("branch", "watched"),
        Fact::Triaged { .. } => Own("failure", "triaged"),
        Fact::Bisected { .. } => Own("failure", "bisected"),
        Fact::TournamentOpened { .. } => Own("tournament", "opened"),
        Fact::ModelAsked { .. } => Own("model", "asked"),
        Fact::ModelAnswered { .. } => Own("model", "answered"),
        Fact::Probed { .. } => Own("patch", "probed"),
        Fact::ToolRan { .. } => Own("tool", "ran"),
        Fact::PluginCalled { .. } => Own("plugin", "called"),
        Fact::Proposed { .. } => Own("fix", "proposed"),
        Fact::Refused { .. } => Own("fix", "refused"),
        Fact::Tried { .. } => Own("trial", "finished"),
        Fact::Sampled { .. } => Own("trial", "sampled"),
        Fact::Scored { .. } => Own("tournament", "scored"),
        Fact::Bounded { .. } => Own("tournament", "bounded"),
        Fact::Advised { .. } => Own("verdict", "advised"),
        Fact::Decided { .. } => Own("verdict", "decided"),
        Fact::MergePrepared { .. } => Own("merge", "prepared"),
        Fact::MergeOvertaken { .. } => Own("merge", "overtaken"),
        Fact::StageFailed { .. } => Own("stage", "failed"),
    }
}

/// What the vocabulary says of it, for those who know nothing else of us.
fn content(event: &Event) -> Value {
    match &event.fact {
        Fact::ChangeSeen { .. } => json!({ "pipelineName": event.project }),
        Fact::RunClosed { status } => json!({
            "pipelineName": event.project,
            "outcome": run_outcome(*status),
        }),
        Fact::Tested { report, suite, .. } => json!({
            "environment": { "id": event.project },
            "outcome": suite_outcome(report),
            "testSuite": { "id": if suite.is_empty() { &event.project } else { suite } },
        }),
        _ => json!({}),
    }
}

fn run_outcome(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Green | RunStatus::Fixed | RunStatus::Flaky => "success",
        RunStatus::Error => "error",
        RunStatus::InVain => "cancel",
        RunStatus::RedBefore | RunStatus::Known | RunStatus::Human | RunStatus::NoFix => "failure",
    }
}

fn suite_outcome(report: &TestReport) -> &'static str {
    match (report.is_green(), &report.problem) {
        (true, _) => "success",
        (false, None) => "failure",
        (false, Some(_)) => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(fact: Value) -> Event {
        Event {
            seq: 7,
            id: "0199-a".into(),
            at: "2026-11-26T12:00:00.123456789Z".parse().expect("a time"),
            project: "shop".into(),
            run: Some(RunId("shop-abc".into())),
            version: Some(3),
            epoch: 5,
            origin: None,
            fact: serde_json::from_value(fact).expect("a fact"),
        }
    }

    fn closed() -> Event {
        event(json!({"type": "run-closed", "status": "fixed"}))
    }

    fn told(change: impl FnOnce(&mut Value)) -> Result<Event, NotOurs> {
        let mut told: Value = serde_json::from_slice(&wrap(&closed(), "ada")).expect("it is JSON");
        change(&mut told);
        unwrap(told.to_string().as_bytes())
    }

    #[test]
    fn an_event_comes_out_as_it_went_in_with_the_name_of_who_stated_it() {
        for event in [
            closed(),
            event(json!({"type": "stage-failed", "stage": "t", "why": "\u{0}é"})),
        ] {
            let heard = unwrap(&wrap(&event, "ada")).expect("it is ours");
            let expected = Event {
                seq: 0,
                origin: Some("ada".into()),
                ..event
            };
            assert_eq!(heard, expected);
            // Told again by somebody else it is the same.
            assert_eq!(unwrap(&wrap(&heard, "bob")).expect("it is ours"), heard);
        }
    }

    type Change = fn(&mut Value);

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        let cases: [(Change, &str); 11] = [
            (|t| t["specversion"] = json!("2.0"), "specversion"),
            (|t| t["id"] = json!(7), "`id`"),
            (|t| t["id"] = json!("a".repeat(201)), "`id`"),
            (|t| t["source"] = json!("/elsewhere"), "source"),
            (|t| t["time"] = json!("yesterday"), "time"),
            (
                |t| t["data"]["customData"]["project"] = json!("a.b"),
                "project",
            ),
            (
                |t| t["data"]["customData"]["project"] = json!("x.> "),
                "project",
            ),
            (
                |t| t["data"]["customData"]["run"] = json!("../../etc"),
                "run",
            ),
            (
                |t| t["data"]["customData"]["version"] = Value::Null,
                "version",
            ),
            (|t| t["data"]["customData"]["epoch"] = json!("now"), "epoch"),
            (
                |t| t["data"]["customData"]["fact"] = json!({"type": "of-tomorrow"}),
                "newer",
            ),
        ];
        for (change, said) in cases {
            let error = told(change).expect_err(said).to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        for garbage in [&b"{"[..], b"", b"null", b"[]", b"\xff\xfe", b"42"] {
            assert!(unwrap(garbage).is_err(), "{garbage:?}");
        }
        assert!(told(|_| ()).is_ok());
    }
}
