//! What `[apps.NAME]` says.
//!
//! Touches: nothing.
//! Change here: when something else can become of what an application says, or a text can quote something new.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Config, ConfigError, Secret, is_plain_name};

/// An external application that may publish `app.NAME.EVENT`; one that is not named is not heard.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct App {
    /// What it has to show over HTTP; without one it is not heard there.
    pub token: Option<Secret>,
    /// The most its data may come to, as compact JSON.
    pub max_kib: u32,
    /// Each that fits is taken.
    pub routes: Vec<Route>,
}

/// What becomes of some of the messages: exactly one of `start`, `alert`, `digest`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// A glob.
    pub event: String,
    /// Fields that have to hold these values, such as `"data.branch" = "main"`.
    #[serde(rename = "where")]
    pub fits: BTreeMap<String, Value>,
    /// A project whose branch is looked at now instead of when its time has come.
    pub start: Option<String>,
    /// Texts that may quote fields: `{data.version} is out`.
    pub alert: Option<String>,
    pub digest: Option<String>,
    /// Which project the text is about; all of them where none is named.
    pub project: Option<String>,
}

impl Default for App {
    fn default() -> App {
        App {
            token: None,
            max_kib: 256,
            routes: vec![],
        }
    }
}

/// A larger message would not fit into one of a NATS server's with its usual settings.
const MOST_KIB: u32 = 960;

/// Part of a text that may quote fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Words(&'a str),
    Field(&'a str),
}

/// The text in pieces. `{{` and `}}` stand for the braces themselves.
///
/// # Errors
/// Says what is wrong with the text.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let (mut found, mut rest) = (vec![], text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        found.push(Piece::Words(before));
        if brace.starts_with("{{") || brace.starts_with("}}") {
            found.push(Piece::Words(&brace[..1]));
            rest = &brace[2..];
            continue;
        }
        let inside = brace.strip_prefix('{').and_then(|b| b.split_once('}'));
        let Some((field, after)) = inside else {
            return Err("a brace stands alone; write it twice to mean the brace".to_owned());
        };
        if !is_field(field) {
            return Err(format!("{{{field}}} {FIELDS}"));
        }
        found.push(Piece::Field(field));
        rest = after;
    }
    found.push(Piece::Words(rest));
    Ok(found)
}

const FIELDS: &str =
    "is no field: there are data.NAME (and deeper), event, id, source, type and about";

fn is_field(path: &str) -> bool {
    let deeper = path.strip_prefix("data.");
    matches!(path, "data" | "event" | "id" | "source" | "type" | "about")
        || deeper.is_some_and(|d| d.split('.').all(|part| !part.is_empty()))
}

pub(super) type Invalid<'a> = dyn Fn(String, String, &str) -> ConfigError + 'a;

pub(super) fn validate(config: &Config, invalid: &Invalid<'_>) -> Result<(), ConfigError> {
    for (name, app) in &config.apps {
        let key = format!("apps.{name}");
        if !is_plain_name(name) {
            let hint = "use lower-case letters, digits and dashes: the name stands in subjects and addresses";
            return Err(invalid(key, name.clone(), hint));
        }
        if !(1..=MOST_KIB).contains(&app.max_kib) {
            let hint = format!("must be 1 to {MOST_KIB}");
            let value = app.max_kib.to_string();
            return Err(invalid(format!("{key}.max_kib"), value, &hint));
        }
        for (nth, route) in app.routes.iter().enumerate() {
            let key = format!("{key}.routes[{nth}]");
            let no =
                |(tail, value, hint): Wrong| invalid(format!("{key}.{tail}"), value, hint.as_str());
            route.validate(config).map_err(no)?;
        }
    }
    Ok(())
}

/// Key, value, and what to do.
type Wrong = (&'static str, String, String);

impl Route {
    fn validate(&self, config: &Config) -> Result<(), Wrong> {
        if self.event.is_empty() {
            let hint = "name the event, or a glob such as * for all of them".to_owned();
            return Err(("event", "\"\"".to_owned(), hint));
        }
        globset::Glob::new(&self.event)
            .map_err(|e| ("event", self.event.clone(), e.to_string()))?;
        let is_simple = |v: &Value| v.is_string() || v.is_number() || v.is_boolean();
        for (field, value) in &self.fits {
            if !is_field(field) {
                return Err(("where", field.clone(), FIELDS.to_owned()));
            }
            if !is_simple(value) {
                let hint = "compare with a text, a number, true or false".to_owned();
                return Err(("where", value.to_string(), hint));
            }
        }
        let ends = [&self.start, &self.alert, &self.digest];
        if ends.into_iter().flatten().count() != 1 {
            let hint =
                "name exactly one of start, alert and digest; two routes may fit the same event"
                    .to_owned();
            return Err(("start", "not one".to_owned(), hint));
        }
        for (key, named) in [("start", &self.start), ("project", &self.project)] {
            if let Some(project) = named.as_ref().filter(|p| !config.projects.contains_key(*p)) {
                let hint = "there is no such project in this configuration".to_owned();
                return Err((key, project.clone(), hint));
            }
        }
        if let (Some(_), Some(project)) = (&self.start, &self.project) {
            let hint = "`start` names the project already".to_owned();
            return Err(("project", project.clone(), hint));
        }
        for (key, text) in [("alert", &self.alert), ("digest", &self.digest)] {
            if let Some(text) = text {
                pieces(text).map_err(|why| (key, text.clone(), why))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_quotes_fields_and_nothing_else() {
        let quoted = pieces("{data.app.version} of {source}, {{really}}").unwrap();
        let fields: Vec<_> = quoted
            .iter()
            .filter(|p| matches!(p, Piece::Field(_)))
            .collect();
        assert_eq!(
            fields,
            [&Piece::Field("data.app.version"), &Piece::Field("source")]
        );
        for wrong in ["{", "}", "a {b", "{env}", "{data.}", "{data..x}"] {
            assert!(pieces(wrong).is_err(), "{wrong}");
        }
    }
}
