//! What `[humanrail]` says.
//!
//! Touches: nothing.
//! Change here: when a task can be offered on other terms.

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, Secret};

/// A service that has people decide; off where there is no key.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Humanrail {
    pub base_url: String,
    pub api_key: Option<Secret>,
    /// As it is registered there.
    pub task_type: String,
    pub risk_tier: RiskTier,
    /// Time for a decision; afterwards it is for the built-in review.
    pub sla_seconds: u32,
    pub currency: Currency,
    /// The most that a decision is paid.
    pub max_amount: f64,
    /// Where it tells of a task, such as `https://changebus.example/webhooks/humanrail`.
    pub callback_url: Option<String>,
    /// What it signs that with.
    pub webhook_secret: Option<Secret>,
    /// Between two looks at what became of a task.
    pub poll_seconds: u32,
    /// Only runs of these; all where none is named.
    pub projects: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RiskTier {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    #[default]
    Usd,
    Sats,
    Btc,
}

impl Default for Humanrail {
    fn default() -> Humanrail {
        Humanrail {
            base_url: "https://api.escalation.engine/v1".to_owned(),
            api_key: None,
            task_type: "code_fix_review".to_owned(),
            risk_tier: RiskTier::default(),
            sla_seconds: 3600,
            currency: Currency::default(),
            max_amount: 5.0,
            callback_url: None,
            webhook_secret: None,
            poll_seconds: 30,
            projects: vec![],
        }
    }
}

type Invalid<'a> = dyn Fn(String, String, &str) -> ConfigError + 'a;

pub(super) fn validate(config: &Config, invalid: &Invalid<'_>) -> Result<(), ConfigError> {
    let humanrail = &config.humanrail;
    let no = |key: &str, value: String, hint: &str| {
        Err(invalid(format!("humanrail.{key}"), value, hint))
    };
    if !(30..=86_400).contains(&humanrail.sla_seconds) {
        let value = humanrail.sla_seconds.to_string();
        return no("sla_seconds", value, "must be 30 to 86400");
    }
    if humanrail.poll_seconds == 0 {
        return no("poll_seconds", "0".to_owned(), "must be at least 1");
    }
    if !humanrail.max_amount.is_finite() || humanrail.max_amount < 0.0 {
        let value = humanrail.max_amount.to_string();
        return no("max_amount", value, "must be a number from 0");
    }
    if humanrail.task_type.is_empty() || humanrail.task_type.len() > 128 {
        return no(
            "task_type",
            humanrail.task_type.clone(),
            "must have 1 to 128 characters",
        );
    }
    let unknown = humanrail
        .projects
        .iter()
        .find(|p| !config.projects.contains_key(*p));
    match unknown {
        Some(project) => no(
            "projects",
            project.clone(),
            "there is no such project in this configuration",
        ),
        None => Ok(()),
    }
}
