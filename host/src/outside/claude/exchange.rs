//! One try: sends a request and reads what comes back.
//!
//! Touches: http, clock.
//! Change here: when a header is sent or read, or when the connection is made differently.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::config;
use crate::event::{Fault, FaultKind};
use crate::outside::tls;

use super::answer::{self, Answer, Broken};
use super::faults::Refused;
use super::wire::{Body, ErrorAnswer};
use super::{ClaudeError, RateLimit, fanout, limits, lock, retry, sse};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Long thinking leaves the connection silent; this keeps it from being taken for dead on the way.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long the end of a finished answer is waited for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest error body that is read, in bytes.
const MOST_ERROR_BYTES: usize = 64 << 10;

/// The way to the API.
pub struct Exchange {
    http: reqwest::Client,
    endpoint: reqwest::Url,
}

/// Why one try gave no answer.
pub enum Failure {
    /// The API answered something else.
    Refused(Refused),
    /// No connection, or it broke before any content came.
    Broken { code: &'static str, why: String },
    /// Another try would bring the same.
    Final(Fault),
}

impl Exchange {
    pub fn new(settings: &config::Claude) -> Result<Exchange, ClaudeError> {
        let endpoint = endpoint(&settings.base_url)?;
        let http = client(settings, &endpoint)?;
        Ok(Exchange { http, endpoint })
    }

    /// Name or address of the API's host.
    pub fn host(&self) -> Option<&str> {
        self.endpoint.host_str()
    }

    /// Sends the request once and reads into `answer` until it is finished; gives the provider's request id.
    /// The limits the answer tells go into `limits`.
    pub async fn try_once(
        &self,
        body: &Body<'_>,
        key: &SecretString,
        turn: &mut fanout::Turn,
        limits: &Mutex<Vec<RateLimit>>,
        answer: &mut Answer,
    ) -> Result<Option<String>, Failure> {
        let request = self
            .http
            .post(self.endpoint.clone())
            .headers(key_header(key)?)
            .json(body);
        let mut response = request.send().await.map_err(unreachable)?;
        let news = limits::read(body.model, |name| text(response.headers(), name));
        limits::update(&mut lock(limits), news);
        if response.status() != reqwest::StatusCode::OK {
            return Err(Failure::Refused(refused(response).await));
        }
        let request_id = text(response.headers(), "request-id").map(str::to_owned);
        check_is_stream(response.headers())?;
        let mut reader = sse::Reader::default();
        while !answer.is_finished() {
            let chunk = response
                .chunk()
                .await
                .map_err(|e| broken(answer, e))?
                .ok_or_else(|| cut_off(answer))?;
            for frame in reader.feed(&chunk).map_err(|_| oversized())? {
                answer
                    .take(&frame)
                    .map_err(|e| e.failure(answer, request_id.as_deref()))?;
                turn.begun();
            }
        }
        drain(response).await;
        Ok(request_id)
    }
}

fn key_header(key: &SecretString) -> Result<HeaderMap, Failure> {
    let unfit = || {
        Fault::new(
            FaultKind::Denied,
            "llm.bad-key",
            "the API key has characters no header can carry",
        )
    };
    let mut value =
        HeaderValue::from_str(key.expose_secret()).map_err(|_| Failure::Final(unfit()))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(
        HeaderName::from_static("x-api-key"),
        value,
    )]))
}

impl Failure {
    /// For notes and logs: nothing of the server's own words.
    pub fn name(&self) -> String {
        match self {
            Failure::Refused(refused) => format!("HTTP {}", refused.meant_status()),
            Failure::Broken { code, .. } => (*code).to_owned(),
            Failure::Final(fault) => fault.code.clone(),
        }
    }

    pub fn fault(&self) -> Fault {
        match self {
            Failure::Refused(refused) => refused.fault(),
            Failure::Broken { code, why } => Fault::new(FaultKind::Unavailable, code, why),
            Failure::Final(fault) => fault.clone(),
        }
    }

    /// None: nothing that time mends.
    pub fn for_retry(&self) -> Option<retry::Failure> {
        match self {
            Failure::Refused(refused) => Some(retry::Failure {
                status: Some(refused.meant_status()),
                spend_limit: refused.is_spend_limit(),
                should_retry: refused.should_retry,
                retry_after: refused.retry_after,
            }),
            Failure::Broken { .. } => Some(retry::Failure {
                status: None,
                spend_limit: false,
                should_retry: None,
                retry_after: None,
            }),
            Failure::Final(_) => None,
        }
    }
}

impl Broken {
    fn failure(self, answer: &Answer, request_id: Option<&str>) -> Failure {
        match self {
            Broken::Oversized => oversized(),
            Broken::Nonsense(why) => stream_broken(answer, why),
            Broken::Error(error) => {
                let request_id = request_id.map(str::to_owned);
                let refused = Refused {
                    status: 200,
                    error,
                    should_retry: None,
                    retry_after: None,
                    request_id,
                };
                if answer.has_produced() {
                    return stream_broken(answer, refused.fault().message);
                }
                Failure::Refused(refused)
            }
        }
    }
}

fn endpoint(base_url: &str) -> Result<reqwest::Url, ClaudeError> {
    let url = format!("{}/v1/messages", base_url.trim_end_matches('/'));
    let url: reqwest::Url = url.parse().map_err(|source| ClaudeError::BadUrl {
        url: base_url.to_owned(),
        source,
    })?;
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err(ClaudeError::Insecure {
            url: base_url.to_owned(),
        });
    }
    Ok(url)
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn client(
    settings: &config::Claude,
    endpoint: &reqwest::Url,
) -> Result<reqwest::Client, ClaudeError> {
    tls::prepare();
    let version =
        HeaderValue::from_str(&settings.version).map_err(|_| ClaudeError::BadVersion {
            version: settings.version.clone(),
        })?;
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("changebus/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(
            HeaderName::from_static("anthropic-version"),
            version,
        )]))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        // A redirect would carry the key to wherever it points.
        .redirect(reqwest::redirect::Policy::none());
    if endpoint.scheme() == "http" {
        // Plain HTTP on loopback: no proxy on the way, and no CA certificates to be missed.
        builder = builder.no_proxy().tls_certs_only([]);
    }
    builder.build().map_err(|source| ClaudeError::NoClient {
        url: settings.base_url.clone(),
        source,
    })
}

async fn refused(mut response: reqwest::Response) -> Refused {
    let status = response.status().as_u16();
    let header = |name| text(response.headers(), name);
    let should_retry = header("x-should-retry").and_then(|value| value.parse().ok());
    let retry_after = retry::retry_after(
        header("retry-after-ms"),
        header("retry-after"),
        Timestamp::now(),
    );
    let request_id = header("request-id").map(str::to_owned);
    let body = read_some(&mut response).await;
    let answer: ErrorAnswer =
        serde_json::from_slice(&body).unwrap_or_else(|_| ErrorAnswer::foreign(&body));
    Refused {
        status,
        error: answer.error,
        should_retry,
        retry_after,
        request_id: request_id.or(answer.request_id),
    }
}

/// The beginning of a body. The status tells enough if it breaks.
async fn read_some(response: &mut reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MOST_ERROR_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    body
}

/// Reads a finished answer to its end, so that the connection can be used again; not for long.
async fn drain(mut response: reqwest::Response) {
    let rest = async { while let Ok(Some(_)) = response.chunk().await {} };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, rest).await;
}

fn check_is_stream(headers: &HeaderMap) -> Result<(), Failure> {
    let kind = text(headers, "content-type").unwrap_or_default();
    if kind.starts_with("text/event-stream") {
        return Ok(());
    }
    let message = format!("asked for an event stream, got {kind:?}; check claude.base_url");
    Err(Failure::Final(Fault::new(
        FaultKind::Internal,
        "llm.not-a-stream",
        message,
    )))
}

fn unreachable(error: reqwest::Error) -> Failure {
    Failure::Broken {
        code: "llm.unreachable",
        why: chain(&error.without_url()),
    }
}

fn broken(answer: &Answer, error: reqwest::Error) -> Failure {
    stream_broken(answer, chain(&error.without_url()))
}

fn cut_off(answer: &Answer) -> Failure {
    stream_broken(answer, "it ended before message_stop".into())
}

/// A stream that broke before any content is worth another try; afterwards the next try would be paid in full
/// once more.
fn stream_broken(answer: &Answer, why: String) -> Failure {
    let (code, why) = ("llm.stream-broken", format!("the answer broke off: {why}"));
    if answer.has_produced() {
        return Failure::Final(Fault::new(FaultKind::Unavailable, code, why));
    }
    Failure::Broken { code, why }
}

fn oversized() -> Failure {
    let message = format!(
        "the answer is larger than {} KiB and was not read on",
        answer::MOST_TEXT_BYTES >> 10
    );
    Failure::Final(Fault::new(FaultKind::Internal, "llm.oversized", message))
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
