//! What the daemon answers over HTTP: the page, messages of external applications, and whether it is there.
//!
//! Touches: http (a listener), sqlite (through the store), clock, chance.
//! Change here: when there is another address to ask. What becomes of a message is `reception.rs`; the page is
//! `web/pages.rs`, and who is answered there is `web/guard.rs`; hints of other services are `web/webhooks.rs`.
//!
//! Nothing that changes anything is answered without a token.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures::StreamExt;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

use crate::config::{App, Config, Secret};
use crate::outside::store::Store;
use crate::reception::{self, Heard, ReceptionError};
use crate::rules::apps::{NotTaken, Said, attributes};

use guard::Guard;
use live::Live;

mod guard;
mod live;
mod pages;
mod webhooks;

pub use webhooks::Hearers;

/// For a whole message to arrive.
const ARRIVING: Duration = Duration::from_secs(10);
/// Messages that are on their way in at a time.
const AT_ONCE: usize = 256;
/// Of what is too large, so much is heard out: whoever still sends does not hear that it is.
const HEARD_OUT: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("http.listen = {address}: nothing can be listened to there: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("{key}: {why}")]
    Secret { key: String, why: String },
    #[error("{key}: {why}")]
    Token { key: String, why: String },
    #[error("the system gives no random numbers")]
    Chance,
}

struct Front {
    apps: BTreeMap<String, App>,
    /// What an application has to show; none of those that are not heard here.
    tokens: BTreeMap<String, String>,
    store: Store,
    entrances: tokio::sync::Semaphore,
}

/// A listener that is there, and not answered yet.
pub struct Web {
    listener: TcpListener,
    router: Router,
    store: Store,
    live: Live,
}

impl Web {
    /// None where nothing shall be listened to.
    pub async fn open(
        config: &Config,
        store: &Store,
        hearers: Hearers,
    ) -> Result<Option<Web>, WebError> {
        let Some(address) = config.http.listen else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| WebError::Listen { address, source })?;
        let front = Arc::new(Front {
            apps: config.apps.clone(),
            tokens: tokens(&config.apps)?,
            store: store.clone(),
            entrances: tokio::sync::Semaphore::new(AT_ONCE),
        });
        let live = Live::default();
        let guard = guard(config, address)?;
        let desk = pages::Desk::new(store.clone(), config.clone(), guard, live.clone());
        let router = Router::new()
            .route("/health", get(async || Json(json!({ "status": "ok" }))))
            .route("/apps/{app}/{event}", post(message))
            .with_state(front)
            .merge(webhooks::router(config, hearers)?)
            .merge(pages::router(Arc::new(desk)))
            .layer(map_response(guarded));
        Ok(Some(Web {
            listener,
            router,
            store: store.clone(),
            live,
        }))
    }

    /// Answers for as long as the process runs.
    pub async fn answer(self) {
        if let Ok(address) = self.listener.local_addr() {
            tracing::info!(%address, "answering");
        }
        tokio::select! {
            ended = axum::serve(self.listener, self.router).into_future() => {
                tracing::error!("nothing is answered any more: {ended:?}");
            }
            () = self.live.follow(self.store) => {}
        }
    }
}

/// What every answer says: nothing in it may come from elsewhere, be shown elsewhere, or be taken for something else.
/// Forms need the origin that `no-referrer` would hide from ourselves too.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

async fn guarded(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    answer
}

fn guard(config: &Config, listen: SocketAddr) -> Result<Guard, WebError> {
    let mut tokens = BTreeMap::new();
    for (name, secret) in &config.http.people {
        let token = token(&format!("http.people.{name}"), secret)?;
        tokens.insert(name.clone(), token);
    }
    let mut key = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut key)
        .map_err(|_| WebError::Chance)?;
    Guard::new(&config.http, listen, &tokens, key).map_err(|(name, why)| WebError::Token {
        key: format!("http.people.{name}"),
        why: why.to_owned(),
    })
}

fn token(key: &str, secret: &Secret) -> Result<String, WebError> {
    let token = secret.read().map_err(|e| WebError::Token {
        key: key.to_owned(),
        why: e.to_string(),
    })?;
    Ok(token.expose_secret().to_owned())
}

fn tokens(apps: &BTreeMap<String, App>) -> Result<BTreeMap<String, String>, WebError> {
    let mut tokens = BTreeMap::new();
    for (name, app) in apps {
        let Some(secret) = &app.token else {
            continue;
        };
        let token = token(&format!("apps.{name}.token"), secret)?;
        tokens.insert(name.clone(), token);
    }
    Ok(tokens)
}

/// Cut short, or too large.
struct NotWhole;

/// A body of at most so many bytes.
async fn whole(body: Body, most: usize) -> Result<Bytes, NotWhole> {
    let (mut kept, mut came) = (Vec::new(), 0usize);
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| NotWhole)?;
        came = came.saturating_add(part.len());
        match came {
            fits if fits <= most => kept.extend_from_slice(&part),
            too_much if too_much > HEARD_OUT => return Err(NotWhole),
            _ => kept.clear(),
        }
    }
    match came <= most {
        true => Ok(kept.into()),
        false => Err(NotWhole),
    }
}

async fn message(
    State(front): State<Arc<Front>>,
    Path((app, event)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !front.admits(&app, &headers) {
        return unknown();
    }
    let Ok(_entrance) = front.entrances.try_acquire() else {
        return no(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many messages at once: send it again in a moment",
        );
    };
    let most = front.apps.get(&app).map_or(0, |app| app.max_kib);
    let most = usize::try_from(most)
        .unwrap_or(usize::MAX)
        .saturating_mul(1024);
    let body = match tokio::time::timeout(ARRIVING, whole(body, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let why = format!(
                "the message is cut short, or larger than the {most} bytes that apps.{app}.max_kib allows"
            );
            return no(StatusCode::PAYLOAD_TOO_LARGE, &why);
        }
        Err(_) => {
            return no(
                StatusCode::REQUEST_TIMEOUT,
                "the message did not arrive in time",
            );
        }
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let said = Said {
        app: &app,
        event: &event,
        content_type: text(header::CONTENT_TYPE.as_str()),
        attributes: attributes(
            headers
                .iter()
                .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))),
        ),
        body: &body,
        id: text("idempotency-key").map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned),
    };
    let now = Timestamp::now();
    match reception::take(&front.apps, &front.store, &said, now, Heard::OnlyHere).await {
        Ok(kept) => {
            let told = json!({ "id": kept.id, "again": kept.again });
            (StatusCode::ACCEPTED, Json(told)).into_response()
        }
        Err(ReceptionError::NotTaken(why)) => no(status(&why), &why.to_string()),
        Err(ReceptionError::Store(error)) => {
            tracing::error!(app, event, "a message cannot be kept: {error}");
            no(
                StatusCode::SERVICE_UNAVAILABLE,
                "the message cannot be kept now: send it again later",
            )
        }
    }
}

impl Front {
    /// Whoever has no token learns nothing about which applications there are.
    fn admits(&self, app: &str, headers: &HeaderMap) -> bool {
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        let wanted = self.tokens.get(app).map_or("", String::as_str);
        let same: bool = wanted.as_bytes().ct_eq(shown.as_bytes()).into();
        same && !wanted.is_empty()
    }
}

fn unknown() -> Response {
    let why = "send `Authorization: Bearer TOKEN` with the token of this application; apps.NAME.token names it";
    let mut refused = no(StatusCode::UNAUTHORIZED, why);
    let how = header::HeaderValue::from_static("Bearer");
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, how);
    refused
}

fn status(why: &NotTaken) -> StatusCode {
    match why {
        NotTaken::Unknown(_) => StatusCode::NOT_FOUND,
        NotTaken::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        NotTaken::Name(_) | NotTaken::NotJson(_) | NotTaken::Unfit { .. } => {
            StatusCode::BAD_REQUEST
        }
    }
}

fn no(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}
