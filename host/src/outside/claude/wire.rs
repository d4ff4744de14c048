//! What goes over the wire to the Messages API, and what comes back.
//!
//! Touches: nothing.
//! Change here: when a field of the request is sent that was not, or one of the answer is read that was not.

use serde::{Deserialize, Serialize};

use crate::config;
use crate::event::{Fault, FaultKind, ModelRequest, ModelRole, SystemBlock};

use super::models;

/// The request, in the form that every current model takes: no thinking, tools, prefill or sampling of ours.
#[derive(Debug, Serialize)]
pub struct Body<'a> {
    pub model: &'a str,
    pub max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<TextBlock<'a>>,
    pub messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    pub stream: bool,
}

impl Body<'_> {
    /// Everything the model is to read.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.system
            .iter()
            .map(|block| block.text)
            .chain(self.messages.iter().map(|message| message.content))
    }
}

#[derive(Debug, Serialize)]
pub struct TextBlock<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    pub text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
}

/// Asks for the prefix up to here to be cached, for the five minutes that are the default.
#[derive(Debug, Serialize)]
pub struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Debug, Serialize)]
pub struct OutputConfig<'a> {
    effort: &'a str,
}

/// Shapes a request for the wire, with what had to be changed about it as sentences.
pub fn shape<'a>(
    request: &'a ModelRequest,
    settings: &'a config::Claude,
) -> Result<(Body<'a>, Vec<String>), Fault> {
    check(request)?;
    let mut notes = Vec::new();
    let model = request.model.as_deref().unwrap_or(&settings.model);
    let body = Body {
        model,
        max_tokens: max_tokens(request, settings, &mut notes),
        system: system(&request.system),
        messages: request.messages.iter().map(message).collect(),
        output_config: effort(request, model, &mut notes).map(|effort| OutputConfig { effort }),
        temperature: temperature(request, model, &settings.version, &mut notes),
        stream: true,
    };
    Ok((body, notes))
}

fn check(request: &ModelRequest) -> Result<(), Fault> {
    let bad = |message: String| Err(Fault::new(FaultKind::Invalid, "llm.bad-request", message));
    if request.max_output_tokens == 0 {
        return bad("max-output-tokens is 0; ask for at least 1".into());
    }
    if request.messages.iter().all(|m| m.text.trim().is_empty()) {
        return bad("the prompt has no message; add at least one".into());
    }
    match request.effort.as_deref() {
        Some(effort) if !models::is_effort(effort) => bad(format!(
            "effort {effort:?} is unknown; use low, medium, high, xhigh or max"
        )),
        _ => Ok(()),
    }
}

fn max_tokens(request: &ModelRequest, settings: &config::Claude, notes: &mut Vec<String>) -> u32 {
    let (wanted, most) = (request.max_output_tokens, settings.max_output_tokens);
    if wanted > most {
        notes.push(format!(
            "max-output-tokens lowered from {wanted} to {most}, as claude.max_output_tokens says"
        ));
    }
    wanted.min(most)
}

/// Shared blocks first, so that all who share them send the same prefix; the cache ends with the last of them.
fn system(blocks: &[SystemBlock]) -> Vec<TextBlock<'_>> {
    let own = blocks
        .iter()
        .filter(|block| !block.shared && !block.text.is_empty());
    let mut system: Vec<_> = shared(blocks).map(text_block).collect();
    if let Some(last) = system.last_mut() {
        last.cache_control = Some(CacheControl { kind: "ephemeral" });
    }
    system.extend(own.map(text_block));
    system
}

/// The system blocks other variants send too; the API takes no empty ones.
pub fn shared(blocks: &[SystemBlock]) -> impl Iterator<Item = &SystemBlock> {
    blocks
        .iter()
        .filter(|block| block.shared && !block.text.is_empty())
}

fn text_block(block: &SystemBlock) -> TextBlock<'_> {
    TextBlock {
        kind: "text",
        text: &block.text,
        cache_control: None,
    }
}

fn message(message: &crate::event::ModelMessage) -> Message<'_> {
    let role = match message.role {
        ModelRole::User => "user",
        ModelRole::Assistant => "assistant",
    };
    Message {
        role,
        content: &message.text,
    }
}

fn effort<'a>(request: &'a ModelRequest, model: &str, notes: &mut Vec<String>) -> Option<&'a str> {
    let effort = request.effort.as_deref()?;
    if !models::takes_effort(model, effort) {
        notes.push(format!("effort {effort} dropped: {model} does not take it"));
        return None;
    }
    Some(effort)
}

fn temperature(
    request: &ModelRequest,
    model: &str,
    version: &str,
    notes: &mut Vec<String>,
) -> Option<f64> {
    let temperature = request.temperature?;
    if !models::takes_temperature(model, version) {
        notes.push(format!(
            "temperature {temperature} dropped: {model} does not take it under version {version}"
        ));
        return None;
    }
    Some(temperature)
}

/// One event of the answer's stream. Kinds and fields yet to come are passed over.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamEvent {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        content_block: Block,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    MessageDelta {
        delta: Stop,
        #[serde(default)]
        usage: WireUsage,
    },
    MessageStop,
    Error {
        error: ErrorBody,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub struct Start {
    #[serde(default)]
    pub model: String,
    #[serde(default)]
    pub usage: WireUsage,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(other)]
    Other,
}

#[derive(Debug, Default, Deserialize)]
pub struct Stop {
    pub stop_reason: Option<String>,
    pub stop_details: Option<StopDetails>,
}

#[derive(Debug, Deserialize)]
pub struct StopDetails {
    pub category: Option<String>,
    pub explanation: Option<String>,
}

/// Counts as the API gives them; what is missing keeps the value it had.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct WireUsage {
    /// Input that was neither read from the cache nor written to it.
    pub input_tokens: Option<u64>,
    pub cache_creation_input_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
}

/// The body of an answer that is no 2xx.
#[derive(Debug, Default, Deserialize)]
pub struct ErrorAnswer {
    #[serde(default)]
    pub error: ErrorBody,
    pub request_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct ErrorBody {
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub details: Option<ErrorDetails>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct ErrorDetails {
    pub error_code: Option<String>,
}

impl ErrorAnswer {
    /// For a body that is not the API's, such as a proxy's page: its text is all there is.
    pub fn foreign(body: &[u8]) -> ErrorAnswer {
        let message = String::from_utf8_lossy(body).into_owned();
        ErrorAnswer {
            error: ErrorBody {
                message,
                ..ErrorBody::default()
            },
            request_id: None,
        }
    }
}

impl ErrorBody {
    /// The stable name of the cause, where there is one.
    pub fn code(&self) -> Option<&str> {
        self.details.as_ref()?.error_code.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ModelMessage;

    fn request() -> ModelRequest {
        ModelRequest {
            model: None,
            max_output_tokens: 1000,
            system: vec![],
            messages: vec![ModelMessage {
                role: ModelRole::User,
                text: "Fix it.".into(),
            }],
            effort: None,
            temperature: None,
        }
    }

    fn block(text: &str, shared: bool) -> SystemBlock {
        SystemBlock {
            text: text.into(),
            shared,
        }
    }

    fn json(request: &ModelRequest, settings: &config::Claude) -> (serde_json::Value, Vec<String>) {
        let (body, notes) = shape(request, settings).expect("a good request");
        (serde_json::to_value(body).expect("plain data"), notes)
    }

    #[test]
    fn the_smallest_request_says_no_more_than_it_must() {
        let (body, notes) = json(&request(), &config::Claude::default());
        assert_eq!(
            body,
            serde_json::json!({
                "model": "claude-sonnet-5-5", "max_tokens": 1000, "stream": true,
                "messages": [{"role": "user", "content": "Fix it."}],
            })
        );
        assert!(notes.is_empty());
    }

    #[test]
    fn shared_blocks_lead_and_the_last_of_them_ends_the_cached_prefix() {
        let system = vec![
            block("mine", false),
            block("ours 1", true),
            block("", true),
            block("ours 2", true),
        ];
        let (body, _) = json(
            &ModelRequest {
                system,
                ..request()
            },
            &config::Claude::default(),
        );
        assert_eq!(
            body["system"],
            serde_json::json!([
                {"type": "text", "text": "ours 1"},
                {"type": "text", "text": "ours 2", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "mine"},
            ])
        );
    }

    #[test]
    fn options_the_model_does_not_take_are_dropped_and_noted() {
        let model = Some("claude-haiku-4-5".to_owned());
        let request = ModelRequest {
            model,
            effort: Some("low".into()),
            temperature: Some(0.2),
            ..request()
        };
        let (body, notes) = json(&request, &config::Claude::default());
        assert_eq!(
            (body.get("output_config"), body.get("temperature")),
            (None, None)
        );
        assert_eq!(
            notes,
            [
                "effort low dropped: claude-haiku-4-5 does not take it",
                "temperature 0.2 dropped: claude-haiku-4-5 does not take it under version 2026-10-21",
            ]
        );
        let older = config::Claude {
            version: "2023-06-01".into(),
            ..config::Claude::default()
        };
        assert_eq!(json(&request, &older).0["temperature"], 0.2);
    }

    #[test]
    fn effort_goes_into_the_output_config() {
        let (body, notes) = json(
            &ModelRequest {
                effort: Some("high".into()),
                ..request()
            },
            &config::Claude::default(),
        );
        assert_eq!(body["output_config"], serde_json::json!({"effort": "high"}));
        assert!(notes.is_empty());
    }

    #[test]
    fn no_request_asks_for_more_output_than_the_operator_allows() {
        let (body, notes) = json(
            &ModelRequest {
                max_output_tokens: 64_000,
                ..request()
            },
            &config::Claude::default(),
        );
        assert_eq!(body["max_tokens"], 16_000);
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn a_request_that_cannot_be_meant_is_refused_here() {
        let misspelt = ModelRequest {
            effort: Some("hihg".into()),
            ..request()
        };
        let silent = ModelRequest {
            messages: vec![],
            ..request()
        };
        let mute = ModelRequest {
            max_output_tokens: 0,
            ..request()
        };
        for bad in [misspelt, silent, mute] {
            let fault = shape(&bad, &config::Claude::default()).expect_err("refused");
            assert_eq!(
                (fault.kind, fault.code.as_str()),
                (FaultKind::Invalid, "llm.bad-request")
            );
        }
    }

    #[test]
    fn events_yet_unknown_are_passed_over() {
        let event: StreamEvent =
            serde_json::from_str(r#"{"type": "weather", "sun": true}"#).expect("passed over");
        assert!(matches!(event, StreamEvent::Other));
        let delta = r#"{"type": "content_block_delta", "index": 3, "delta": {"type": "song_delta", "note": "c"}}"#;
        let event: StreamEvent = serde_json::from_str(delta).expect("passed over");
        assert!(matches!(
            event,
            StreamEvent::ContentBlockDelta {
                delta: Delta::Other
            }
        ));
    }
}
