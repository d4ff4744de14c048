//! What a package says of itself, as far as it decides about whoever uses it.
//!
//! Touches: nothing.
//! Change here: when another word of a manifest matters to users of a package.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Texts, kinds};

const NPM: [&str; 10] = [
    "/type",
    "/main",
    "/module",
    "/types",
    "/exports",
    "/bin",
    "/engines",
    "/dependencies",
    "/peerDependencies",
    "/optionalDependencies",
];
const CARGO: [&str; 5] = [
    "/package/rust-version",
    "/package/edition",
    "/package/links",
    "/features",
    "/dependencies",
];
const PYTHON: [&str; 3] = ["/Requires-Python", "/Requires-Dist", "/Provides-Extra"];

/// Of one word.
const MOST_KEYS: usize = 12;
const LONGEST_VALUE: usize = 180;

/// A line for each word that is other than before.
pub fn changed(before: &Texts, after: &Texts) -> Vec<String> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of_file = |path: &String| {
        let words = words(path)?;
        let read = |texts: &Texts| texts.get(path).map_or(Value::Null, |text| read(path, text));
        let name = path.rsplit('/').next().unwrap_or_default();
        let found = compared(words, &read(before), &read(after)).into_iter();
        Some(
            found
                .map(move |line| format!("{name}: {line}"))
                .collect::<Vec<_>>(),
        )
    };
    paths.into_iter().filter_map(of_file).flatten().collect()
}

/// What is looked at in a manifest; None for another file.
fn words(path: &str) -> Option<&'static [&'static str]> {
    match path {
        "package.json" => Some(&NPM),
        "Cargo.toml" => Some(&CARGO),
        path if kinds::is_python_metadata(path) => Some(&PYTHON),
        _ => None,
    }
}

/// Nothing of what cannot be read.
fn read(path: &str, text: &str) -> Value {
    match path {
        "package.json" => serde_json::from_str(text).unwrap_or_default(),
        "Cargo.toml" => toml::from_str(text).unwrap_or_default(),
        _ => python(text),
    }
}

/// The head of it, in which a line may begin with blanks to go on with the one before.
fn python(text: &str) -> Value {
    let mut said = Map::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        let Some((key, value)) = line.split_once(": ") else {
            continue;
        };
        match key {
            "Requires-Dist" | "Provides-Extra" => {
                let end = value.find(|c: char| !c.is_alphanumeric() && !"._-[]".contains(c));
                let (name, rest) = value.split_at(end.unwrap_or(value.len()));
                let all = said.entry(key).or_insert_with(|| Value::Object(Map::new()));
                let Some(all) = all.as_object_mut() else {
                    continue;
                };
                // One for each marker.
                let more = all
                    .get(name)
                    .and_then(Value::as_str)
                    .map(|had| format!("{had} or "));
                // Builders quote markers and set blanks as they like.
                let parts: Vec<&str> = rest.split(';').map(str::trim).collect();
                let rest = parts.join("; ").replace('"', "'");
                let rest = format!("{}{rest}", more.unwrap_or_default());
                all.insert(name.to_owned(), Value::String(rest));
            }
            _ => {
                said.insert(key.to_owned(), Value::String(value.to_owned()));
            }
        }
    }
    Value::Object(said)
}

fn compared(words: &[&str], before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for word in words {
        let (old, new) = (before.pointer(word), after.pointer(word));
        let name = word.rsplit('/').next().unwrap_or_default();
        match (
            old.and_then(Value::as_object),
            new.and_then(Value::as_object),
        ) {
            (None, None) => lines.extend(line(&format!("{name:?}"), old, new)),
            (old, new) => {
                let keys = old.into_iter().chain(new).flat_map(Map::keys);
                let keys: BTreeSet<&String> = keys.collect();
                let found = keys.into_iter().filter_map(|key| {
                    let name = format!("{name:?}: {key:?}");
                    let at = |map: Option<&Map<String, Value>>| map?.get(key).cloned();
                    line(&name, at(old).as_ref(), at(new).as_ref())
                });
                let found: Vec<String> = found.collect();
                let more = found.len().saturating_sub(MOST_KEYS);
                lines.extend(found.into_iter().take(MOST_KEYS));
                lines.extend((more > 0).then(|| format!("{name:?}: {more} more")));
            }
        }
    }
    lines
}

fn line(name: &str, old: Option<&Value>, new: Option<&Value>) -> Option<String> {
    let said = |value: Option<&Value>| match value {
        Some(value) => {
            let text = value.to_string();
            text[..text.floor_char_boundary(LONGEST_VALUE)].to_owned()
        }
        None => "nothing".to_owned(),
    };
    (old != new).then(|| format!("{name}: {} (before: {})", said(new), said(old)))
}
