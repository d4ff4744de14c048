//! The Claude Messages API: one request in, one complete answer or one reason out.
//!
//! Touches: http, clock.
//! Change here: when the order of things around a request changes. The parts have files of their own: `wire`
//! shapes, `sse` and `answer` read, `faults` and `retry` judge failures, `prices` and `models` are tables,
//! `limits` and `fanout` say when a request may leave.
//!
//! Nothing is handed on before an answer is complete, so a caller can record it whole. What was spent is told
//! in every case: in the answer, or in the fault.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use crate::config;
use crate::event::{Fault, FaultKind, ModelAnswer, ModelRequest, Usage};

mod answer;
mod fanout;
mod faults;
mod limits;
mod models;
mod prices;
mod retry;
mod sse;
mod wire;

pub use limits::RateLimit;

use answer::{Answer, Broken, with_usage};
use faults::Refused;
use wire::{Body, ErrorAnswer};

/// Longest wait that is sat out, for a rate limit or before another try.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Long thinking leaves the connection silent; this keeps it from being taken for dead on the way.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long the end of a finished answer is waited for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest error body that is read, in bytes.
const MOST_ERROR_BYTES: usize = 64 << 10;
/// What the API adds to a prompt, and to each block of it, in tokens; generous.
const TOKENS_PER_REQUEST: u64 = 500;
const TOKENS_PER_BLOCK: u64 = 20;

/// Why there can be no client at all.
#[derive(Debug, thiserror::Error)]
pub enum ClaudeError {
    #[error("claude.base_url = {url}: not a URL; give one such as https://api.anthropic.com")]
    BadUrl {
        url: String,
        #[source]
        source: <reqwest::Url as std::str::FromStr>::Err,
    },
    #[error(
        "claude.base_url = {url}: the key would travel in the clear; use https, or http on a loopback address"
    )]
    Insecure { url: String },
    #[error("claude.version = {version:?}: not fit for a header; give a date such as 2026-10-21")]
    BadVersion { version: String },
    #[error(
        "no HTTP client for claude.base_url = {url}; check that the system's CA certificates are installed"
    )]
    NoClient {
        url: String,
        #[source]
        source: reqwest::Error,
    },
}

/// A client of the Messages API; clones share connections, rate limits and the fan-out.
#[derive(Clone)]
pub struct Claude(Arc<Inner>);

struct Inner {
    settings: config::Claude,
    http: reqwest::Client,
    endpoint: reqwest::Url,
    key: Mutex<Option<SecretString>>,
    limits: Mutex<Vec<RateLimit>>,
    fan_out: fanout::FanOut,
}

/// The most one try of a request can use up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// Input, estimated from above, and all of `max_output_tokens`.
    pub tokens: u64,
    pub usd: f64,
}

/// One call on its way: what it may still take, and what it took so far.
struct Call {
    deadline: Instant,
    tariff: prices::Tariff,
    spent: Usage,
    notes: Vec<String>,
    retried: u32,
}

/// Why one try gave no answer.
enum Failure {
    /// The API answered something else.
    Refused(Refused),
    /// No connection, or it broke before any content came.
    Broken { code: &'static str, why: String },
    /// Another try would bring the same.
    Final(Fault),
}

impl Claude {
    /// A client for these settings. Without `key`, the one the settings name is read when first needed.
    pub fn new(
        settings: &config::Claude,
        key: Option<SecretString>,
    ) -> Result<Claude, ClaudeError> {
        let endpoint = endpoint(&settings.base_url)?;
        let http = client(settings, &endpoint)?;
        Ok(Claude(Arc::new(Inner {
            settings: settings.clone(),
            http,
            endpoint,
            key: Mutex::new(key),
            limits: Mutex::default(),
            fan_out: fanout::FanOut::default(),
        })))
    }

    /// What one try of this request can use up at most, for a budget to be asked before it is sent.
    ///
    /// Input is estimated at a token for two letters or blanks and one for every other byte, about twice what
    /// prose and code come to. A model without a known price is a fault `llm.unknown-price`.
    pub fn ceiling(&self, request: &ModelRequest) -> Result<Ceiling, Fault> {
        let (body, _) = wire::shape(request, &self.0.settings)?;
        let tariff = self.tariff(body.model)?;
        let (input, output) = (input_tokens(&body), u64::from(body.max_tokens));
        Ok(Ceiling {
            tokens: input + output,
            usd: tariff.ceiling_usd(input, output),
        })
    }

    /// Sends the request and reads the whole answer; at most `claude.timeout_seconds`, waits and further tries
    /// included. Of several requests with one shared prefix the first goes ahead.
    ///
    /// Faults, each with what was spent: `llm.bad-request`, `llm.no-key`, `llm.unknown-price` before anything is
    /// sent; `llm.refused`, `llm.truncated`, `llm.unexpected-stop` for an answer that is of no use;
    /// `llm.stream-broken`, `llm.oversized`, `llm.not-a-stream`, `llm.timeout`, `llm.unreachable` for one that did
    /// not come; `llm.rate-limited`, `llm.overloaded`, `llm.unavailable`, `llm.spend-limit`, `llm.billing`,
    /// `llm.on-hold`, `llm.bad-key`, `llm.forbidden`, `llm.not-found`, `llm.conflict`, `llm.too-large` as the API
    /// says.
    pub async fn complete(&self, request: &ModelRequest) -> Result<ModelAnswer, Fault> {
        let (body, notes) = wire::shape(request, &self.0.settings)?;
        let key = self.key()?;
        let mut call = Call {
            deadline: Instant::now() + Duration::from_secs(self.0.settings.timeout_seconds),
            tariff: self.tariff(body.model)?,
            spent: Usage::default(),
            notes,
            retried: 0,
        };
        let fan_out = fanout::key(body.model, request);
        let outcome = self.persist(&body, fan_out, &key, &mut call).await;
        outcome.map_err(|fault| faults::tidy(with_usage(fault, call.spent), key.expose_secret()))
    }

    /// The limits as the newest answers told them; empty before the first answer.
    pub fn rate_limits(&self) -> Vec<RateLimit> {
        lock(&self.0.limits).clone()
    }

    async fn persist(
        &self,
        body: &Body<'_>,
        prefix: Option<fanout::Key>,
        key: &SecretString,
        call: &mut Call,
    ) -> Result<ModelAnswer, Fault> {
        let mut turn = timeout_at(call.deadline, self.0.fan_out.turn(prefix))
            .await
            .map_err(|_| self.timed_out())?;
        loop {
            self.wait_for_limits(body.model, call).await?;
            let mut answer = Answer::default();
            let outcome = timeout_at(
                call.deadline,
                self.try_once(body, key, &mut turn, &mut answer),
            )
            .await;
            call.spent += answer.usage(&call.tariff);
            let failure = match outcome {
                Ok(Ok(request_id)) => {
                    return answer.conclude(
                        call.spent,
                        request_id,
                        std::mem::take(&mut call.notes),
                    );
                }
                Ok(Err(failure)) => failure,
                Err(_) => return Err(self.timed_out()),
            };
            let Some(wait) = self.wait_after(&failure, call) else {
                return Err(failure.fault());
            };
            tracing::warn!(
                model = body.model,
                why = failure.name(),
                ?wait,
                "a model request is sent again"
            );
            call.notes
                .push(format!("sent again after {}", failure.name()));
            call.retried += 1;
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends the request once and reads into `answer` until it is finished; gives the provider's request id.
    async fn try_once(
        &self,
        body: &Body<'_>,
        key: &SecretString,
        turn: &mut fanout::Turn,
        answer: &mut Answer,
    ) -> Result<Option<String>, Failure> {
        let request = self
            .0
            .http
            .post(self.0.endpoint.clone())
            .headers(self.headers(key)?)
            .json(body);
        let mut response = request.send().await.map_err(unreachable)?;
        let news = limits::read(body.model, |name| text(response.headers(), name));
        limits::update(&mut lock(&self.0.limits), news);
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
                .map_err(|e| broken(answer, &e))?
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

    fn key(&self) -> Result<SecretString, Fault> {
        let mut key = lock(&self.0.key);
        if let Some(key) = key.as_ref() {
            return Ok(key.clone());
        }
        let read = self.0.settings.api_key.read();
        let read = read.map_err(|e| Fault::new(FaultKind::Denied, "llm.no-key", e.to_string()))?;
        Ok(key.insert(read).clone())
    }

    fn headers(&self, key: &SecretString) -> Result<HeaderMap, Failure> {
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

    fn tariff(&self, model: &str) -> Result<prices::Tariff, Fault> {
        let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        prices::tariff(model, today, &self.0.settings.prices).ok_or_else(|| {
            let model = faults::one_line(model);
            let message = format!("nobody knows what {model} costs; set claude.prices.\"{model}\" or choose another model");
            Fault::new(FaultKind::Budget, "llm.unknown-price", message)
        })
    }

    /// Sits out a limit that is known to be used up, or says how long it would take.
    async fn wait_for_limits(&self, model: &str, call: &Call) -> Result<(), Fault> {
        let used_up = limits::used_up(&lock(&self.0.limits), model, Timestamp::now());
        match used_up {
            None => {}
            Some((_, wait)) if wait <= longest_wait(call) => tokio::time::sleep(wait).await,
            Some((kind, wait)) => {
                let message = format!(
                    "{model}: the rate limit for {kind} is used up for another {} s",
                    wait.as_secs()
                );
                let mut fault = Fault::new(FaultKind::Unavailable, "llm.rate-limited", message);
                fault.retry_after_ms = Some(millis(wait));
                return Err(fault);
            }
        }
        Ok(())
    }

    fn wait_after(&self, failure: &Failure, call: &Call) -> Option<Duration> {
        let patience = retry::Patience {
            retried: call.retried,
            retries: self.0.settings.retries,
            longest_wait: longest_wait(call),
            jitter: chance(),
        };
        retry::wait(&failure.for_retry()?, &patience)
    }

    fn timed_out(&self) -> Fault {
        let seconds = self.0.settings.timeout_seconds;
        let message = format!("no complete answer within {seconds} s (claude.timeout_seconds)");
        Fault::new(FaultKind::Timeout, "llm.timeout", message)
    }
}

impl std::fmt::Debug for Claude {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claude")
            .field("host", &self.0.endpoint.host_str())
            .finish_non_exhaustive()
    }
}

impl Failure {
    /// For notes and logs: nothing of the server's own words.
    fn name(&self) -> String {
        match self {
            Failure::Refused(refused) => format!("HTTP {}", refused.meant_status()),
            Failure::Broken { code, .. } => (*code).to_owned(),
            Failure::Final(fault) => fault.code.clone(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Failure::Refused(refused) => refused.fault(),
            Failure::Broken { code, why } => Fault::new(FaultKind::Unavailable, code, why),
            Failure::Final(fault) => fault.clone(),
        }
    }

    fn for_retry(&self) -> Option<retry::Failure> {
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
    // Whoever installed a provider before us made a choice that holds for the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
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

/// An estimate from above, see [`Claude::ceiling`].
fn input_tokens(body: &Body<'_>) -> u64 {
    TOKENS_PER_REQUEST
        + body
            .texts()
            .map(|text| TOKENS_PER_BLOCK + text_tokens(text))
            .sum::<u64>()
}

fn text_tokens(text: &str) -> u64 {
    let light = text
        .bytes()
        .filter(|b| b.is_ascii_alphabetic() || b.is_ascii_whitespace())
        .count();
    (light.div_ceil(2) + text.len() - light) as u64
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

fn broken(answer: &Answer, error: &reqwest::Error) -> Failure {
    stream_broken(answer, chain(error))
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

fn longest_wait(call: &Call) -> Duration {
    LONGEST_WAIT.min(call.deadline.saturating_duration_since(Instant::now()))
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// From 0 to 1. A hasher's seed is random enough to keep several hosts from trying again in step.
fn chance() -> f64 {
    let seed = std::hash::RandomState::new().build_hasher().finish();
    seed as f64 / u64::MAX as f64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is whole after every statement; a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
