//! What `[http]` says: where this host listens, under which names, and who may decide on its page.
//!
//! Touches: nothing.
//! Change here: when the page needs another setting.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::apps::Invalid;
use super::{Config, ConfigError, Secret, is_plain_name};

/// What this host listens on; nothing where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    pub listen: Option<SocketAddr>,
    /// Names that browsers reach the page under, beside the address itself, such as that of a proxy.
    pub names: Vec<String>,
    /// Who may sign in on the page, and where their token is.
    pub people: BTreeMap<String, Secret>,
}

impl Http {
    /// Whoever can reach the page may read it: only this machine can, and no proxy stands before it.
    pub fn is_open_to_readers(&self) -> bool {
        let is_loopback = |address: SocketAddr| address.ip().is_loopback();
        self.names.is_empty() && self.listen.is_none_or(is_loopback)
    }
}

pub(super) fn validate(config: &Config, invalid: &Invalid<'_>) -> Result<(), ConfigError> {
    for name in &config.http.names {
        if !is_host_name(name) {
            let hint =
                "write the name as it stands in the address, in lower case and without a port";
            return Err(invalid("http.names".into(), name.clone(), hint));
        }
    }
    for name in config.http.people.keys() {
        if !is_plain_name(name) {
            let hint =
                "use lower-case letters, digits and dashes: the name stands in commits and cookies";
            return Err(invalid(format!("http.people.{name}"), name.clone(), hint));
        }
    }
    Ok(())
}

fn is_host_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    !name.is_empty() && name.len() <= 253 && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_without_another_name_is_read_without_signing_in() {
        let http = |listen: &str, names: &[&str]| Http {
            listen: Some(listen.parse().unwrap()),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            people: BTreeMap::new(),
        };
        assert!(http("127.0.0.1:7117", &[]).is_open_to_readers());
        assert!(http("[::1]:7117", &[]).is_open_to_readers());
        assert!(!http("127.0.0.1:7117", &["bus.example.org"]).is_open_to_readers());
        assert!(!http("0.0.0.0:7117", &[]).is_open_to_readers());
        assert!(!http("192.0.2.7:7117", &[]).is_open_to_readers());
    }
}
