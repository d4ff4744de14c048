//! Says an answer as the real API would: as a stream of events, or in one piece.
//!
//! Touches: nothing.
//! Change here: when the shape of a message or of its events changes.

use serde_json::{Value, json};

use crate::meter::{Input, tokens};

/// Longest piece of text in one event, in bytes.
const PIECE: usize = 24;
const THOUGHT: &str = "The script says what to answer.";
const SIGNATURE: &str = "c2NyaXB0ZWQ=";

/// One server-sent event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: &'static str,
    pub data: Value,
}

impl Event {
    fn new(name: &'static str, mut data: Value) -> Event {
        data["type"] = name.into();
        Event { name, data }
    }

    /// As it stands on the wire.
    pub fn line(&self) -> String {
        format!("event: {}\ndata: {}\n\n", self.name, self.data)
    }
}

/// What is said, and why it stops.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub id: String,
    pub model: String,
    pub text: String,
    pub stop_reason: &'static str,
    pub stop_details: Value,
    pub input: Input,
}

impl Answer {
    pub fn output_tokens(&self) -> u64 {
        tokens(THOUGHT) + tokens(&self.text)
    }

    fn usage(&self, output_tokens: u64) -> Value {
        json!({
            "input_tokens": self.input.plain,
            "cache_creation_input_tokens": self.input.cache_write,
            "cache_read_input_tokens": self.input.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.input.cache_write,
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": output_tokens,
            "service_tier": "standard",
        })
    }

    fn message(&self, content: Value, stop_reason: Value, output_tokens: u64) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop_reason, "stop_sequence": null, "usage": self.usage(output_tokens),
        })
    }

    /// The answer in one piece.
    pub fn whole(&self) -> Value {
        let content = json!([
            {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE},
            {"type": "text", "text": self.text},
        ]);
        let mut message = self.message(content, self.stop_reason.into(), self.output_tokens());
        message["stop_details"] = self.stop_details.clone();
        message
    }

    /// The event every stream begins with.
    pub fn start(&self) -> Event {
        Event::new(
            "message_start",
            json!({"message": self.message(json!([]), Value::Null, 1)}),
        )
    }

    /// Thinking first, then the text in pieces.
    pub fn content(&self) -> Vec<Event> {
        let mut events = vec![
            block_start(
                0,
                json!({"type": "thinking", "thinking": "", "signature": ""}),
            ),
            Event::new("ping", json!({})),
            delta(0, json!({"type": "thinking_delta", "thinking": THOUGHT})),
            delta(
                0,
                json!({"type": "signature_delta", "signature": SIGNATURE}),
            ),
            block_stop(0),
            self.text_start(),
        ];
        events.extend(pieces(&self.text).into_iter().map(text_delta));
        events
    }

    pub fn text_start(&self) -> Event {
        block_start(1, json!({"type": "text", "text": ""}))
    }

    /// The events every complete stream ends with.
    pub fn end(&self) -> Vec<Event> {
        let stop = json!({
            "stop_reason": self.stop_reason, "stop_sequence": null, "stop_details": self.stop_details,
        });
        let usage = self.usage(self.output_tokens());
        vec![
            block_stop(1),
            Event::new("message_delta", json!({"delta": stop, "usage": usage})),
            Event::new("message_stop", json!({})),
        ]
    }
}

pub fn text_delta(text: &str) -> Event {
    delta(1, json!({"type": "text_delta", "text": text}))
}

/// An error after HTTP 200.
pub fn overloaded() -> Event {
    Event::new(
        "error",
        json!({"error": {"type": "overloaded_error", "message": "Overloaded"}}),
    )
}

fn block_start(index: u64, block: Value) -> Event {
    Event::new(
        "content_block_start",
        json!({"index": index, "content_block": block}),
    )
}

fn delta(index: u64, delta: Value) -> Event {
    Event::new(
        "content_block_delta",
        json!({"index": index, "delta": delta}),
    )
}

fn block_stop(index: u64) -> Event {
    Event::new("content_block_stop", json!({"index": index}))
}

/// The text in pieces of at most [`PIECE`] bytes, or one character where that is longer.
fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let shortest = text.chars().next().map_or(0, char::len_utf8);
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE).max(shortest));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_text() {
        let text = "\u{1f980}".repeat(20) + "and some plain words after the crabs";
        let pieces = pieces(&text);
        assert_eq!(pieces.concat(), text);
        assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.len() <= PIECE));
        assert!(self::pieces("").is_empty());
    }

    #[test]
    fn stream_and_whole_say_the_same() {
        let answer = Answer {
            id: "msg_1".into(),
            model: "claude-opus-5-5".into(),
            text: "A text that is longer than one piece.".into(),
            stop_reason: "end_turn",
            stop_details: Value::Null,
            input: Input::default(),
        };
        let deltas = answer.content();
        let text: String = deltas
            .iter()
            .filter_map(|event| event.data["delta"]["text"].as_str())
            .collect();
        assert_eq!(answer.whole()["content"][1]["text"], text);
        assert_eq!(answer.whole()["usage"], answer.end()[1].data["usage"]);
    }
}
