//! The places where notices go, each in its own form.
//!
//! Touches: http (through `outside/hook`), clock.
//! Change here: when notices can go to another kind of place.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::config::{Secret, Sink, SinkKind};
use crate::outside::hook::{Hook, HookError};
use crate::rules::notices::{Notice, NoticeKind, Urgency};
use crate::rules::{discord, signature};

/// Where one sink's notices go.
pub struct Outlet {
    kind: SinkKind,
    hook: Hook,
    secret: Option<String>,
}

/// Why a message is not there.
pub enum Unsent {
    Never(String),
    NotNow {
        why: String,
        after: Option<Duration>,
    },
}

impl Outlet {
    pub fn open(sink: &Sink) -> Result<Outlet, String> {
        let read = |secret: &Secret| {
            let read = secret.read().map_err(|e| e.to_string())?;
            Ok::<_, String>(read.expose_secret().trim().to_owned())
        };
        let secret = sink.secret.as_ref().map(read).transpose()?;
        let hook = Hook::new(&read(&sink.url)?).map_err(|e| e.to_string())?;
        Ok(Outlet {
            kind: sink.kind,
            hook,
            secret,
        })
    }

    /// What is sent for a notice, in this order.
    pub fn messages(&self, notice: &Notice) -> Vec<Value> {
        match self.kind {
            SinkKind::Discord => discord::messages(notice),
            SinkKind::Webhook => vec![plain(notice)],
        }
    }

    /// `key` is the same whenever this message is sent again.
    pub async fn send(&self, message: &Value, key: &str) -> Result<(), Unsent> {
        let body = message.to_string();
        let now = Timestamp::now().as_second();
        let signature = self.secret.as_ref();
        let signature = signature.map(|secret| signature::sign(secret, now, body.as_bytes()));
        self.hook.post(body, key, signature).await.map_err(unsent)
    }
}

fn unsent(error: HookError) -> Unsent {
    let why = error.to_string();
    match error {
        HookError::Address(_) | HookError::Gone { .. } | HookError::Refused { .. } => {
            Unsent::Never(why)
        }
        HookError::Busy { after } => Unsent::NotNow { why, after },
        HookError::Away(_) => Unsent::NotNow { why, after: None },
    }
}

fn plain(notice: &Notice) -> Value {
    let kind = match notice.kind {
        NoticeKind::Alert => "alert",
        NoticeKind::Digest => "digest",
    };
    let urgency = match notice.urgency {
        Urgency::Needed => "needed",
        Urgency::Good => "good",
        Urgency::Plain => "plain",
    };
    let parts: Vec<Value> = notice
        .parts
        .iter()
        .map(|(heading, lines)| json!({ "heading": heading, "lines": lines }))
        .collect();
    json!({
        "id": notice.id, "kind": kind, "project": notice.project, "urgency": urgency,
        "title": notice.title, "lines": notice.lines, "parts": parts,
    })
}
