//! Adds up the events of one answer, and says what came of it.
//!
//! Touches: nothing.
//! Change here: when a way for an answer to end comes or goes.

use crate::event::{Fault, FaultKind, FaultUsage, ModelAnswer, Usage};

use super::prices::Tariff;
use super::sse::Frame;
use super::wire::{Block, Delta, ErrorBody, Stop, StreamEvent, WireUsage};

/// Longest text that is taken from one answer, in bytes.
pub const MOST_TEXT_BYTES: usize = 1 << 20;

/// What is known of an answer so far.
#[derive(Debug, Default)]
pub struct Answer {
    model: String,
    text: String,
    usage: WireUsage,
    /// Bytes of text and thinking that came; what a broken answer's output is reckoned from.
    heard: u64,
    stop: Stop,
    produced: bool,
    finished: bool,
}

/// Why reading on makes no sense.
#[derive(Debug)]
pub enum Broken {
    /// The API said so in an `error` event.
    Error(ErrorBody),
    /// More text than [`MOST_TEXT_BYTES`], or a line without end.
    Oversized,
    /// Not what a Messages API sends, with the offence.
    Nonsense(String),
}

impl Answer {
    /// Takes in one frame.
    pub fn take(&mut self, frame: &Frame) -> Result<(), Broken> {
        if frame.data.is_empty() {
            return Ok(());
        }
        match serde_json::from_str(&frame.data).map_err(|e| nonsense(frame, &e))? {
            StreamEvent::MessageStart { message } => {
                self.model = message.model;
                self.count(message.usage);
            }
            StreamEvent::ContentBlockStart {
                content_block: Block::Text { text },
            } => self.add(&text)?,
            StreamEvent::ContentBlockDelta {
                delta: Delta::Text { text },
            } => self.add(&text)?,
            StreamEvent::ContentBlockDelta {
                delta: Delta::Thinking { thinking },
            } => self.hear(&thinking),
            StreamEvent::ContentBlockStart { .. } | StreamEvent::ContentBlockDelta { .. } => {
                self.hear("")
            }
            StreamEvent::MessageDelta { delta, usage } => {
                self.stop = delta;
                self.count(usage);
            }
            StreamEvent::MessageStop => self.finished = true,
            StreamEvent::Error { error } => return Err(Broken::Error(error)),
            StreamEvent::Other => {}
        }
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<(), Broken> {
        self.hear(text);
        if self.text.len() + text.len() > MOST_TEXT_BYTES {
            return Err(Broken::Oversized);
        }
        self.text.push_str(text);
        Ok(())
    }

    fn hear(&mut self, content: &str) {
        self.produced = true;
        self.heard += content.len() as u64;
    }

    /// Counts are cumulative: the later one holds, and one that is left out stays.
    fn count(&mut self, new: WireUsage) {
        let usage = &mut self.usage;
        usage.input_tokens = new.input_tokens.or(usage.input_tokens);
        usage.cache_creation_input_tokens = new
            .cache_creation_input_tokens
            .or(usage.cache_creation_input_tokens);
        usage.cache_read_input_tokens = new
            .cache_read_input_tokens
            .or(usage.cache_read_input_tokens);
        usage.output_tokens = new.output_tokens.or(usage.output_tokens);
    }

    /// Whether anything of the content came, be it thinking: from here on a second try would be paid twice.
    pub fn has_produced(&self) -> bool {
        self.produced
    }

    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Tokens and money so far. The output of an answer that broke off is told only by its first count, which
    /// is next to nothing, so it is taken to be at least a token for four bytes.
    pub fn usage(&self, tariff: &Tariff) -> Usage {
        let count = |tokens: Option<u64>| tokens.unwrap_or(0);
        let cache_read_tokens = count(self.usage.cache_read_input_tokens);
        let cache_write_tokens = count(self.usage.cache_creation_input_tokens);
        let mut usage = Usage {
            input_tokens: count(self.usage.input_tokens) + cache_read_tokens + cache_write_tokens,
            output_tokens: count(self.usage.output_tokens).max(if self.finished {
                0
            } else {
                self.heard / 4
            }),
            cache_read_tokens,
            cache_write_tokens,
            cost_usd: 0.0,
        };
        usage.cost_usd = tariff.cost_usd(&usage);
        usage
    }

    /// What a finished answer amounts to. `usage` is all that was spent on it, earlier tries included.
    pub fn conclude(
        self,
        usage: Usage,
        request_id: Option<String>,
        notes: Vec<String>,
    ) -> Result<ModelAnswer, Fault> {
        let stop_reason = self.stop.stop_reason.clone().unwrap_or_default();
        match stop_reason.as_str() {
            "end_turn" | "stop_sequence" => Ok(ModelAnswer {
                text: self.text,
                model: self.model,
                stop_reason,
                usage,
                request_id,
                notes,
            }),
            "refusal" => Err(self.refused()),
            "max_tokens" | "model_context_window_exceeded" => Err(truncated(&stop_reason)),
            other => Err(unexpected(other)),
        }
    }

    fn refused(&self) -> Fault {
        let details = self.stop.stop_details.as_ref();
        let category = details
            .and_then(|d| d.category.as_deref())
            .unwrap_or("none named");
        let explanation = details
            .and_then(|d| d.explanation.as_deref())
            .unwrap_or_default();
        let message = format!("the model refused (category: {category}) {explanation}");
        Fault::new(FaultKind::Denied, "llm.refused", message)
    }
}

fn nonsense(frame: &Frame, error: &serde_json::Error) -> Broken {
    Broken::Nonsense(format!("event {:?} cannot be read: {error}", frame.event))
}

fn truncated(stop_reason: &str) -> Fault {
    let message =
        format!("the answer was cut off ({stop_reason}); ask for less, or raise max-output-tokens");
    Fault::new(FaultKind::Invalid, "llm.truncated", message)
}

fn unexpected(stop_reason: &str) -> Fault {
    let message = format!("the answer stopped for a reason not known here: {stop_reason:?}");
    Fault::new(FaultKind::Internal, "llm.unexpected-stop", message)
}

/// Attaches what was spent; nothing spent, nothing attached.
pub fn with_usage(mut fault: Fault, usage: Usage) -> Fault {
    fault.usage = (usage != Usage::default()).then(|| FaultUsage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        usd_micros: (usage.cost_usd * 1e6).ceil() as u64,
    });
    fault
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::civil::date;

    use super::*;
    use crate::outside::claude::prices;

    const START: &str = r#"{"type":"message_start","message":{"model":"claude-sonnet-5-5","usage":{
        "input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":5000,"output_tokens":1}}}"#;
    const THINKING: &str = r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#;
    const THOUGHT: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm, hm, hm, hm!"}}"#;
    const SIGNED: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#;
    const TEXT: &str =
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"He"}}"#;
    const MORE: &str =
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"llo"}}"#;
    const STOP: &str = r#"{"type":"message_stop"}"#;

    fn ends(stop_reason: &str, details: &str) -> String {
        format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{stop_reason}","stop_details":{details}}},
                "usage":{{"output_tokens":42}}}}"#
        )
    }

    fn read(events: &[&str]) -> Result<Answer, Broken> {
        let mut answer = Answer::default();
        for data in events {
            answer.take(&Frame {
                event: "ignored".into(),
                data: (*data).to_owned(),
            })?;
        }
        Ok(answer)
    }

    fn usage(answer: &Answer) -> Usage {
        let tariff = prices::tariff("claude-sonnet-5-5", date(2026, 11, 22), &BTreeMap::new());
        answer.usage(&tariff.expect("in the table"))
    }

    fn conclusion(events: &[&str]) -> Result<ModelAnswer, Fault> {
        let answer = read(events).expect("a whole stream");
        assert!(answer.is_finished());
        let usage = usage(&answer);
        answer.conclude(usage, Some("req_1".into()), vec![])
    }

    #[test]
    fn only_text_is_kept_and_all_input_is_counted() {
        let end = ends("end_turn", "null");
        let answer = conclusion(&[START, THINKING, THOUGHT, SIGNED, TEXT, MORE, &end, STOP])
            .expect("a good answer");
        assert_eq!(
            (answer.text.as_str(), answer.stop_reason.as_str()),
            ("Hello", "end_turn")
        );
        let Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cost_usd,
            ..
        } = answer.usage;
        assert_eq!(
            (input_tokens, output_tokens, cache_read_tokens),
            (5010, 42, 5000)
        );
        let dollars = (10.0 * 2.0 + 5000.0 * 0.10 + 42.0 * 10.0) / 1e6;
        assert!((cost_usd - dollars).abs() < 1e-12, "{cost_usd}");
    }

    #[test]
    fn a_refusal_tells_its_category() {
        let details = r#"{"type":"refusal","category":"cyber","explanation":"It could harm."}"#;
        let fault = conclusion(&[START, &ends("refusal", details), STOP]).expect_err("refused");
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::Denied, "llm.refused")
        );
        assert_eq!(
            fault.message,
            "the model refused (category: cyber) It could harm."
        );
        let fault = conclusion(&[START, &ends("refusal", "null"), STOP]).expect_err("refused");
        assert!(fault.message.contains("none named"), "{fault}");
    }

    #[test]
    fn an_answer_that_was_cut_off_is_not_an_answer() {
        for reason in ["max_tokens", "model_context_window_exceeded"] {
            let fault =
                conclusion(&[START, TEXT, &ends(reason, "null"), STOP]).expect_err("cut off");
            assert_eq!(fault.code, "llm.truncated");
            assert!(fault.message.contains(reason));
        }
    }

    #[test]
    fn a_reason_to_stop_that_is_not_known_is_not_taken_for_an_end() {
        let fault =
            conclusion(&[START, TEXT, &ends("tool_use", "null"), STOP]).expect_err("unexpected");
        assert_eq!(fault.code, "llm.unexpected-stop");
    }

    #[test]
    fn what_a_broken_answer_cost_is_reckoned_from_what_came() {
        let answer = read(&[START, THINKING, THOUGHT, TEXT, MORE]).expect("so far so good");
        assert!(!answer.is_finished() && answer.has_produced());
        assert_eq!(usage(&answer).output_tokens, 20 / 4);
    }

    #[test]
    fn nothing_is_produced_before_the_first_block() {
        assert!(
            !read(&[START, r#"{"type":"ping"}"#])
                .expect("so far so good")
                .has_produced()
        );
        assert!(
            read(&[START, THINKING])
                .expect("so far so good")
                .has_produced()
        );
    }

    #[test]
    fn an_error_in_the_stream_ends_it() {
        let error =
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let broken = read(&[START, error]).expect_err("an error");
        assert!(matches!(broken, Broken::Error(error) if error.kind == "overloaded_error"));
    }

    #[test]
    fn text_without_end_is_given_up_on() {
        let piece = "x".repeat(MOST_TEXT_BYTES / 2 + 1);
        let delta = format!(
            r#"{{"type":"content_block_delta","index":1,"delta":{{"type":"text_delta","text":"{piece}"}}}}"#
        );
        assert!(matches!(
            read(&[START, TEXT, &delta, &delta]),
            Err(Broken::Oversized)
        ));
    }

    #[test]
    fn what_no_api_sends_is_called_so() {
        assert!(matches!(read(&["<html>"]), Err(Broken::Nonsense(_))));
    }
}
