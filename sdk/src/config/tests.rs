//! What a schema says, held against what serde reads.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Config;
use crate::config::{Field, Schema};
use crate::json::Json;

fn schema<T: Config>() -> Value {
    // Long enough for any schema of these tests; what it does not fill is cut off.
    let mut measure = Json::<0>::new();
    T::SCHEMA.write(&mut measure);
    let mut json = Json::<4096>::new();
    T::SCHEMA.write(&mut json);
    assert_eq!(measure.len(), json.len());
    serde_json::from_slice(json.written()).expect("a schema is JSON")
}

/// How a "judge" judges.
///
/// Twice
/// over.
#[derive(Debug, PartialEq, Deserialize, Config)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    on: bool,
    /// A share, 0 to 1.
    #[config(min = 0, max = 1)]
    least_share: f64,
    #[config(min = -1.5)]
    bias: Option<f32>,
    #[config(max = 20)]
    probes: u8,
    model: Option<String>,
    #[serde(default, rename = "retries")]
    again: u32,
    effort: Effort,
    paths: Vec<String>,
    weights: BTreeMap<String, f64>,
    inner: Inner,
    #[serde(skip)]
    cached: usize,
    r#type: Value,
}

#[derive(Debug, PartialEq, Deserialize, Config)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
enum Effort {
    Low,
    VeryHigh,
    #[serde(rename = "max")]
    Most,
}

/// A part of its own.
#[derive(Debug, Default, PartialEq, Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Inner {
    deep: i64,
}

#[test]
fn a_struct_becomes_a_schema_of_its_table() {
    let expected = json!({
        "description": "How a \"judge\" judges.\nTwice over.",
        "type": "object",
        "properties": {
            "on": {"type": "boolean"},
            "least-share": {"description": "A share, 0 to 1.", "type": "number", "minimum": 0, "maximum": 1},
            "bias": {"type": "number", "minimum": -1.5},
            "probes": {"type": "integer", "minimum": 0, "maximum": 20},
            "model": {"type": "string"},
            "retries": {"type": "integer", "minimum": 0, "maximum": 4294967295u32},
            "effort": {"type": "string", "enum": ["LOW", "VERY-HIGH", "max"]},
            "paths": {"type": "array", "items": {"type": "string"}},
            "weights": {"type": "object", "additionalProperties": {"type": "number"}},
            "inner": {
                "description": "A part of its own.",
                "type": "object",
                "properties": {"deep": {"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}},
                "additionalProperties": false,
            },
            "type": {},
        },
        "required": ["on", "least-share", "probes", "effort", "paths", "weights", "inner", "type"],
        "additionalProperties": false,
    });
    assert_eq!(schema::<Settings>(), expected);
}

#[test]
fn serde_reads_what_the_schema_asks_for_and_no_less() {
    let schema = schema::<Settings>();
    let whole = json!({
        "on": true, "least-share": 0.5, "probes": 3, "effort": "VERY-HIGH", "paths": [], "weights": {},
        "inner": {}, "type": 1,
    });
    let names = schema["required"].as_array().expect("a list");
    assert_eq!(names.len(), whole.as_object().expect("a table").len());
    assert!(serde_json::from_value::<Settings>(whole.clone()).is_ok());
    for name in names.iter().filter_map(Value::as_str) {
        let mut less = whole.clone();
        less.as_object_mut().expect("a table").remove(name);
        let read = serde_json::from_value::<Settings>(less);
        assert!(read.is_err(), "{name}");
    }
}

#[test]
fn a_table_without_keys_allows_none() {
    let empty = json!({"type": "object", "properties": {}, "additionalProperties": false});
    assert_eq!(schema::<()>(), empty);
    let open = json!({"type": "object", "additionalProperties": {}});
    assert_eq!(schema::<BTreeMap<String, Value>>(), open);
}

#[test]
fn only_a_table_is_a_configuration() {
    assert!(Settings::SCHEMA.is_table() && <BTreeMap<String, bool>>::SCHEMA.is_table());
    assert!(!Effort::SCHEMA.is_table() && !<Vec<Settings>>::SCHEMA.is_table());
}

#[test]
fn text_of_any_kind_stays_json() {
    struct Odd;
    impl Config for Odd {
        const SCHEMA: Schema = Schema::table(
            "tab\tand \\ and \u{1} and ü",
            &[Field::new::<bool>("quote\"d", "", false)],
        );
    }
    let odd = schema::<Odd>();
    assert_eq!(odd["description"], "tab\tand \\ and \u{1} and ü");
    assert_eq!(odd["required"], json!(["quote\"d"]));
}
