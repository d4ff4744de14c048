//! The places where notices go, each in its own form.
//!
//! Touches: http.
//! Change here: when notices can go to another kind of place.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::config::{Secret, Sink, SinkKind};
use crate::outside::hook::{Hook, HookError};
use crate::rules::discord;
use crate::rules::notices::{Notice, NoticeKind, Urgency};

/// Where one sink's notices go.
pub struct Outlet {
    kind: SinkKind,
    hook: Hook,
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
        let hook = Hook::new(&read(&sink.url)?, secret).map_err(|e| e.to_string())?;
        Ok(Outlet {
            kind: sink.kind,
            hook,
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
        self.hook.post(message, key).await.map_err(unsent)
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
