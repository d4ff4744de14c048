//! What a reader may rely on in the data of a message, as JSON Schema, made from the types themselves.
//!
//! Touches: nothing.
//! Change here: when a schema should say more than the types do. The files in `host/schemas` are kept with
//! `cargo xtask schemas`; a test fails where they differ.
//!
//! A schema asks for what every version has written and lets fields pass that it does not know.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{Kind, Message, ProposedChange, TestSuiteRun, Ticket};

/// Of the `data` of a type's messages.
pub fn of(kind: Kind) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let content = content(kind, &mut generator);
    let mut schema = generator.into_root_schema_for::<Message>().to_value();
    let carries = kind.carries();
    let about = keep_variant(&mut schema, "Fact", "type", carries.fact);
    if let Some(how) = carries.how {
        keep_variant(&mut schema, "Delivery", "how", how);
    }
    schema["$defs"]["Context"]["properties"]["type"] = json!({ "const": kind.name() });
    schema["$defs"]["Subject"]["properties"]["content"] = content;
    let Value::Object(mut root) = schema else {
        return schema;
    };
    drop_unused(&mut root);
    let mut first = Map::from_iter([
        ("$schema".to_owned(), root["$schema"].clone()),
        ("$id".to_owned(), kind.schema_id().into()),
        ("title".to_owned(), kind.name().into()),
    ]);
    if let Some(about) = about {
        first.insert("description".to_owned(), about);
    }
    root.retain(|key, _| !first.contains_key(key) && key != "description");
    first.append(&mut root);
    Value::Object(first)
}

fn content(kind: Kind, generator: &mut SchemaGenerator) -> Value {
    fn told<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
        generator.subschema_for::<T>().to_value()
    }
    match kind {
        Kind::TestSuiteRunFinished => told::<TestSuiteRun>(generator),
        Kind::TicketCreated => told::<Ticket>(generator),
        Kind::ChangeCreated | Kind::ChangeMerged => told::<ProposedChange>(generator),
        _ => json!({ "type": "object" }),
    }
}

/// Leaves of a tagged enum the one variant, and gives what the types say about it.
fn keep_variant(schema: &mut Value, name: &str, tag: &str, value: &str) -> Option<Value> {
    let found = schema["$defs"][name]["oneOf"].as_array().and_then(|all| {
        let is = |variant: &&Value| variant["properties"][tag]["const"] == value;
        all.iter().find(is).cloned()
    });
    let variant = found.unwrap_or(Value::Bool(false));
    let about = variant.get("description").cloned();
    schema["$defs"][name] = variant;
    about
}

fn drop_unused(root: &mut Map<String, Value>) {
    let Some(Value::Object(mut defs)) = root.remove("$defs") else {
        return;
    };
    let mut used = BTreeSet::new();
    let mut waiting = refs(&Value::Object(root.clone()));
    while let Some(name) = waiting.pop() {
        if let Some(def) = defs.get(&name)
            && used.insert(name)
        {
            waiting.extend(refs(def));
        }
    }
    defs.retain(|name, _| used.contains(name));
    defs.sort_keys();
    root.insert("$defs".into(), Value::Object(defs));
}

/// Names of the definitions a value points at.
fn refs(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(to) if key == "$ref" => to
                    .strip_prefix("#/$defs/")
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
                other => refs(other),
            })
            .collect(),
        Value::Array(all) => all.iter().flat_map(refs).collect(),
        _ => vec![],
    }
}
