//! Counts tokens, remembers cached prefixes, and meters what a caller may ask.
//!
//! Touches: clock.
//! Change here: when the real API counts, caches or limits differently in a way a client can see.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::check;

/// A shorter prefix, in tokens, is not cached, and nobody says so; as with the real one.
const SHORTEST_PREFIX: u64 = 1024;

/// What one caller may use up in a window of time, over all models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub requests: u64,
    /// Cache reads do not count.
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            requests: 1_000,
            input_tokens: 2_000_000,
            output_tokens: 400_000,
            window: Duration::from_secs(60),
        }
    }
}

/// Input of one request, as `usage` tells it, and what it would leave in the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Neither read from the cache nor written to it.
    pub plain: u64,
    pub cache_write: u64,
    pub cache_read: u64,
    prefixes: Vec<u64>,
}

/// State over all requests to one server.
pub struct Meter {
    limits: Limits,
    window: Window,
    cached: HashSet<u64>,
}

struct Window {
    ends: Instant,
    reset: Timestamp,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
}

/// About what the real tokenizer makes of prose and code.
pub fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(3)
}

impl Meter {
    pub fn new(limits: Limits) -> Meter {
        Meter {
            limits,
            window: Window::new(limits),
            cached: HashSet::new(),
        }
    }

    /// Counts a request in; how long to wait where a limit is used up.
    pub fn admit(&mut self, body: &Value) -> Result<Input, Duration> {
        let now = Instant::now();
        if now >= self.window.ends {
            self.window = Window::new(self.limits);
        }
        let (window, limits) = (&mut self.window, &self.limits);
        let used_up = window.requests >= limits.requests
            || window.input_tokens >= limits.input_tokens
            || window.output_tokens >= limits.output_tokens;
        if used_up {
            return Err(window.ends - now);
        }
        let input = self.count(body);
        self.window.requests += 1;
        self.window.input_tokens += input.plain + input.cache_write;
        Ok(input)
    }

    pub fn output(&mut self, tokens: u64) {
        self.window.output_tokens += tokens;
    }

    /// The answer to this request has begun: from now on its prefixes can be read.
    pub fn begun(&mut self, input: &Input) {
        self.cached.extend(&input.prefixes);
    }

    fn count(&self, body: &Value) -> Input {
        let mut hash = DefaultHasher::new();
        body["model"].as_str().hash(&mut hash);
        let (mut all, mut read, mut last_breakpoint, mut prefixes) = (0, 0, 0, vec![]);
        for block in check::blocks_of(body) {
            block.text.hash(&mut hash);
            all += tokens(block.text);
            if block.cached && all >= SHORTEST_PREFIX {
                let prefix = hash.finish();
                last_breakpoint = all;
                if self.cached.contains(&prefix) {
                    read = all;
                }
                prefixes.push(prefix);
            }
        }
        Input {
            plain: all - last_breakpoint,
            cache_write: last_breakpoint - read,
            cache_read: read,
            prefixes,
        }
    }

    /// The headers that tell what is left.
    pub fn headers(&self) -> Vec<(String, String)> {
        let (window, limits) = (&self.window, &self.limits);
        [
            ("requests", limits.requests, window.requests),
            ("input-tokens", limits.input_tokens, window.input_tokens),
            ("output-tokens", limits.output_tokens, window.output_tokens),
        ]
        .into_iter()
        .flat_map(|(kind, limit, used)| {
            let header =
                |name: &str, value: String| (format!("anthropic-ratelimit-{kind}-{name}"), value);
            [
                header("limit", limit.to_string()),
                header("remaining", limit.saturating_sub(used).to_string()),
                header("reset", window.reset.to_string()),
            ]
        })
        .collect()
    }
}

impl Window {
    fn new(limits: Limits) -> Window {
        // The end first: who waits for the reset that was announced must not come too early.
        let ends = Instant::now() + limits.window;
        let reset = Timestamp::now() + limits.window;
        Window {
            ends,
            reset,
            requests: 0,
            input_tokens: 0,
            output_tokens: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(shared: &str, own: &str) -> Value {
        let cached =
            json!({"type": "text", "text": shared, "cache_control": {"type": "ephemeral"}});
        json!({"model": "claude-opus-5-5", "system": [cached, {"type": "text", "text": own}],
               "messages": [{"role": "user", "content": "Go."}]})
    }

    fn counts(input: &Input) -> (u64, u64, u64) {
        (input.plain, input.cache_write, input.cache_read)
    }

    #[test]
    fn a_prefix_can_be_read_only_once_the_first_answer_began() {
        let mut meter = Meter::new(Limits::default());
        let shared = "x".repeat(6000);
        let first = meter
            .admit(&request(&shared, "first"))
            .expect("within limits");
        let too_early = meter
            .admit(&request(&shared, "second"))
            .expect("within limits");
        meter.begun(&first);
        let later = meter
            .admit(&request(&shared, "third"))
            .expect("within limits");
        assert_eq!(counts(&first), (3, 2000, 0));
        assert_eq!(counts(&too_early), (3, 2000, 0));
        assert_eq!(counts(&later), (3, 0, 2000));
    }

    #[test]
    fn a_short_prefix_and_another_model_find_nothing_cached() {
        let mut meter = Meter::new(Limits::default());
        let short = request("short", "own");
        let first = meter.admit(&short).expect("within limits");
        meter.begun(&first);
        assert_eq!(meter.admit(&short).expect("within limits").cache_read, 0);

        let mut long = request(&"x".repeat(6000), "own");
        let first = meter.admit(&long).expect("within limits");
        meter.begun(&first);
        long["model"] = json!("claude-haiku-5-5");
        assert_eq!(meter.admit(&long).expect("within limits").cache_read, 0);
    }

    #[test]
    fn what_is_used_up_is_refused_until_the_window_ends() {
        let limits = Limits {
            requests: 1,
            window: Duration::from_secs(3600),
            ..Limits::default()
        };
        let mut meter = Meter::new(limits);
        assert!(meter.admit(&request("a", "b")).is_ok());
        let remaining = (
            "anthropic-ratelimit-requests-remaining".to_owned(),
            "0".to_owned(),
        );
        assert!(meter.headers().contains(&remaining));
        assert!(
            meter
                .admit(&request("a", "b"))
                .is_err_and(|wait| wait <= limits.window)
        );
        meter.window.ends = Instant::now();
        assert!(meter.admit(&request("a", "b")).is_ok());
    }
}
