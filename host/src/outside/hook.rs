//! An address that takes JSON: a webhook of Discord, or of the operator's own.
//!
//! Touches: http.
//! Change here: when what is posted should carry another header, or an answer means something else.

use std::time::Duration;

use reqwest::{StatusCode, Url, header};
use serde_json::Value;

use super::tls;

const ANSWERING: Duration = Duration::from_secs(30);
const SIGNATURE: &str = "X-ChangeBus-Signature";
const KEY: &str = "Idempotency-Key";
/// Of an answer's words.
const QUOTED: usize = 200;

/// Whoever knows the address can post there: it is never told.
#[derive(Clone)]
pub struct Hook {
    client: reqwest::Client,
    address: Url,
}

#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("the address is none: {0}")]
    Address(String),
    #[error("the webhook is gone ({status}): make another, and name it in the configuration")]
    Gone { status: StatusCode },
    #[error("the webhook does not take this message ({status}): {said}")]
    Refused { status: StatusCode, said: String },
    #[error("the webhook asks to wait")]
    Busy { after: Option<Duration> },
    #[error("the webhook does not answer: {0}")]
    Away(String),
}

impl Hook {
    pub fn new(address: &str) -> Result<Hook, HookError> {
        tls::prepare();
        let address = Url::parse(address).map_err(|e| HookError::Address(e.to_string()))?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(HookError::Address("it is not http or https".to_owned()));
        }
        let client = reqwest::Client::builder()
            .timeout(ANSWERING)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| HookError::Away(e.to_string()))?;
        Ok(Hook { client, address })
    }

    /// Returns once it was taken. `key` is the same whenever the same is posted again.
    pub async fn post(
        &self,
        body: String,
        key: &str,
        signature: Option<String>,
    ) -> Result<(), HookError> {
        let mut request = self
            .client
            .post(self.address.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(KEY, key);
        if let Some(signature) = signature {
            request = request.header(SIGNATURE, signature);
        }
        let answer = request.body(body).send().await;
        let answer = answer.map_err(|e| HookError::Away(e.without_url().to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let asked = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
        let said = answer.text().await.unwrap_or_default();
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => HookError::Busy {
                after: wait(&said, asked),
            },
            StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN => HookError::Gone { status },
            status if status.is_client_error() => HookError::Refused {
                status,
                said: said.chars().take(QUOTED).collect(),
            },
            status => HookError::Away(status.to_string()),
        })
    }
}

/// Discord says it in the body too, and more exactly.
fn wait(said: &str, header: Option<f64>) -> Option<Duration> {
    let told: Option<Value> = serde_json::from_str(said).ok();
    let told = told.and_then(|told| told["retry_after"].as_f64());
    let seconds = told.or(header)?;
    Duration::try_from_secs_f64(seconds).ok()
}
