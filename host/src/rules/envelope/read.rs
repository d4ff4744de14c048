//! From the bytes of a message back to the event, or to one line that says why not.
//!
//! Touches: nothing.
//! Change here: when a message has to hold something more. Whatever is refused here ends in the list of dead letters, so
//! name the field, quote what was found, and say what to do where the reader can do something.

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{CLOUDEVENTS, Kind, SOURCE, subject};
use crate::event::{Event, Fact, RunId};

/// Of an id, a project or a run, in bytes; ours are far shorter.
const LONGEST_NAME: usize = 200;
/// Of a host's name, as in DNS.
const LONGEST_HOST: usize = 255;
/// How much of a value is quoted, in characters.
const QUOTED: usize = 80;
/// How much of what serde says.
const SAID: usize = 160;

/// Why bytes are no event of ours; one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field} is {found}: {hint}")]
    Unfit {
        field: &'static str,
        found: String,
        hint: String,
    },
}

/// The event in a message, with `seq` 0 and the host that stated it as `origin`.
pub fn unwrap(bytes: &[u8]) -> Result<Event, NotOurs> {
    let message: Value =
        serde_json::from_slice(bytes).map_err(|e| NotOurs::NotJson(line(&e.to_string(), SAID)))?;
    let message = &message;
    if !message.is_object() {
        return Err(unfit("the message", message, "an object is needed"));
    }
    let specversion = text(message, "specversion")?;
    if specversion != CLOUDEVENTS {
        let hint = format!("only CloudEvents {CLOUDEVENTS} is read");
        return Err(unfit("specversion", &specversion.into(), hint));
    }
    let id = id(message)?;
    let origin = host(message)?;
    let kind = kind(message)?;
    let at = time(message)?;
    let project = named(message, "data.customData.project")?;
    let (run, version) = place(message)?;
    let epoch = optional(message, "data.customData.epoch")
        .map(|_| count(message, "data.customData.epoch"))
        .transpose()?
        .unwrap_or_default();
    Ok(Event {
        seq: 0,
        id,
        at,
        project,
        run,
        version,
        epoch,
        origin: Some(origin),
        fact: fact(message, kind)?,
    })
}

fn id(message: &Value) -> Result<String, NotOurs> {
    let id = text(message, "id")?;
    let hint = match id {
        "" => "it must not be empty",
        _ if id.len() > LONGEST_NAME => "it is too long",
        _ if !id.bytes().all(|b| b.is_ascii_graphic()) => "only visible ASCII may stand in it",
        _ => return Ok(id.to_owned()),
    };
    Err(unfit("id", &id.into(), hint))
}

fn host(message: &Value) -> Result<String, NotOurs> {
    let source = text(message, "source")?;
    let no = |hint: &str| unfit("source", &source.into(), hint);
    let host = source
        .strip_prefix(SOURCE)
        .ok_or_else(|| no("it does not begin with /changebus/, so no host of ours stated it"))?;
    let host = percent_decode_str(host)
        .decode_utf8()
        .map_err(|_| no("what it names is not UTF-8"))?;
    if super::source(&host) != source {
        return Err(no("it names no host as /changebus/<host>, percent-encoded"));
    }
    if host.is_empty() || host.len() > LONGEST_HOST || host.chars().any(char::is_control) {
        return Err(no("the host's name is empty, too long or not printable"));
    }
    Ok(host.into_owned())
}

fn kind(message: &Value) -> Result<Kind, NotOurs> {
    let name = text(message, "type")?;
    Kind::named(name).ok_or_else(|| {
        let hint = "no such type is known here; was it written by a newer version?";
        unfit("type", &name.into(), hint)
    })
}

fn time(message: &Value) -> Result<Timestamp, NotOurs> {
    let time = text(message, "time")?;
    time.parse()
        .map_err(|_| unfit("time", &time.into(), "it is no time as RFC 3339 writes it"))
}

/// A run and a place in it come together.
fn place(message: &Value) -> Result<(Option<RunId>, Option<u64>), NotOurs> {
    const RUN: &str = "data.customData.run";
    const VERSION: &str = "data.customData.version";
    match (optional(message, RUN), optional(message, VERSION)) {
        (None, None) => Ok((None, None)),
        (Some(_), None) => Err(NotOurs::Missing(VERSION)),
        (None, Some(_)) => Err(NotOurs::Missing(RUN)),
        (Some(_), Some(found)) => match count(message, VERSION)? {
            0 => Err(unfit(VERSION, found, "places in a run count from 1")),
            version => Ok((Some(RunId(named(message, RUN)?)), Some(version))),
        },
    }
}

fn fact(message: &Value, kind: Kind) -> Result<Fact, NotOurs> {
    const FACT: &str = "data.customData.fact";
    const TYPE: &str = "data.customData.fact.type";
    let tag = text(message, TYPE)?;
    if !Kind::ALL.iter().any(|kind| kind.carries().fact == tag) {
        let hint = "no such fact is known here; was it written by a newer version?";
        return Err(unfit(TYPE, &tag.into(), hint));
    }
    let value = at(message, FACT)?;
    let fact: Fact = serde_json::from_value(value.clone()).map_err(|e| {
        let hint = format!(
            "it cannot be read ({}); was it written by a newer version?",
            line(&e.to_string(), SAID)
        );
        unfit(FACT, value, hint)
    })?;
    let told = Kind::of(&fact);
    if told != kind {
        let hint = format!(
            "a message of type {} cannot carry it, but {} can",
            kind.name(),
            told.name()
        );
        return Err(unfit(TYPE, &tag.into(), hint));
    }
    Ok(fact)
}

/// What stands at a dotted path. `null` is as good as nothing.
fn optional<'a>(message: &'a Value, path: &str) -> Option<&'a Value> {
    let found = path
        .split('.')
        .try_fold(message, |value, key| value.get(key));
    found.filter(|value| !value.is_null())
}

fn at<'a>(message: &'a Value, path: &'static str) -> Result<&'a Value, NotOurs> {
    optional(message, path).ok_or(NotOurs::Missing(path))
}

fn text<'a>(message: &'a Value, path: &'static str) -> Result<&'a str, NotOurs> {
    let found = at(message, path)?;
    found
        .as_str()
        .ok_or_else(|| unfit(path, found, "text is needed"))
}

fn count(message: &Value, path: &'static str) -> Result<u64, NotOurs> {
    let found = at(message, path)?;
    let number = found.as_u64().filter(|n| i64::try_from(*n).is_ok());
    number.ok_or_else(|| unfit(path, found, "a whole number is needed"))
}

/// A name that stands in subjects, branches and paths.
fn named(message: &Value, path: &'static str) -> Result<String, NotOurs> {
    let name = text(message, path)?;
    if name.len() <= LONGEST_NAME && subject::is_token(name) {
        return Ok(name.to_owned());
    }
    let hint = format!(
        "up to {LONGEST_NAME} letters, digits, - and _ may stand in it: it becomes part of subjects, branches and paths"
    );
    Err(unfit(path, &name.into(), hint))
}

fn unfit(field: &'static str, found: &Value, hint: impl Into<String>) -> NotOurs {
    NotOurs::Unfit {
        field,
        found: format!("`{}`", line(&shown(found), QUOTED)),
        hint: hint.into(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// On one line, printable, and not longer than that.
fn line(text: &str, most: usize) -> String {
    let mut line: String = text
        .chars()
        .take(most)
        .flat_map(|c| match c {
            '"' | '\'' | '\\' => vec![c],
            c => c.escape_debug().collect(),
        })
        .collect();
    if text.chars().nth(most).is_some() {
        line.push_str("...");
    }
    line
}
