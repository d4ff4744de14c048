//! A Messages API on loopback whose answers are scripted, and which says so.
//!
//! Touches: http, clock.
//! Change here: when a script can say something new, or the server can be asked something new.
//!
//! No model is behind it. It is as strict with requests as the real one (`check`), counts tokens, caches prefixes
//! and meters its callers (`meter`), and speaks the real event stream (`speech`). Every answer carries the header
//! `x-scripted-claude`, and `GET /` says in a sentence what this is.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! use scripted_claude::{Reply, Script, Server};
//!
//! let server = Server::start(Script::in_order([Reply::Overloaded, Reply::text("Hello.")])).await?;
//! // Point a client at server.base_url(), then ask server.requests() what it sent.
//! assert_eq!(server.calls(), 0);
//! # Ok(()) }
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

mod check;
mod http;
mod meter;
mod speech;

pub use meter::Limits;

/// What the server answers to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A good answer: some thinking, then this text, `end_turn`.
    Text { text: String },
    /// The text as far as it came, `max_tokens`.
    MaxTokens { text: String },
    /// HTTP 200 and `refusal`, after this much text.
    Refusal {
        category: Option<String>,
        text: String,
    },
    /// 429; without a `retry-after` where none is given.
    RateLimited { retry_after: Option<Duration> },
    /// 429 `enforced_spend_limit_reached`, which no waiting removes.
    SpendLimit,
    /// 529.
    Overloaded,
    /// 500.
    ServerError,
    /// Any other error.
    Error {
        status: u16,
        kind: String,
        message: String,
        code: Option<String>,
        headers: Vec<(String, String)>,
    },
    /// `overloaded_error` as an event, after this much text; with none, before the first content block.
    MidStreamError { text: String },
    /// No `message_stop`, after this much text; with none, before the first content block. Abruptly means that
    /// the connection is torn down, otherwise the body just ends.
    Truncated { text: String, abruptly: bool },
    /// So many bytes of text, in pieces of 64 KiB or in one event.
    Oversized { bytes: usize, in_one_event: bool },
    /// A good answer that takes its time.
    Slow {
        before_first: Duration,
        per_chunk: Duration,
        text: String,
    },
    /// Another reply, held back until the server has seen so many requests, or for so long.
    Held {
        requests: usize,
        at_most: Duration,
        then: Box<Reply>,
    },
}

impl Reply {
    pub fn text(text: impl Into<String>) -> Reply {
        Reply::Text { text: text.into() }
    }
}

/// A request to `POST /v1/messages` as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedRequest {
    /// From 1, in the order of arrival.
    pub number: usize,
    /// The header `anthropic-version`.
    pub version: Option<String>,
    /// From `x-api-key` or `authorization`.
    pub key: Option<String>,
    /// `null` where it was no JSON.
    pub body: Value,
    /// Why the server refused it before the script was asked.
    pub refused: Option<String>,
}

impl RecordedRequest {
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// All system text.
    pub fn system(&self) -> String {
        check::text_of(&self.body["system"])
    }

    /// The text of the last message.
    pub fn last_message(&self) -> String {
        let last = self.body["messages"]
            .as_array()
            .and_then(|messages| messages.last());
        last.map(|message| check::text_of(&message["content"]))
            .unwrap_or_default()
    }
}

/// What happened at the server, in order; the number is the request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Received(usize),
    /// The first event of the answer went out.
    Began(usize),
    /// The last one did.
    Ended(usize),
}

/// Which reply follows on which request, and how much a caller may ask.
pub struct Script {
    reply: Box<dyn Fn(&RecordedRequest) -> Reply + Send + Sync>,
    limits: Limits,
}

impl Script {
    /// Asks the closure, which may keep state, at every request that is in order.
    pub fn from_fn(reply: impl Fn(&RecordedRequest) -> Reply + Send + Sync + 'static) -> Script {
        Script {
            reply: Box::new(reply),
            limits: Limits::default(),
        }
    }

    /// One reply after the other; then a 500 that says the script is over.
    pub fn in_order(replies: impl IntoIterator<Item = Reply>) -> Script {
        let replies = Mutex::new(VecDeque::from_iter(replies));
        Script::from_fn(move |_| lock(&replies).pop_front().unwrap_or_else(over))
    }

    /// With these limits instead of generous ones.
    pub fn with_limits(self, limits: Limits) -> Script {
        Script { limits, ..self }
    }
}

fn over() -> Reply {
    let headers = vec![("x-should-retry".to_owned(), "false".to_owned())];
    let message = "the script has no reply left".to_owned();
    Reply::Error {
        status: 500,
        kind: "api_error".into(),
        message,
        code: None,
        headers,
    }
}

/// A running server; it stops when dropped.
pub struct Server {
    base_url: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

struct State {
    script: Script,
    meter: Mutex<meter::Meter>,
    requests: Mutex<Vec<RecordedRequest>>,
    moments: Mutex<Vec<Moment>>,
    /// How many requests came so far.
    arrivals: watch::Sender<usize>,
}

impl Server {
    /// Listens on a free port of 127.0.0.1, on the current runtime.
    pub async fn start(script: Script) -> std::io::Result<Server> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(State {
            meter: Mutex::new(meter::Meter::new(script.limits)),
            script,
            requests: Mutex::default(),
            moments: Mutex::default(),
            arrivals: watch::Sender::new(0),
        });
        let service = axum::serve(listener, http::router(state.clone()));
        let task = tokio::spawn(service.into_future());
        Ok(Server {
            base_url,
            state,
            task,
        })
    }

    /// Such as `http://127.0.0.1:40123`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Every request so far, refused ones included.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        lock(&self.state.requests).clone()
    }

    /// How many requests came so far.
    pub fn calls(&self) -> usize {
        lock(&self.state.requests).len()
    }

    pub fn moments(&self) -> Vec<Moment> {
        lock(&self.state.moments).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is whole after every statement; a panicking script does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
