//! HumanRail: a service that has people decide. Its description: the Escalation Engine API, 1.0.0.
//!
//! Touches: http.
//! Change here: when its API changes, or another of its operations is needed.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tls;
use crate::config::{Currency, RiskTier};

const ANSWERING: Duration = Duration::from_secs(30);
const KEY: &str = "Idempotency-Key";
/// Of an answer's words.
const QUOTED: usize = 300;

#[derive(Clone)]
pub struct Humanrail {
    client: reqwest::Client,
    base: Url,
    key: SecretString,
}

#[derive(Debug, thiserror::Error)]
pub enum HumanrailError {
    #[error("humanrail.base_url is no address: {0}")]
    Address(String),
    #[error(
        "HumanRail does not know the key ({0}): make another, and name it in humanrail.api_key"
    )]
    Key(String),
    #[error("HumanRail knows no such task")]
    NotFound,
    #[error("HumanRail: the task is past that: {0}")]
    Conflict(String),
    #[error("HumanRail does not take it: {0}")]
    Refused(String),
    #[error("HumanRail asks to wait")]
    Busy { after: Option<Duration> },
    #[error("HumanRail does not answer: {0}")]
    Away(String),
}

/// What people are asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewTask {
    /// The same whenever the same is asked again.
    pub idempotency_key: String,
    pub task_type: String,
    pub risk_tier: RiskTier,
    pub sla_seconds: u32,
    pub payload: Value,
    pub output_schema: Value,
    pub payout: Payout,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Payout {
    pub currency: Currency,
    pub max_amount: f64,
}

/// What became of it so far.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    pub id: String,
    pub status: Status,
    /// Only of a verified one.
    #[serde(default)]
    pub output: Option<Value>,
    /// Only of a failed one.
    #[serde(default)]
    pub failure_reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Posted,
    Assigned,
    Submitted,
    Verified,
    Failed,
    Cancelled,
    Expired,
}

impl Humanrail {
    pub fn new(base: &str, key: SecretString) -> Result<Humanrail, HumanrailError> {
        tls::prepare();
        let base = format!("{}/", base.trim_end_matches('/'));
        let base = Url::parse(&base).map_err(|e| HumanrailError::Address(e.to_string()))?;
        let client = reqwest::Client::builder()
            .timeout(ANSWERING)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| HumanrailError::Away(e.to_string()))?;
        Ok(Humanrail { client, base, key })
    }

    /// The task, made now or, under this key, before.
    pub async fn create(&self, task: &NewTask) -> Result<Task, HumanrailError> {
        let request = self.request(Method::POST, "tasks")?;
        let request = request.header(KEY, &task.idempotency_key).json(task);
        self.ask(request).await
    }

    pub async fn get(&self, id: &str) -> Result<Task, HumanrailError> {
        let request = self.request(Method::GET, &format!("tasks/{id}"))?;
        self.ask(request).await
    }

    /// # Errors
    /// `Conflict` where somebody has answered already.
    pub async fn cancel(&self, id: &str) -> Result<(), HumanrailError> {
        let request = self.request(Method::POST, &format!("tasks/{id}/cancel"))?;
        self.ask::<Value>(request).await.map(drop)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
    ) -> Result<reqwest::RequestBuilder, HumanrailError> {
        let address = self.base.join(path);
        let address = address.map_err(|e| HumanrailError::Address(e.to_string()))?;
        let request = self.client.request(method, address);
        Ok(request.bearer_auth(self.key.expose_secret()))
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, HumanrailError> {
        let away = |e: reqwest::Error| HumanrailError::Away(e.without_url().to_string());
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        if status.is_success() {
            return answer.json().await.map_err(away);
        }
        let after = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let said = words(&answer.text().await.unwrap_or_default());
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => HumanrailError::Key(said),
            StatusCode::NOT_FOUND => HumanrailError::NotFound,
            StatusCode::CONFLICT => HumanrailError::Conflict(said),
            StatusCode::TOO_MANY_REQUESTS => HumanrailError::Busy { after },
            status if status.is_client_error() => HumanrailError::Refused(said),
            status => HumanrailError::Away(format!("{status} {said}")),
        })
    }
}

/// The message and the details of an error, in one line.
fn words(body: &str) -> String {
    let told: Value = serde_json::from_str(body).unwrap_or_default();
    let message = told["error"]["message"].as_str().unwrap_or(body);
    let details = match &told["error"]["details"] {
        Value::Null => String::new(),
        details => format!(" {details}"),
    };
    format!("{message}{details}").chars().take(QUOTED).collect()
}
