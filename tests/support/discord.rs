//! A webhook of Discord on loopback: takes what Discord's documentation allows, asks to wait when told to, keeps what came.
//!
//! Touches: network (loopback).
//! Change here: when stories need Discord to behave otherwise. Limits: Discord's documentation of webhooks and embeds; a
//! length is counted in UTF-16 units.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};

/// What a message came with, and what was answered.
#[derive(Clone, Debug)]
pub struct Posted {
    pub headers: HeaderMap,
    pub body: String,
    pub answered: StatusCode,
}

#[derive(Default)]
struct Channel {
    posted: Vec<Posted>,
    /// The next so many are asked to wait.
    storm: usize,
    gone: bool,
    down: bool,
}

/// A channel's webhook; stops with the runtime of the story.
#[derive(Clone)]
pub struct Discord {
    address: SocketAddr,
    channel: Arc<Mutex<Channel>>,
}

impl Discord {
    pub async fn start() -> Discord {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let channel = Arc::new(Mutex::new(Channel::default()));
        let router = Router::new()
            .route("/api/webhooks/1/secret", post(take))
            .with_state(channel.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Discord { address, channel }
    }

    pub fn url(&self) -> String {
        format!("http://{}/api/webhooks/1/secret", self.address)
    }

    /// The next so many messages are answered with 429.
    pub fn storm(&self, messages: usize) {
        self.channel().storm = messages;
    }

    pub fn delete(&self) {
        self.channel().gone = true;
    }

    pub fn break_down(&self, down: bool) {
        self.channel().down = down;
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.channel().posted.clone()
    }

    /// What people read in the channel, oldest first.
    pub fn shown(&self) -> Vec<Value> {
        let taken = |p: &Posted| p.answered == StatusCode::NO_CONTENT;
        let posted = self.posted();
        let taken = posted.iter().filter(|p| taken(p));
        taken
            .map(|p| serde_json::from_str(&p.body).expect("it was taken"))
            .collect()
    }

    fn channel(&self) -> std::sync::MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take(
    State(channel): State<Arc<Mutex<Channel>>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, axum::Json<Value>) {
    let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
    let (answered, said) = if channel.gone {
        (
            StatusCode::NOT_FOUND,
            json!({ "message": "Unknown Webhook", "code": 10015 }),
        )
    } else if channel.down {
        (StatusCode::BAD_GATEWAY, Value::Null)
    } else if channel.storm > 0 {
        channel.storm -= 1;
        let said = json!({ "message": "You are being rate limited.", "retry_after": 0.05, "global": false });
        (StatusCode::TOO_MANY_REQUESTS, said)
    } else {
        match complaint(&body) {
            None => (StatusCode::NO_CONTENT, Value::Null),
            Some(why) => (
                StatusCode::BAD_REQUEST,
                json!({ "message": why, "code": 50035 }),
            ),
        }
    };
    channel.posted.push(Posted {
        headers,
        body,
        answered,
    });
    (answered, axum::Json(said))
}

/// Why Discord would refuse this message, or ping somebody with it.
pub fn complaint(body: &str) -> Option<String> {
    let Ok(message) = serde_json::from_str::<Value>(body) else {
        return Some("it is not JSON".to_owned());
    };
    let length = |value: &Value| value.as_str().map_or(0, |text| text.encode_utf16().count());
    let embeds = message["embeds"].as_array().cloned().unwrap_or_default();
    if length(&message["content"]) == 0 && embeds.is_empty() {
        return Some("it is empty".to_owned());
    }
    if message["allowed_mentions"]["parse"] != json!([]) {
        return Some("it may ping somebody".to_owned());
    }
    if length(&message["content"]) > 2000 || embeds.len() > 10 {
        return Some("content or embeds: too much".to_owned());
    }
    let mut all = 0;
    for embed in &embeds {
        for (field, most) in [("title", 256), ("description", 4096)] {
            let length = length(&embed[field]);
            if length > most {
                return Some(format!("embeds.{field}: {length} is more than {most}"));
            }
            all += length;
        }
        let fields = embed["fields"].as_array().cloned().unwrap_or_default();
        if fields.len() > 25 {
            return Some("embeds.fields: more than 25".to_owned());
        }
        for field in &fields {
            let (name, value) = (length(&field["name"]), length(&field["value"]));
            if name > 256 || value > 1024 {
                return Some("embeds.fields: too long".to_owned());
            }
            all += name + value;
        }
    }
    (all > 6000).then(|| format!("embeds: {all} characters are more than 6000"))
}
