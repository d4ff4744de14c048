//! What other programs are told: held against our own schemas, the official types of CDEvents and CloudEvents, and what
//! tournaments really emit.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when messages get another judge, or a new fact is told that these stories do not meet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use changebus::event::{Event, Fact, RunId};
use changebus::rules::envelope::{self, Kind, schema};
use changebus_tests::python::run_python;
use changebus_tests::shop;
use changebus_tests::world::World;
use jsonschema::Validator;
use scripted_claude::{Reply, Script};
use serde_json::{Value, json};

use crate::orders;

mod asyncapi;

const CLOUDEVENTS: [&str; 1] = ["cloudevents==2.2.0"];

/// Set by `cargo xtask schemas`: write what the types say instead of asking for it.
const KEEP: &str = "CHANGEBUS_KEEP_SCHEMAS";

fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests stand in the workspace")
}

/// The file says this, or is told to.
fn kept(path: &Path, text: &str) {
    if std::env::var_os(KEEP).is_some() {
        std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return;
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == text,
        "{} is not what the types say. If a reader of old messages could go wrong, raise the version of the type in \
         host/src/rules/envelope/kinds.rs; then run `cargo xtask schemas` and commit what it writes",
        path.display()
    );
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON") + "\n"
}

fn schema_file(kind: Kind) -> PathBuf {
    root().join(format!("host/schemas/{}.json", kind.name()))
}

#[test]
fn the_schemas_kept_with_the_code_are_what_the_types_say() {
    for kind in Kind::ALL {
        kept(&schema_file(kind), &pretty(&schema::of(kind)));
    }
    let files = std::fs::read_dir(root().join("host/schemas")).expect("there are schemas");
    let files: BTreeSet<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    assert_eq!(files, Kind::ALL.map(schema_file).into_iter().collect());
}

fn samples() -> Vec<Event> {
    let text = include_str!("../../host/src/rules/envelope/samples.json");
    let facts: Vec<Fact> = serde_json::from_str(text).expect("every sample is a fact");
    let event = |(n, fact): (usize, Fact)| Event {
        seq: 0,
        id: format!("0197d1b5-5a3c-7000-8000-{n:012}"),
        at: "2026-11-26T10:30:00.123456Z".parse().expect("a time"),
        project: "app".to_owned(),
        run: Some(RunId("app-20261126T103000-aaaaaaaaaa".to_owned())),
        version: Some(n as u64 + 1),
        epoch: 1,
        origin: None,
        fact,
    };
    facts.into_iter().enumerate().map(event).collect()
}

fn text(event: &Event) -> String {
    let bytes = envelope::wrap(event, "host-a").json().expect("JSON");
    String::from_utf8(bytes).expect("UTF-8")
}

fn message(event: &Event) -> Value {
    serde_json::from_str(&text(event)).expect("JSON")
}

/// A kept schema that lets nothing pass which it does not name.
fn strict(kind: Kind) -> Validator {
    let text = std::fs::read_to_string(schema_file(kind)).expect("it is kept");
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    close(&mut schema);
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap_or_else(|e| panic!("{}: {e}", kind.name()))
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let named = fields.get("properties").is_some_and(Value::is_object);
            if named && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

fn complaints(kind: Kind, data: &Value) -> Vec<String> {
    let found = strict(kind);
    let found = found.iter_errors(data);
    found
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect()
}

/// The official types read it, and write what they read.
fn is_official(message: &Value) -> Result<(), String> {
    let text = message.to_string();
    let cloud: cloudevents::Event = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let event = cdevents_sdk::CDEvent::try_from(cloud).map_err(|e| e.to_string())?;
    let written = serde_json::to_value(&event).map_err(|e| e.to_string())?;
    if written == message["data"] {
        Ok(())
    } else {
        Err(format!("{written}\nis not\n{}", message["data"]))
    }
}

/// All there is to say about one event as a message.
/// Held against our schema of its type, the official types, and the page for readers.
pub fn assert_well_told(event: &Event) {
    let kind = Kind::of(&event.fact);
    let message = message(event);
    let found = complaints(kind, &message["data"]);
    assert_eq!(found, [""; 0], "{message:#}");
    assert_eq!(is_official(&message), Ok(()), "{message:#}");
    let back = envelope::unwrap(message.to_string().as_bytes());
    let expected = Event {
        seq: 0,
        origin: event.origin.clone().or(Some("host-a".to_owned())),
        ..event.clone()
    };
    assert_eq!(back, Ok(expected));
    asyncapi::assert_listed(event);
}

#[test]
fn a_message_of_every_type_is_what_its_schema_and_the_official_types_say() {
    samples().iter().for_each(assert_well_told);
}

/// A message of the type with another value at one place.
fn damaged(kind: Kind, at: &str, value: &Value) -> Value {
    let all = samples();
    let event = all.iter().find(|event| Kind::of(&event.fact) == kind);
    let mut message = message(event.expect("there is a sample of every type"));
    let (parent, field) = at.rsplit_once('/').expect("a pointer");
    message.pointer_mut(parent).expect("it is there")[field] = value.clone();
    message
}

#[test]
fn what_is_wrong_with_a_message_is_noticed_by_both_judges() {
    let (suite, ticket) = (Kind::TestSuiteRunFinished, Kind::TicketCreated);
    let (change, run) = (Kind::ChangeMerged, Kind::RunClosed);
    for (kind, at, value) in [
        (suite, "/data/subject/content/outcome", json!("green")),
        (suite, "/data/subject/content/environment", json!({})),
        (suite, "/data/subject/content/mood", json!("good")),
        (ticket, "/data/subject/content/creator", Value::Null),
        (change, "/data/subject/content/repository", json!("app")),
        (
            change,
            "/data/context/type",
            json!("dev.cdevents.change.melted.0.3.0"),
        ),
        (run, "/data/context/timestamp", json!("yesterday")),
        (run, "/data/context/colour", json!("red")),
        (run, "/data/subject/id", json!("")),
    ] {
        let message = damaged(kind, at, &value);
        let ours = complaints(kind, &message["data"]);
        assert!(!ours.is_empty(), "{at} = {value}: our schema lets it pass");
        let official = is_official(&message);
        assert!(official.is_err(), "{at} = {value}: CDEvents lets it pass");
    }
}

#[test]
fn what_is_wrong_with_a_fact_is_noticed_by_our_schemas() {
    let fact = "/data/customData/fact";
    for (kind, at, value) in [
        (Kind::RunClosed, format!("{fact}/status"), json!("purple")),
        (Kind::RunClosed, format!("{fact}/type"), json!("triaged")),
        (
            Kind::DeliveryMoot,
            format!("{fact}/delivery/how"),
            json!("withheld"),
        ),
        (
            Kind::TrialFinished,
            format!("{fact}/trial/passed"),
            json!(-1),
        ),
        (
            Kind::ChangeSeen,
            format!("{fact}/change/mood"),
            json!("good"),
        ),
        (
            Kind::RunClosed,
            "/data/customData/epoch".to_owned(),
            json!("one"),
        ),
    ] {
        let message = damaged(kind, &at, &value);
        let ours = complaints(kind, &message["data"]);
        assert!(!ours.is_empty(), "{at} = {value}: our schema lets it pass");
    }
}

/// What the official Python package makes of each text.
fn read_by_python(texts: &[String]) -> Vec<Value> {
    let told = run_python("read_cloudevents.py", &CLOUDEVENTS, &[], &texts.into());
    told.as_array().expect("one for each text").clone()
}

fn assert_read_by_python(events: &[Event]) {
    let texts: Vec<String> = events.iter().map(text).collect();
    let read = read_by_python(&texts);
    assert_eq!(read.len(), events.len());
    for (read, event) in read.iter().zip(events) {
        let message = message(event);
        assert_eq!(read["problem"], Value::Null, "{message:#}");
        for field in ["id", "source", "type", "subject", "dataschema"] {
            assert_eq!(read["attributes"].get(field), message.get(field));
        }
        assert_eq!(read["data"], message["data"]);
        let mut again = message.clone();
        // Python knows no nanoseconds.
        again["time"] = read["written"]["time"].clone();
        assert_eq!(read["written"], again);
    }
}

#[test]
fn the_official_python_package_reads_what_we_write() {
    let all = samples();
    assert_read_by_python(&all);
    let wrong = text(&all[0]).replace("\"1.0\"", "\"0.9\"");
    let half = text(&all[0])[..100].to_owned();
    let untyped = text(&all[0]).replace("\"type\"", "\"kind\"");
    for read in read_by_python(&[wrong, half, untyped]) {
        assert_ne!(read["problem"], Value::Null);
    }
}

/// A daemon that adopts, is pushed to, and merges.
async fn merged() -> Vec<Event> {
    let world = orders::watched("").await;
    let _daemon = world.daemon();
    let told = |events: &[Event], what: fn(&Fact) -> bool| events.iter().any(|e| what(&e.fact));
    world
        .until("the branch is watched", |events| {
            told(events, |fact| matches!(fact, Fact::Watched { .. }))
        })
        .await;
    orders::break_it(&world);
    world
        .until("the run is closed", |events| {
            told(events, |fact| matches!(fact, Fact::RunClosed { .. }))
        })
        .await
}

/// The little shop with one broken test, and `fix` with these flags.
async fn fixed(answer: &str, flags: &[&str]) -> Vec<Event> {
    let answer = answer.to_owned();
    let mut world = World::new(Script::from_fn(move |_| Reply::text(answer.clone()))).await;
    world.policy("min_confidence = 0.5");
    shop::open(&world);
    shop::break_it(&world);
    world.fix(flags);
    world.events().await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_tournaments_really_tell_is_well_told() {
    let stories = [
        merged().await,
        fixed(shop::HONEST, &["--deliver", "pull-request"]).await,
        fixed(shop::HONEST, &["--dry-run"]).await,
        fixed("NO_FIX: I would not know how", &["--deliver", "human"]).await,
    ];
    let events: Vec<Event> = stories.into_iter().flatten().collect();
    events.iter().for_each(assert_well_told);
    let met: BTreeSet<Kind> = events.iter().map(|e| Kind::of(&e.fact)).collect();
    // Other stories are about these; a sample of each is held against the same judges.
    let not_met = [
        Kind::DependenciesSeen,
        Kind::FailureBisected,
        Kind::ToolFinished,
        Kind::TournamentBounded,
        Kind::MergeOvertaken,
        Kind::DeliveryMoot,
        Kind::StageFailed,
        Kind::ApplicationSaid,
        Kind::RunAsked,
        Kind::AlertRaised,
        Kind::DigestNoted,
        Kind::ReviewGiven,
        Kind::RunReviewed,
        Kind::DigestMade,
        Kind::NoticeSent,
        Kind::TaskPosted,
        Kind::TaskEnded,
        Kind::PullRequestOpened,
        Kind::PullRequestEnded,
        Kind::OutcomeObserved,
    ];
    let missing: Vec<&Kind> = Kind::ALL
        .iter()
        .filter(|kind| !met.contains(kind) && !not_met.contains(kind))
        .collect();
    assert!(missing.is_empty(), "nobody told {missing:?}");
    assert_read_by_python(&events);
}
