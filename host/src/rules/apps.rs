//! What external applications say: from bytes to a message, and from a message to what the configuration makes of it.
//!
//! Touches: nothing.
//! Change here: when a message may come in another form, or something else can become of one. What an application has
//! to send is told in `docs/apps.md`.
//!
//! Whatever is made of a message has an id that follows from the message's, so that several hosts that make the same of
//! it have made it once.

use std::collections::BTreeMap;

use globset::Glob;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::{App, Piece, Route, pieces};
use crate::event::{ALL_PROJECTS, AppMessage, Asked, Event, Fact, Remark};

/// Something an application sent, whichever way it came.
#[derive(Clone, Debug)]
pub struct Said<'a> {
    pub app: &'a str,
    pub event: &'a str,
    pub content_type: Option<&'a str>,
    /// Attributes of a CloudEvent that came beside its data, by name.
    pub attributes: BTreeMap<String, String>,
    pub body: &'a [u8],
    /// What it was sent under; counts where the message itself has no id.
    pub id: String,
}

/// Why a message is not taken; one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("{0:?} is no application this host knows: add [apps.{0}] to its configuration")]
    Unknown(String),
    #[error(
        "{0:?} is no name for an event: words of letters, digits, `-` and `_` with dots between them, at most \
         {LONGEST_EVENT} bytes"
    )]
    Name(String),
    #[error(
        "it is {bytes} bytes, and apps.{app}.max_kib allows {}", .most_kib * 1024
    )]
    TooLarge {
        app: String,
        bytes: usize,
        most_kib: usize,
    },
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("{field} {why}")]
    Unfit { field: String, why: String },
}

const CLOUDEVENTS: &str = "1.0";
/// What stands before the name of an attribute that comes as a header.
const ATTRIBUTE: &str = "ce-";
/// Types of messages that only hosts send.
const OURS: &str = "dev.cdeventsx.changebus-";
const LONGEST_EVENT: usize = 120;
/// Of an id, a source, a type or what it is about, in bytes.
const LONGEST_ATTRIBUTE: usize = 512;
/// Of a field that a text quotes, and of the text, in characters.
const QUOTED: usize = 200;
const LONGEST_TEXT: usize = 1000;

/// What of the headers of a message are attributes of a CloudEvent.
pub fn attributes<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, String> {
    let attribute = |(name, value): (&str, &str)| {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix(ATTRIBUTE)?;
        let value = percent_decode_str(value).decode_utf8_lossy();
        Some((name.to_owned(), value.into_owned()))
    };
    headers.filter_map(attribute).collect()
}

/// Application and event of a subject, where it is one of an application.
pub fn of_subject(subject: &str) -> Option<(&str, &str)> {
    subject.strip_prefix("app.")?.split_once('.')
}

/// The message, if it is one and the application may send it.
pub fn read(apps: &BTreeMap<String, App>, said: &Said<'_>) -> Result<AppMessage, NotTaken> {
    let app = apps
        .get(said.app)
        .ok_or_else(|| NotTaken::Unknown(cut(said.app, QUOTED)))?;
    if !is_event(said.event) {
        return Err(NotTaken::Name(cut(said.event, QUOTED)));
    }
    let most_kib = usize::try_from(app.max_kib).unwrap_or(usize::MAX);
    let bytes = said.body.len();
    if bytes > most_kib.saturating_mul(1024) {
        return Err(NotTaken::TooLarge {
            app: said.app.to_owned(),
            bytes,
            most_kib,
        });
    }
    let body = || {
        serde_json::from_slice::<Value>(said.body)
            .map_err(|e| NotTaken::NotJson(cut(&e.to_string(), QUOTED)))
    };
    let media = said.content_type.unwrap_or_default();
    let media = media
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if media.starts_with("application/cloudevents-batch") {
        return unfit("the content type", "is a batch: send one event at a time");
    }
    if said.attributes.contains_key("specversion") {
        let attributes = said.attributes.iter();
        let mut whole: serde_json::Map<String, Value> = attributes
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        let data = match said.body {
            [] => Value::Null,
            _ => body()?,
        };
        whole.insert("data".into(), data);
        return cloud_event(said, whole);
    }
    match body()? {
        Value::Object(whole)
            if media.starts_with("application/cloudevents")
                || whole.contains_key("specversion") =>
        {
            cloud_event(said, whole)
        }
        _ if media.starts_with("application/cloudevents") => {
            unfit("the message", "is no object, as a CloudEvent is")
        }
        data => Ok(AppMessage {
            app: said.app.to_owned(),
            event: said.event.to_owned(),
            id: attribute("the message's id", &said.id)?,
            source: format!("/apps/{}", said.app),
            kind: subject(said.app, said.event),
            time: None,
            about: None,
            data,
        }),
    }
}

fn cloud_event(
    said: &Said<'_>,
    mut whole: serde_json::Map<String, Value>,
) -> Result<AppMessage, NotTaken> {
    let version = text(&whole, "specversion")?;
    if version.as_deref() != Some(CLOUDEVENTS) {
        let found = cut(&version.unwrap_or_default(), QUOTED);
        return unfit(
            "specversion",
            &format!("is {found:?}: only CloudEvents {CLOUDEVENTS} is read"),
        );
    }
    if whole.contains_key("data_base64") {
        return unfit("data_base64", "is not read: send JSON as `data`");
    }
    let needed = |name: &str| {
        let found = text(&whole, name)?;
        found.ok_or_else(|| NotTaken::Unfit {
            field: name.to_owned(),
            why: "is missing".to_owned(),
        })
    };
    let (id, source, kind) = (needed("id")?, needed("source")?, needed("type")?);
    if kind.starts_with(OURS) {
        return unfit("type", &format!("is {kind:?}, which only hosts send"));
    }
    let time = text(&whole, "time")?
        .map(|time| {
            time.parse::<Timestamp>().map_err(|_| NotTaken::Unfit {
                field: "time".to_owned(),
                why: format!("is {:?}: write it as RFC 3339 does", cut(&time, QUOTED)),
            })
        })
        .transpose()?;
    Ok(AppMessage {
        app: said.app.to_owned(),
        event: said.event.to_owned(),
        id,
        source,
        kind,
        time,
        about: text(&whole, "subject")?,
        data: whole.remove("data").unwrap_or_default(),
    })
}

fn text(whole: &serde_json::Map<String, Value>, name: &str) -> Result<Option<String>, NotTaken> {
    match whole.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => attribute(name, text).map(Some),
        Some(other) => unfit(
            name,
            &format!(
                "is {}, and a text is needed",
                cut(&other.to_string(), QUOTED)
            ),
        ),
    }
}

fn attribute(name: &str, value: &str) -> Result<String, NotTaken> {
    if value.is_empty() {
        return unfit(name, "is empty");
    }
    if value.len() > LONGEST_ATTRIBUTE {
        return unfit(name, &format!("is longer than {LONGEST_ATTRIBUTE} bytes"));
    }
    if value.chars().any(char::is_control) {
        return unfit(name, "holds characters that cannot be printed");
    }
    Ok(value.to_owned())
}

fn unfit<T>(field: &str, why: &str) -> Result<T, NotTaken> {
    Err(NotTaken::Unfit {
        field: field.to_owned(),
        why: why.to_owned(),
    })
}

fn is_event(event: &str) -> bool {
    let is_word = |word: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !word.is_empty() && word.bytes().all(fits)
    };
    event.len() <= LONGEST_EVENT && event.split('.').all(is_word)
}

fn subject(app: &str, event: &str) -> String {
    format!("app.{app}.{event}")
}

/// A message as an event of every log; the same message is the same event wherever and however often it comes.
pub fn event(message: AppMessage, at: Timestamp) -> Event {
    stated(id(&message), at, ALL_PROJECTS, Fact::AppSaid { message })
}

/// An event with an id of its own, that belongs to no run.
pub(super) fn stated(id: String, at: Timestamp, project: &str, fact: Fact) -> Event {
    Event {
        seq: 0,
        id,
        at,
        project: project.to_owned(),
        run: None,
        version: None,
        epoch: 0,
        origin: None,
        fact,
    }
}

/// Whether an event that another host tells has the id its message gives it: nobody takes the place of another's message.
pub fn is_itself(event: &Event) -> bool {
    match &event.fact {
        Fact::AppSaid { message } => event.id == id(message) && event.run.is_none(),
        _ => true,
    }
}

fn id(message: &AppMessage) -> String {
    derived(&["app", &message.app, &message.source, &message.id])
}

/// What the configuration makes of a message.
pub fn consequences(apps: &BTreeMap<String, App>, said: &Event) -> Vec<Event> {
    let Fact::AppSaid { message } = &said.fact else {
        return vec![];
    };
    let routes = apps.get(&message.app).map_or(&[][..], |app| &app.routes);
    let taken = routes
        .iter()
        .enumerate()
        .filter(|(_, route)| fits(route, message));
    taken
        .filter_map(|(nth, route)| consequence(route, nth, message, said))
        .collect()
}

fn consequence(route: &Route, nth: usize, message: &AppMessage, said: &Event) -> Option<Event> {
    let because = said.id.clone();
    let remark = |text: &str| Remark {
        text: filled(text, message),
        because: because.clone(),
    };
    let about = route.project.as_deref().unwrap_or(ALL_PROJECTS);
    let (project, fact) = match (&route.start, &route.alert, &route.digest) {
        (Some(project), ..) => {
            let by = subject(&message.app, &message.event);
            let asked = Asked { because, by };
            (project.as_str(), Fact::StartAsked { asked })
        }
        (_, Some(text), _) => (
            about,
            Fact::Alerted {
                remark: remark(text),
            },
        ),
        (_, _, Some(text)) => (
            about,
            Fact::Noted {
                remark: remark(text),
            },
        ),
        _ => return None,
    };
    let id = derived(&["route", &said.id, &nth.to_string()]);
    Some(stated(id, said.at, project, fact))
}

fn fits(route: &Route, message: &AppMessage) -> bool {
    // The configuration has checked the glob.
    let event = Glob::new(&route.event).is_ok_and(|g| g.compile_matcher().is_match(&message.event));
    let holds = |(path, wanted): (&String, &Value)| {
        field(message, path).is_some_and(|found| is_same(&found, wanted))
    };
    event && route.fits.iter().all(holds)
}

/// Numbers are the same when they are worth the same.
fn is_same(found: &Value, wanted: &Value) -> bool {
    match (found.as_f64(), wanted.as_f64()) {
        (Some(found), Some(wanted)) => found == wanted,
        _ => found == wanted,
    }
}

fn field(message: &AppMessage, path: &str) -> Option<Value> {
    Some(match path {
        "event" => message.event.clone().into(),
        "id" => message.id.clone().into(),
        "source" => message.source.clone().into(),
        "type" => message.kind.clone().into(),
        "about" => message.about.clone()?.into(),
        "data" => message.data.clone(),
        path => {
            let mut found = &message.data;
            for part in path.strip_prefix("data.")?.split('.') {
                found = match found {
                    Value::Array(all) => all.get(part.parse::<usize>().ok()?)?,
                    other => other.get(part)?,
                };
            }
            found.clone()
        }
    })
}

/// The text with the fields it quotes.
fn filled(text: &str, message: &AppMessage) -> String {
    // The configuration has checked the text.
    let all = pieces(text).unwrap_or_default();
    let words = all.into_iter().map(|piece| match piece {
        Piece::Words(words) => words.to_owned(),
        Piece::Field(path) => match field(message, path) {
            Some(Value::String(text)) => cut(&text, QUOTED),
            Some(other) => cut(&other.to_string(), QUOTED),
            None => format!("({path} is missing)"),
        },
    });
    cut(&words.collect::<String>(), LONGEST_TEXT)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A UUID (version 8) that follows from these words alone.
pub(super) fn derived(words: &[&str]) -> String {
    let mut hash = Sha256::new();
    for word in words {
        hash.update((word.len() as u64).to_be_bytes());
        hash.update(word);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Uuid::new_v8(bytes).to_string()
}

#[cfg(test)]
mod tests;
