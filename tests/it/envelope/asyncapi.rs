//! Every subject and what goes under it, as an AsyncAPI document made from the code.
//!
//! Touches: files.
//! Change here: when the document should tell more. It is kept in `docs/asyncapi.json` by `cargo xtask schemas`.

use std::collections::{BTreeMap, BTreeSet};

use changebus::event::{Event, Fact};
use changebus::rules::envelope::{self, CONTENT_TYPE, Kind};
use serde_json::{Value, json};

use super::{kept, pretty, root, samples, schema_file};

/// What stands for any project.
const PROJECT: &str = "{project}";

/// Address of a subject, and the types of what goes there.
fn addresses() -> BTreeMap<String, BTreeSet<Kind>> {
    let mut all: BTreeMap<String, BTreeSet<Kind>> = BTreeMap::new();
    for event in samples() {
        let kinds = all.entry(address(&event)).or_default();
        kinds.insert(Kind::of(&event.fact));
    }
    all
}

fn address(event: &Event) -> String {
    match &event.fact {
        Fact::AppSaid { .. } => "app.{app}.{event}".to_owned(),
        fact => fact.subject(PROJECT),
    }
}

fn document() -> Value {
    let addresses = addresses();
    let channels: BTreeMap<String, Value> = addresses
        .iter()
        .map(|(address, kinds)| (name(address), channel(address, kinds)))
        .collect();
    let operations: BTreeMap<String, Value> = addresses
        .keys()
        .map(|address| (format!("tell.{}", name(address)), operation(address)))
        .collect();
    let messages: BTreeMap<&str, Value> = Kind::ALL
        .into_iter()
        .map(|kind| (kind.name(), message(kind)))
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "ChangeBus",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What ChangeBus tells the world, as docs/events.md explains it. Every address stands behind \
                the prefix of subjects that the operator chose, if any.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": { "envelope": envelope() } },
    })
}

/// What may stand in an address.
const PARAMETERS: [(&str, &str); 3] = [
    (
        "project",
        "Name of the project in the configuration, or `_all` for none or all of them.",
    ),
    ("app", "Name of the application in the configuration."),
    (
        "event",
        "What the application calls it; words with dots between them.",
    ),
];

fn name(address: &str) -> String {
    let without = |name: String, (parameter, _): &(&str, &str)| {
        name.replace(&format!(".{{{parameter}}}"), "")
    };
    PARAMETERS.iter().fold(address.to_owned(), without)
}

fn channel(address: &str, kinds: &BTreeSet<Kind>) -> Value {
    let messages: BTreeMap<&str, Value> = kinds
        .iter()
        .map(|kind| {
            let to = format!("#/components/messages/{}", kind.name());
            (kind.name(), json!({ "$ref": to }))
        })
        .collect();
    let parameters: BTreeMap<&str, Value> = PARAMETERS
        .into_iter()
        .filter(|(name, _)| address.contains(&format!("{{{name}}}")))
        .map(|(name, meaning)| (name, json!({ "description": meaning })))
        .collect();
    json!({
        "address": address,
        "messages": messages,
        "parameters": parameters,
    })
}

fn operation(address: &str) -> Value {
    let to = format!("#/channels/{}", name(address));
    json!({ "action": "send", "channel": { "$ref": to } })
}

fn message(kind: Kind) -> Value {
    let file = schema_file(kind);
    let file = file.strip_prefix(root()).expect("it is in the workspace");
    json!({
        "name": kind.name(),
        "summary": format!("Its data is what {} says.", file.display()),
        "contentType": CONTENT_TYPE,
        "payload": { "allOf": [
            { "$ref": "#/components/schemas/envelope" },
            { "type": "object", "properties": { "type": { "const": kind.name() } } },
        ] },
    })
}

fn envelope() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    json!({
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"],
        "properties": {
            "specversion": { "const": "1.0" },
            "id": text,
            "source": { "type": "string", "format": "uri-reference" },
            "type": text,
            "subject": text,
            "time": { "type": "string", "format": "date-time" },
            "datacontenttype": { "const": "application/json" },
            "dataschema": { "type": "string", "format": "uri" },
            "data": { "type": "object", "required": ["context", "subject", "customData", "customDataContentType"] },
        },
    })
}

#[test]
fn the_asyncapi_document_lists_every_subject_and_type() {
    kept(&root().join("docs/asyncapi.json"), &pretty(&document()));
}

#[test]
fn the_page_for_readers_names_every_subject_and_type_and_its_example_is_one() {
    let page = std::fs::read_to_string(root().join("docs/events.md")).expect("the page is there");
    for (address, kinds) in addresses() {
        let tail = address.rsplit('.').next().unwrap_or_default();
        for kind in kinds {
            let row = page
                .lines()
                .find(|line| line.contains(&format!("`{}`", kind.name())));
            let row = row.unwrap_or_else(|| panic!("{} is not in docs/events.md", kind.name()));
            let named =
                row.contains(&format!("`{address}`")) || row.contains(&format!("`.{tail}`"));
            assert!(
                named,
                "{address} is not in docs/events.md with {}",
                kind.name()
            );
        }
    }
    let example = page
        .split("```")
        .nth(1)
        .and_then(|e| e.strip_prefix("json"));
    let example = example.expect("the page has an example");
    let event = envelope::unwrap(example.as_bytes()).expect("it can be read");
    let again = envelope::wrap(&event, "").json().expect("JSON");
    let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
    assert_eq!(value(example.as_bytes()), value(&again));
}

/// The document names the subject of this event, and its type under it.
pub fn assert_listed(event: &Event) {
    let address = address(event);
    let kinds = addresses().remove(&address);
    let listed = kinds.is_some_and(|kinds| kinds.contains(&Kind::of(&event.fact)));
    assert!(
        listed,
        "no sample in host/src/rules/envelope/samples.json goes to {address}"
    );
}
