//! What `[notices.NAME]` and `[digest]` say.
//!
//! Touches: nothing.
//! Change here: when people can be told another way, or at another time.

use std::str::FromStr;

use croner::Cron;
use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, Secret, is_plain_name};

/// A place where people read what ChangeBus has to say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    pub kind: SinkKind,
    /// Where to send to; whoever knows it can send there.
    pub url: Secret,
    /// Of a webhook: signs what is sent.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// What needs people now.
    #[serde(default = "yes")]
    pub alerts: bool,
    #[serde(default = "yes")]
    pub digest: bool,
    /// Only about these; all where none is named.
    #[serde(default)]
    pub projects: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkKind {
    /// A webhook of a Discord channel.
    Discord,
    /// JSON to an address of your own.
    Webhook,
}

/// When the digest is made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DigestTime {
    /// A cron expression: minute, hour, day of the month, month, day of the week. None: never.
    pub at: Option<String>,
    /// As the time zone database calls it, such as `Europe/Berlin`.
    pub time_zone: String,
}

impl Default for DigestTime {
    fn default() -> DigestTime {
        DigestTime {
            at: None,
            time_zone: "UTC".to_owned(),
        }
    }
}

fn yes() -> bool {
    true
}

impl Sink {
    /// Whether it is told of this project.
    pub fn is_about(&self, project: &str) -> bool {
        self.projects.is_empty() || self.projects.iter().any(|p| p == project)
    }
}

type Invalid<'a> = dyn Fn(String, String, &str) -> ConfigError + 'a;

pub(super) fn validate(config: &Config, invalid: &Invalid<'_>) -> Result<(), ConfigError> {
    for (name, sink) in &config.notices {
        let key = |tail: &str| format!("notices.{name}{tail}");
        if !is_plain_name(name) {
            let hint = "use lower-case letters, digits and dashes";
            return Err(invalid(key(""), name.clone(), hint));
        }
        if sink.kind == SinkKind::Discord && sink.secret.is_some() {
            let hint = "only a webhook of your own is signed; remove it";
            return Err(invalid(key(".secret"), "set".to_owned(), hint));
        }
        let unknown = sink
            .projects
            .iter()
            .find(|p| !config.projects.contains_key(*p));
        if let Some(project) = unknown {
            let hint = "there is no such project in this configuration";
            return Err(invalid(key(".projects"), project.clone(), hint));
        }
    }
    if let Some(at) = &config.digest.at
        && let Err(error) = Cron::from_str(at)
    {
        let hint = format!(
            "{error}; write minute, hour, day, month and day of the week, such as 0 8 * * 1-5"
        );
        return Err(invalid("digest.at".to_owned(), at.clone(), &hint));
    }
    let zone = &config.digest.time_zone;
    if jiff::tz::TimeZone::get(zone).is_err() {
        let hint =
            "the time zone database of this machine has none of this name; one is Europe/Berlin";
        return Err(invalid("digest.time_zone".to_owned(), zone.clone(), hint));
    }
    Ok(())
}
