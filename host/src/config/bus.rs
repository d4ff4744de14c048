//! What `[bus]` says.
//!
//! Touches: nothing.
//! Change here: when hosts can be joined otherwise, or a server asks for another way to sign in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret};

/// How hosts hear of each other.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    pub kind: BusKind,
    /// `nats://host:4222`, `tls://...`; several of one cluster.
    pub servers: Vec<String>,
    /// Stands before every subject, for a server that others use too.
    pub prefix: String,
    /// The stream; the leases are kept in `<stream>-leases`.
    pub stream: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub token: Option<Secret>,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    pub tls: bool,
    pub tls_ca: Option<PathBuf>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// The server's monitoring page, which says whether it writes at once.
    pub monitor: Option<String>,
    /// What to do about a server that may lose what it acknowledged, or does not say.
    pub durability: Durability,
    pub replicas: usize,
    /// The stream forgets what is older; 0 for never. Hosts keep everything in their own logs.
    pub max_age_days: u32,
    /// What the stream may take of the server's disk; 0 for what the server allows.
    pub max_mib: u32,
    /// Another goes on with the projects of a host that was killed within so long.
    pub lease_seconds: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusKind {
    /// The event log itself, in this process.
    #[default]
    Embedded,
    /// NATS JetStream between several hosts.
    Nats,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Say so and go on: hosts keep everything themselves.
    #[default]
    Tell,
    Require,
}

impl Default for Bus {
    fn default() -> Bus {
        Bus {
            kind: BusKind::default(),
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            prefix: String::new(),
            stream: "CHANGEBUS".to_owned(),
            user: None,
            password: None,
            token: None,
            credentials: None,
            tls: false,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            monitor: None,
            durability: Durability::default(),
            replicas: 1,
            max_age_days: 30,
            max_mib: 0,
            lease_seconds: 10,
        }
    }
}

impl Bus {
    pub(super) fn validate(
        &self,
        invalid: &impl Fn(String, String, &str) -> ConfigError,
    ) -> Result<(), ConfigError> {
        let no = |key: &str, value: &str, hint: &str| {
            Err(invalid(format!("bus.{key}"), value.to_owned(), hint))
        };
        if self.kind == BusKind::Nats && self.servers.is_empty() {
            return no(
                "servers",
                "[]",
                "name at least one, such as nats://127.0.0.1:4222",
            );
        }
        let is_word = |text: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !text.is_empty() && text.chars().all(fits)
        };
        if !is_word(&self.stream) {
            return no("stream", &self.stream, "use letters, digits, `-` and `_`");
        }
        if !self.prefix.is_empty() && !self.prefix.split('.').all(is_word) {
            let hint = "use words of letters, digits, `-` and `_`, with dots between them";
            return no("prefix", &self.prefix, hint);
        }
        if self.user.is_some() != self.password.is_some() {
            return no("user", "alone", "`user` and `password` go together");
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            let hint = "`tls_certificate` and `tls_key` go together";
            return no("tls_certificate", "alone", hint);
        }
        if self.lease_seconds < 2 {
            let hint = "must be at least 2: a host has to give signs of life within it";
            return no("lease_seconds", &self.lease_seconds.to_string(), hint);
        }
        if !(1..=5).contains(&self.replicas) {
            let hint = "must be 1 to 5, and no more than the cluster has servers";
            return no("replicas", &self.replicas.to_string(), hint);
        }
        Ok(())
    }
}
