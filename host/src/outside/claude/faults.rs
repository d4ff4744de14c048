//! Turns what the API answers instead of a message into a fault a strategy and a person can act on.
//!
//! Touches: nothing.
//! Change here: when the API gets another status or `error_code`. Never look at the wording of a message.

use std::time::Duration;

use crate::event::{Fault, FaultKind};

use super::wire::ErrorBody;

/// Causes that only the operator's wallet or the calendar removes.
const SPEND_LIMITS: [&str; 3] = [
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached",
];

/// Longest foreign text that is passed on, in characters.
const MOST_MESSAGE_CHARS: usize = 400;

/// An answer that is no message.
#[derive(Clone, Debug)]
pub struct Refused {
    pub status: u16,
    pub error: ErrorBody,
    /// What `x-should-retry` says.
    pub should_retry: Option<bool>,
    /// What `retry-after-ms` or `retry-after` says.
    pub retry_after: Option<Duration>,
    pub request_id: Option<String>,
}

impl Refused {
    pub fn is_spend_limit(&self) -> bool {
        self.error
            .code()
            .is_some_and(|code| SPEND_LIMITS.contains(&code))
    }

    pub fn fault(&self) -> Fault {
        let (kind, code) = match self.error.code() {
            _ if self.is_spend_limit() => (FaultKind::Budget, "llm.spend-limit"),
            Some("organization_on_hold") => (FaultKind::Denied, "llm.on-hold"),
            _ => self.by_status(),
        };
        let mut fault = Fault::new(kind, code, self.message());
        fault.retry_after_ms = self
            .retry_after
            .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        fault
    }

    /// The status; for an error inside a stream that began with 200, the one it would have had.
    pub fn meant_status(&self) -> u16 {
        match (self.status, self.error.kind.as_str()) {
            (200, "rate_limit_error") => 429,
            (200, "api_error") => 500,
            (200, "timeout_error") => 504,
            (200, "overloaded_error") => 529,
            (status, _) => status,
        }
    }

    fn by_status(&self) -> (FaultKind, &'static str) {
        match self.meant_status() {
            401 => (FaultKind::Denied, "llm.bad-key"),
            402 => (FaultKind::Denied, "llm.billing"),
            403 => (FaultKind::Denied, "llm.forbidden"),
            404 => (FaultKind::NotFound, "llm.not-found"),
            408 | 504 => (FaultKind::Timeout, "llm.timeout"),
            409 => (FaultKind::Conflict, "llm.conflict"),
            413 => (FaultKind::Invalid, "llm.too-large"),
            429 => (FaultKind::Unavailable, "llm.rate-limited"),
            529 => (FaultKind::Unavailable, "llm.overloaded"),
            500.. => (FaultKind::Unavailable, "llm.unavailable"),
            _ => (FaultKind::Invalid, "llm.bad-request"),
        }
    }

    fn message(&self) -> String {
        let ErrorBody { kind, message, .. } = &self.error;
        let code = self.error.code().unwrap_or_default();
        let request = self.request_id.as_deref().unwrap_or("unnamed");
        format!(
            "the API answered {} {kind} {code} (request {request}) {message}",
            self.status
        )
    }
}

/// Foreign text as one short line, without control characters.
pub fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// The fault as it may be shown: one line, and nowhere the secret, for a server that echoes its request.
pub fn tidy(mut fault: Fault, secret: &str) -> Fault {
    // In this order: a secret cut in two would no longer be found.
    if !secret.is_empty() {
        fault.message = fault.message.replace(secret, "[key]");
    }
    fault.message = one_line(&fault.message);
    fault
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::claude::wire::ErrorDetails;

    fn refused(status: u16, kind: &str, code: Option<&str>) -> Refused {
        let details = code.map(|code| ErrorDetails {
            error_code: Some(code.to_owned()),
        });
        let error = ErrorBody {
            kind: kind.into(),
            message: "as it is".into(),
            details,
        };
        Refused {
            status,
            error,
            should_retry: None,
            retry_after: None,
            request_id: Some("req_1".into()),
        }
    }

    fn verdict(status: u16, kind: &str, code: Option<&str>) -> (FaultKind, String) {
        let fault = refused(status, kind, code).fault();
        (fault.kind, fault.code)
    }

    #[test]
    fn a_spend_limit_is_told_from_a_rate_limit_by_its_code() {
        let limit = Some("enforced_spend_limit_reached");
        assert_eq!(
            verdict(429, "rate_limit_error", limit),
            (FaultKind::Budget, "llm.spend-limit".into())
        );
        let linked = Some("linked_organization_spend_limit_reached");
        assert_eq!(
            verdict(402, "billing_error", linked),
            (FaultKind::Budget, "llm.spend-limit".into())
        );
        let ramp = Some("ramp_limit_exceeded");
        assert_eq!(
            verdict(429, "rate_limit_error", ramp),
            (FaultKind::Unavailable, "llm.rate-limited".into())
        );
        assert_eq!(
            verdict(429, "rate_limit_error", None),
            (FaultKind::Unavailable, "llm.rate-limited".into())
        );
    }

    #[test]
    fn every_status_has_its_code() {
        for (status, kind, code) in [
            (400, FaultKind::Invalid, "llm.bad-request"),
            (401, FaultKind::Denied, "llm.bad-key"),
            (402, FaultKind::Denied, "llm.billing"),
            (403, FaultKind::Denied, "llm.forbidden"),
            (404, FaultKind::NotFound, "llm.not-found"),
            (413, FaultKind::Invalid, "llm.too-large"),
            (500, FaultKind::Unavailable, "llm.unavailable"),
            (504, FaultKind::Timeout, "llm.timeout"),
            (529, FaultKind::Unavailable, "llm.overloaded"),
        ] {
            assert_eq!(
                verdict(status, "", None),
                (kind, code.to_owned()),
                "{status}"
            );
        }
    }

    #[test]
    fn an_error_inside_a_stream_is_told_by_its_type() {
        assert_eq!(verdict(200, "overloaded_error", None).1, "llm.overloaded");
        assert_eq!(verdict(200, "api_error", None).1, "llm.unavailable");
        assert_eq!(verdict(200, "rate_limit_error", None).1, "llm.rate-limited");
    }

    #[test]
    fn the_message_names_status_cause_and_request() {
        let fault = refused(429, "rate_limit_error", Some("ramp_limit_exceeded")).fault();
        let expected =
            "the API answered 429 rate_limit_error ramp_limit_exceeded (request req_1) as it is";
        assert_eq!(fault.message, expected);
    }

    #[test]
    fn foreign_text_becomes_one_short_line() {
        assert_eq!(one_line("a\r\n\u{1b}[31mb\tc"), "a [31mb c");
        assert_eq!(
            one_line(&"\u{fc}".repeat(500)).chars().count(),
            MOST_MESSAGE_CHARS + 3
        );
    }

    #[test]
    fn a_secret_that_was_echoed_is_taken_out() {
        let fault = |message: &str| Fault::new(FaultKind::Denied, "llm.bad-key", message);
        let message = tidy(fault("bad key sk-1,\nsk-1!"), "sk-1").message;
        assert_eq!(message, "bad key [key], [key]!");
    }

    #[test]
    fn no_part_of_a_secret_is_left_where_a_message_is_cut() {
        let secret = "sk-0123456789";
        for before in MOST_MESSAGE_CHARS - secret.len()..=MOST_MESSAGE_CHARS {
            let message = format!("{}{secret}", "x".repeat(before));
            let fault = Fault::new(FaultKind::Denied, "llm.bad-key", message);
            assert!(!tidy(fault, secret).message.contains("sk-"), "{before}");
        }
    }
}
