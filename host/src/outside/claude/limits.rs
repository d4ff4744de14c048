//! What the API says is left of its rate limits.
//!
//! Touches: nothing.
//! Change here: when another limit is announced, or when one that is used up should be met differently.

use std::time::Duration;

use jiff::Timestamp;

const KINDS: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];

/// One limit of one model, as the newest answer told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub model: String,
    /// `requests`, `tokens`, `input-tokens` or `output-tokens`.
    pub kind: &'static str,
    pub limit: u64,
    pub remaining: u64,
    /// When all of it is there again.
    pub reset: Timestamp,
}

/// Reads the limits out of an answer's headers; one that is incomplete is left out.
pub fn read<'a>(model: &str, header: impl Fn(&str) -> Option<&'a str>) -> Vec<RateLimit> {
    let one = |kind| {
        let field = |name| header(&format!("anthropic-ratelimit-{kind}-{name}"));
        let number = |name| field(name)?.parse().ok();
        let reset = field("reset")?.parse().ok()?;
        Some(RateLimit {
            model: model.to_owned(),
            kind,
            limit: number("limit")?,
            remaining: number("remaining")?,
            reset,
        })
    };
    KINDS.into_iter().filter_map(one).collect()
}

/// Puts the news in the place of what was known of the same model and kind.
pub fn update(known: &mut Vec<RateLimit>, news: Vec<RateLimit>) {
    known.retain(|old| {
        !news
            .iter()
            .any(|new| new.model == old.model && new.kind == old.kind)
    });
    known.extend(news);
}

/// The kind of limit that stands in the way of a request to `model`, and for how long.
pub fn used_up(
    known: &[RateLimit],
    model: &str,
    now: Timestamp,
) -> Option<(&'static str, Duration)> {
    let waits = known
        .iter()
        .filter(|limit| limit.model == model && limit.remaining == 0)
        .filter_map(|limit| {
            let wait = Duration::try_from(now.until(limit.reset).ok()?).ok()?;
            (!wait.is_zero()).then_some((limit.kind, wait))
        });
    waits.max_by_key(|(_, wait)| *wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: &str = "2026-11-22T12:00:30Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn headers(remaining: &'static str) -> impl Fn(&str) -> Option<&'static str> {
        move |name| match name {
            "anthropic-ratelimit-requests-limit" => Some("50"),
            "anthropic-ratelimit-requests-remaining" => Some(remaining),
            "anthropic-ratelimit-requests-reset" => Some(RESET),
            "anthropic-ratelimit-tokens-limit" => Some("1000"),
            _ => None,
        }
    }

    #[test]
    fn complete_limits_are_read_and_others_left_out() {
        let limits = read("m", headers("7"));
        let requests = RateLimit {
            model: "m".into(),
            kind: "requests",
            limit: 50,
            remaining: 7,
            reset: at(RESET),
        };
        assert_eq!(limits, [requests]);
    }

    #[test]
    fn news_take_the_place_of_what_was_known() {
        let mut known = read("m", headers("7"));
        update(&mut known, read("other", headers("3")));
        update(&mut known, read("m", headers("6")));
        let left: Vec<_> = known
            .iter()
            .map(|l| (l.model.as_str(), l.remaining))
            .collect();
        assert_eq!(left, [("other", 3), ("m", 6)]);
    }

    #[test]
    fn a_limit_that_is_used_up_stands_in_the_way_until_its_reset() {
        let known = read("m", headers("0"));
        let wait =
            |model, now| used_up(&known, model, at(now)).map(|(kind, wait)| (kind, wait.as_secs()));
        assert_eq!(wait("m", "2026-11-22T12:00:00Z"), Some(("requests", 30)));
        assert_eq!(wait("m", RESET), None);
        assert_eq!(wait("other", "2026-11-22T12:00:00Z"), None);
        assert_eq!(
            used_up(&read("m", headers("1")), "m", at("2026-11-22T12:00:00Z")),
            None
        );
    }
}
