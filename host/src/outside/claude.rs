//! The Claude Messages API: one request in, one complete answer or one reason out.
//!
//! Touches: http, clock.
//! Change here: when the order of things around a request changes. The parts have files of their own: `wire`
//! shapes, `exchange` sends, `sse` and `answer` read, `faults` and `retry` judge failures, `prices` and `models`
//! are tables, `limits` and `fanout` say when a request may leave; `tape` answers in place of the API.
//!
//! Nothing is handed on before an answer is complete, so a caller can record it whole. What was spent is told
//! in every case: in the answer, or in the fault.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use crate::config;
use crate::event::{Fault, FaultKind, ModelAnswer, ModelRequest, Usage};

mod answer;
mod exchange;
mod fanout;
mod faults;
mod limits;
mod models;
mod prices;
mod retry;
mod sse;
pub mod tape;
mod wire;

pub use limits::RateLimit;

use answer::{Answer, with_usage};
use exchange::{Exchange, Failure};
use tape::Tape;
use wire::Body;

/// Longest wait that is sat out, for a rate limit or before another try.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
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
    exchange: Exchange,
    key: Mutex<Option<SecretString>>,
    limits: Mutex<Vec<RateLimit>>,
    fan_out: fanout::FanOut,
    /// Answers first, where there is one.
    tape: Option<Tape>,
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

impl Claude {
    /// A client for these settings. Without `key`, the one the settings name is read when first needed.
    pub fn new(
        settings: &config::Claude,
        key: Option<SecretString>,
    ) -> Result<Claude, ClaudeError> {
        Claude::build(settings, key, None)
    }

    /// A client that plays recorded answers, and asks as far as the tape lets it.
    pub fn taped(settings: &config::Claude, tape: Tape) -> Result<Claude, ClaudeError> {
        Claude::build(settings, None, Some(tape))
    }

    fn build(
        settings: &config::Claude,
        key: Option<SecretString>,
        tape: Option<Tape>,
    ) -> Result<Claude, ClaudeError> {
        Ok(Claude(Arc::new(Inner {
            exchange: Exchange::new(settings)?,
            settings: settings.clone(),
            key: Mutex::new(key),
            limits: Mutex::default(),
            fan_out: fanout::FanOut::default(),
            tape,
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
        match &self.0.tape {
            Some(tape) => {
                let model = &self.0.settings.model;
                tape.reply(request, model, self.ask(request)).await
            }
            None => self.ask(request).await,
        }
    }

    async fn ask(&self, request: &ModelRequest) -> Result<ModelAnswer, Fault> {
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
        let Inner {
            exchange, limits, ..
        } = &*self.0;
        loop {
            self.wait_for_limits(body.model, call).await?;
            let mut answer = Answer::default();
            let outcome = timeout_at(
                call.deadline,
                exchange.try_once(body, key, &mut turn, limits, &mut answer),
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

    fn key(&self) -> Result<SecretString, Fault> {
        let mut key = lock(&self.0.key);
        if let Some(key) = key.as_ref() {
            return Ok(key.clone());
        }
        let read = self.0.settings.api_key.read();
        let read = read.map_err(|e| Fault::new(FaultKind::Denied, "llm.no-key", e.to_string()))?;
        Ok(key.insert(read).clone())
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
            .field("host", &self.0.exchange.host())
            .finish_non_exhaustive()
    }
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
