//! Official descriptions of the forges' APIs as judges: what a request or an answer departs from, and answers that fit.
//!
//! Touches: files, processes (npm and cargo fetch them).
//! Change here: when another description is used, or more of one is held against. GitHub's is the npm package
//! `@octokit/openapi`; Forgejo's comes with the crate `forgejo-api`, which is never built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::javascript::file_of_a_package;

const GITHUB: (&str, &str) = (
    "@octokit/openapi@23.0.2",
    "@octokit/openapi/generated/api.github.com.json",
);

/// An API as its owner describes it.
pub struct Description {
    whole: Value,
    /// What every path begins with, and the description leaves out.
    prefix: &'static str,
    /// Before the name of a shared schema.
    schemas: &'static str,
    judges: Mutex<BTreeMap<String, std::sync::Arc<Validator>>>,
}

/// OpenAPI 3.0.
pub fn github() -> &'static Description {
    static READ: OnceLock<Description> = OnceLock::new();
    READ.get_or_init(|| Description::read(github_file(), "", "#/components/schemas/"))
}

pub fn github_file() -> PathBuf {
    file_of_a_package(&[GITHUB.0], GITHUB.1)
}

/// Swagger 2.0. Null stands for what is not there, and the description says nothing about it.
pub fn forgejo() -> &'static Description {
    static READ: OnceLock<Description> = OnceLock::new();
    READ.get_or_init(|| Description::read(forgejo_file(), "/api/v1", "#/definitions/"))
}

pub fn forgejo_file() -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "cargo cannot fetch the crate forgejo-api: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = told["packages"].as_array().expect("there are packages");
    let package = packages.iter().find(|p| p["name"] == "forgejo-api");
    let manifest = package.expect("it is a dependency of the tests")["manifest_path"].as_str();
    PathBuf::from(manifest.expect("it has a manifest")).with_file_name("swagger.v1.json")
}

/// An operation, and what the path filled in.
struct Found<'a> {
    name: String,
    operation: &'a Value,
    filled: BTreeMap<String, String>,
    /// Parameters that the path's operations share.
    shared: Option<&'a Value>,
}

impl Description {
    fn read(path: PathBuf, prefix: &'static str, schemas: &'static str) -> Description {
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{} cannot be read: {e}", path.display()));
        let whole = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{} is no JSON: {e}", path.display()));
        Description {
            whole,
            prefix,
            schemas,
            judges: Mutex::default(),
        }
    }

    fn is_swagger(&self) -> bool {
        self.whole["swagger"] == "2.0"
    }

    /// How a request departs from it. `path` is as it was sent, `query` decoded.
    pub fn of_request(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        body: Option<&Value>,
    ) -> Vec<String> {
        let Some(found) = self.find(method, path) else {
            return vec![format!("{method} {path}: there is no such operation")];
        };
        let parameters = self.parameters(&found);
        let mut wrong = vec![];
        for (name, value) in &found.filled {
            let is_number = |p: &Value| {
                p["in"] == "path" && p["name"] == name.as_str() && {
                    let schema = if self.is_swagger() { p } else { &p["schema"] };
                    schema["type"] == "integer"
                }
            };
            if parameters.iter().any(|p| is_number(p)) && value.parse::<u64>().is_err() {
                wrong.push(format!("{}: {name} = {value} is no number", found.name));
            }
        }
        for (name, value) in query {
            let known = parameters
                .iter()
                .find(|p| p["in"] == "query" && p["name"] == name.as_str());
            let Some(known) = known else {
                wrong.push(format!("{}: it knows no {name}", found.name));
                continue;
            };
            let schema = if self.is_swagger() {
                *known
            } else {
                &known["schema"]
            };
            wrong.extend(misfit(schema, value).map(|why| format!("{}: {name}: {why}", found.name)));
        }
        let schema = match self.is_swagger() {
            true => parameters
                .iter()
                .find(|p| p["in"] == "body")
                .map(|p| &p["schema"]),
            false => Some(&found.operation["requestBody"]["content"]["application/json"]["schema"]),
        };
        match (schema.filter(|s| !s.is_null()), body) {
            (Some(schema), Some(body)) => {
                let schema = self.closed(schema);
                wrong.extend(self.judge(&format!("{} body", found.name), &schema, body));
            }
            (None, Some(body)) if !body.is_null() => {
                wrong.push(format!("{}: it takes no body, and {body} came", found.name));
            }
            (Some(_), None) if found.operation["requestBody"]["required"] == true => {
                wrong.push(format!("{}: there is no body", found.name));
            }
            _ => {}
        }
        wrong
    }

    /// How an answer departs from it.
    pub fn of_answer(&self, method: &str, path: &str, status: u16, body: &Value) -> Vec<String> {
        let Some(found) = self.find(method, path) else {
            return vec![];
        };
        let Some(schema) = self.answer_schema(&found, status) else {
            // Every operation may be refused for reasons that stand nowhere, such as a limit.
            return match status {
                401 | 403 | 404 | 405 | 409 | 422 | 429 | 500..=599 => vec![],
                _ => vec![format!("{}: it never answers {status}", found.name)],
            };
        };
        if schema.is_null() {
            return vec![];
        }
        let name = format!("{} {status}", found.name);
        match self.is_swagger() {
            true => self.judge(&name, schema, &without_nulls(body)),
            false => self.judge(&name, schema, body),
        }
    }

    /// An answer with everything that has to be in it, and nothing in that.
    pub fn blank(&self, method: &str, path: &str, status: u16) -> Value {
        let found = self.find(method, path);
        let found = found.unwrap_or_else(|| panic!("there is no {method} {path}"));
        let schema = self.answer_schema(&found, status);
        let schema = schema.unwrap_or_else(|| panic!("{} never answers {status}", found.name));
        self.skeleton(schema)
    }

    /// A shared schema with everything that has to be in it.
    pub fn blank_of(&self, schema: &str) -> Value {
        self.skeleton(&json!({ "$ref": format!("{}{schema}", self.schemas) }))
    }

    fn answer_schema<'a>(&'a self, found: &Found<'a>, status: u16) -> Option<&'a Value> {
        let answer = found.operation["responses"].get(status.to_string())?;
        let answer = match answer["$ref"].as_str() {
            Some(reference) => self.resolve(reference),
            None => answer,
        };
        Some(match self.is_swagger() {
            true => &answer["schema"],
            false => &answer["content"]["application/json"]["schema"],
        })
    }

    fn resolve(&self, reference: &str) -> &Value {
        let pointer = reference.trim_start_matches('#');
        self.whole
            .pointer(pointer)
            .unwrap_or_else(|| panic!("the description has no {reference}"))
    }

    fn parameters<'a>(&'a self, found: &Found<'a>) -> Vec<&'a Value> {
        let own = found.operation["parameters"].as_array();
        let shared = found.shared.and_then(Value::as_array);
        let all = own.into_iter().chain(shared).flatten();
        let resolved = all.map(|p| match p["$ref"].as_str() {
            Some(reference) => self.resolve(reference),
            None => p,
        });
        resolved.collect()
    }

    /// The operation whose template fits best: most of it word for word.
    fn find(&self, method: &str, path: &str) -> Option<Found<'_>> {
        let path = path.strip_prefix(self.prefix)?;
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let paths = self.whole["paths"].as_object()?;
        let fits = paths.iter().filter_map(|(template, item)| {
            let operation = item.get(method.to_ascii_lowercase())?;
            let filled = filled(template, &parts)?;
            Some((filled.len(), template, item, operation, filled))
        });
        let (_, template, item, operation, filled) = fits.min_by_key(|(count, ..)| *count)?;
        Some(Found {
            name: format!("{method} {template}"),
            operation,
            filled,
            shared: item.get("parameters"),
        })
    }

    fn judge(&self, name: &str, schema: &Value, value: &Value) -> Vec<String> {
        let mut judges = self.judges.lock().unwrap_or_else(PoisonError::into_inner);
        let judge = judges.entry(name.to_owned()).or_insert_with(|| {
            let whole = self.with_all_it_names(schema);
            let judge = jsonschema::validator_for(&whole);
            std::sync::Arc::new(judge.unwrap_or_else(|e| panic!("{name} is no schema: {e}")))
        });
        let judge = judge.clone();
        drop(judges);
        judge
            .iter_errors(value)
            .map(|e| format!("{name}: {} {e}", e.instance_path()))
            .collect()
    }

    /// A schema that stands for itself, in the words of JSON Schema.
    fn with_all_it_names(&self, schema: &Value) -> Value {
        let mut named = BTreeSet::new();
        let mut open = vec![schema.clone()];
        while let Some(schema) = open.pop() {
            names(&schema, self.schemas, &mut |name| {
                if named.insert(name.to_owned()) {
                    open.push(self.resolve(&format!("{}{name}", self.schemas)).clone());
                }
            });
        }
        let mut whole = nullable(schema.clone());
        let shared: Map<String, Value> = named
            .into_iter()
            .map(|name| {
                let schema = self.resolve(&format!("{}{name}", self.schemas)).clone();
                (name, nullable(schema))
            })
            .collect();
        match self.is_swagger() {
            true => whole["definitions"] = shared.into(),
            false => whole["components"] = json!({ "schemas": shared }),
        }
        whole
    }

    /// A body with a field that nobody knows would be taken and not heeded: it is a mistake.
    fn closed(&self, schema: &Value) -> Value {
        let mut schema = match schema["$ref"].as_str() {
            Some(reference) => self.resolve(reference).clone(),
            None => schema.clone(),
        };
        if schema["properties"].is_object() && schema["additionalProperties"].is_null() {
            schema["additionalProperties"] = false.into();
        }
        schema
    }

    fn skeleton(&self, schema: &Value) -> Value {
        if schema["nullable"] == true {
            return Value::Null;
        }
        if let Some(reference) = schema["$ref"].as_str() {
            return self.skeleton(self.resolve(reference));
        }
        if let Some(first) = schema["enum"].get(0) {
            return first.clone();
        }
        if let Some(all) = schema["allOf"].as_array() {
            let mut merged = Map::new();
            for part in all {
                if let Value::Object(part) = self.skeleton(part) {
                    merged.extend(part);
                }
            }
            return merged.into();
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(first) = schema[choice].get(0) {
                return self.skeleton(first);
            }
        }
        match schema["type"].as_str() {
            Some("string") => "".into(),
            Some("integer" | "number") => 1.into(),
            Some("boolean") => false.into(),
            Some("array") => json!([]),
            _ => {
                let required = schema["required"].as_array();
                let required = required.into_iter().flatten().filter_map(Value::as_str);
                let of = |name: &str| (name.to_owned(), self.skeleton(&schema["properties"][name]));
                required.map(of).collect::<Map<_, _>>().into()
            }
        }
    }
}

/// What the places of a template are filled with; a last `{ref}` may have slashes in it.
fn filled(template: &str, parts: &[&str]) -> Option<BTreeMap<String, String>> {
    let wanted: Vec<&str> = template.trim_matches('/').split('/').collect();
    let open_end = wanted.last() == Some(&"{ref}") && parts.len() > wanted.len();
    if wanted.len() != parts.len() && !open_end {
        return None;
    }
    let mut filled = BTreeMap::new();
    for (nth, want) in wanted.iter().enumerate() {
        let is_last = nth + 1 == wanted.len();
        let part = match is_last {
            true => parts[nth..].join("/"),
            false => parts[nth].to_owned(),
        };
        match want.strip_prefix('{').and_then(|w| w.strip_suffix('}')) {
            Some(name) => drop(filled.insert(name.to_owned(), part)),
            None if *want == part => {}
            None => return None,
        }
    }
    Some(filled)
}

fn misfit(schema: &Value, value: &str) -> Option<String> {
    let allowed = schema["enum"].as_array();
    if allowed.is_some_and(|allowed| !allowed.iter().any(|a| a == value)) {
        return Some(format!("{value:?} is not one of {}", schema["enum"]));
    }
    let is_number = schema["type"] == "integer";
    (is_number && value.parse::<i64>().is_err()).then(|| format!("{value:?} is no number"))
}

fn names(schema: &Value, prefix: &str, found: &mut dyn FnMut(&str)) {
    match schema {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|r| r.strip_prefix(prefix)) {
                found(name);
            }
            fields.values().for_each(|v| names(v, prefix, found));
        }
        Value::Array(all) => all.iter().for_each(|v| names(v, prefix, found)),
        _ => {}
    }
}

/// `nullable` is a word of OpenAPI alone; examples are none of JSON Schema's business.
fn nullable(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            fields.remove("example");
            fields.remove("examples");
            for value in fields.values_mut() {
                *value = nullable(std::mem::take(value));
            }
            if fields.remove("nullable") == Some(Value::Bool(true)) {
                return json!({ "anyOf": [{ "type": "null" }, schema] });
            }
        }
        Value::Array(all) => {
            for value in all.iter_mut() {
                *value = nullable(std::mem::take(value));
            }
        }
        _ => {}
    }
    schema
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let there = fields.iter().filter(|(_, v)| !v.is_null());
            let there = there.map(|(name, v)| (name.clone(), without_nulls(v)));
            there.collect::<Map<_, _>>().into()
        }
        Value::Array(all) => all.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
