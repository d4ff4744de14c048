//! A plugin's description of its configuration, as JSON Schema, held against the configurations in use.
//!
//! Touches: nothing.
//! Change here: when a schema may say more. It comes from a stranger: whatever could loop or grow is refused first.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Most places that a schema may have once its references are followed.
const PLACES: usize = 5_000;
/// Most references that may lead to one another.
const DEPTH: usize = 32;
/// Keywords that lead elsewhere than a plain reference does.
const ELSEWHERE: [&str; 6] = [
    "$id",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
];

/// A schema ready to be held against values; the error says what is wrong with it.
pub fn compile(schema: &Value) -> Result<Validator, String> {
    places(schema, schema, &mut Vec::new())?;
    jsonschema::options()
        // Takes time in proportion to the text, whatever the pattern.
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| error.to_string())
}

/// Every complaint in one line, each with its key; none where the value fits.
pub fn complaints(schema: &Value, value: &Value) -> Option<String> {
    let validator = match compile(schema) {
        Ok(validator) => validator,
        Err(why) => return Some(why),
    };
    let told: Vec<String> = validator
        .iter_errors(value)
        .take(5)
        .map(|error| {
            let key = error.instance_path().to_string();
            let key = key.trim_start_matches('/').replace('/', ".");
            if key.is_empty() {
                error.to_string()
            } else {
                format!("`{key}`: {error}")
            }
        })
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Counts what a validator would walk, references followed, so that a few lines cannot stand for a million.
fn places<'a>(root: &'a Value, at: &'a Value, via: &mut Vec<&'a str>) -> Result<usize, String> {
    let mut count = 1;
    let mut add = |more: usize| {
        count += more;
        if count > PLACES {
            return Err(format!("it has more than {PLACES} places"));
        }
        Ok(())
    };
    match at {
        Value::Array(items) => {
            for item in items {
                add(places(root, item, via)?)?;
            }
        }
        Value::Object(map) => {
            if let Some(key) = map.keys().find(|key| ELSEWHERE.contains(&key.as_str())) {
                return Err(format!("it uses `{key}`; use `$ref` to `#/$defs/...`"));
            }
            for (key, value) in map {
                match (key.as_str(), value) {
                    // Counted where they are referred to.
                    ("$defs" | "definitions", _) => {}
                    ("$ref", Value::String(to)) => add(referred(root, to, via)?)?,
                    _ => add(places(root, value, via)?)?,
                }
            }
        }
        _ => {}
    }
    Ok(count)
}

fn referred<'a>(root: &'a Value, to: &'a str, via: &mut Vec<&'a str>) -> Result<usize, String> {
    let own = to.starts_with("#/$defs/") || to.starts_with("#/definitions/");
    let target = own.then(|| root.pointer(&to[1..])).flatten();
    let Some(target) = target else {
        return Err(format!("`$ref` to `{to}`, which it does not define"));
    };
    if via.contains(&to) {
        return Err(format!("`{to}` refers to itself"));
    }
    if via.len() == DEPTH {
        return Err(format!("more than {DEPTH} references lead to `{to}`"));
    }
    via.push(to);
    let count = places(root, target, via);
    via.pop();
    count
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_complaint_names_the_key_and_what_is_wrong() {
        let schema = json!({
            "type": "object",
            "properties": {"effort": {"enum": ["low", "high"]}},
            "additionalProperties": false,
        });
        assert_eq!(complaints(&schema, &json!({"effort": "low"})), None);
        let told = complaints(&schema, &json!({"effort": "lo", "tempo": 1})).expect("it is wrong");
        assert!(told.contains("`effort`: \"lo\" is not one of"), "{told}");
        assert!(told.contains("'tempo' was unexpected"), "{told}");
    }

    #[test]
    fn references_are_followed_within_the_schema_only() {
        let schema = json!({
            "$defs": {"effort": {"enum": ["low", "high"]}},
            "properties": {"effort": {"$ref": "#/$defs/effort"}},
        });
        assert_eq!(complaints(&schema, &json!({"effort": "high"})), None);
        assert!(complaints(&schema, &json!({"effort": 3})).is_some());
        for elsewhere in [
            "https://example.org/schema",
            "file:///etc/passwd",
            "#",
            "#/properties/a",
        ] {
            assert!(
                compile(&json!({"properties": {"a": {"$ref": elsewhere}}})).is_err(),
                "{elsewhere}"
            );
        }
    }

    #[test]
    fn a_schema_that_would_never_end_is_refused() {
        let round = json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"});
        assert!(compile(&round).is_err_and(|why| why.contains("refers to itself")));
        let mut defs = serde_json::Map::new();
        for level in 0..20 {
            let next = json!({"$ref": format!("#/$defs/l{}", level + 1)});
            defs.insert(format!("l{level}"), json!({"allOf": [next.clone(), next]}));
        }
        defs.insert("l20".to_owned(), json!(true));
        let laughing = json!({"$defs": defs, "$ref": "#/$defs/l0"});
        assert!(compile(&laughing).is_err_and(|why| why.contains("more than 5000 places")));
    }
}
