//! What a guest says while it works: passed on line by line, within limits.
//!
//! Touches: wasm.
//! Change here: when guests' lines should go elsewhere, or be capped otherwise.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::{Limits, cut};
use super::task::{LogLevel, Services};

/// Error lines kept to explain a trap, and the length of each.
const LAST_WORDS: usize = 3;
const LAST_WORD_BYTES: usize = 500;

/// The log of one call. Tells once, at its end, how many lines were dropped.
pub struct LogBook {
    plugin: String,
    services: Option<Arc<dyn Services>>,
    max_lines: u64,
    max_line_bytes: usize,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    lines: u64,
    last_words: VecDeque<String>,
}

impl LogBook {
    /// Lines go to the services, or to the host's own log where there are none.
    pub fn new(plugin: &str, services: Option<Arc<dyn Services>>, limits: &Limits) -> LogBook {
        LogBook {
            plugin: plugin.to_owned(),
            services,
            max_lines: limits.log_lines,
            max_line_bytes: limits.log_line_bytes,
            written: Mutex::default(),
        }
    }

    /// Passes a line on, cut to its limit, or drops it where there were enough.
    pub fn write(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let message = cut(message, self.max_line_bytes);
        if self.count(level, message) {
            self.pass_on(
                level,
                message,
                &within(fields, self.max_line_bytes - message.len()),
            );
        }
    }

    /// The last things said as an error: where a guest panicked, its panic.
    pub fn last_words(&self) -> Option<String> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let words: Vec<&str> = written.last_words.iter().map(String::as_str).collect();
        (!words.is_empty()).then(|| words.join(" | "))
    }

    // Last words count even where the line itself is dropped: they explain the end.
    fn count(&self, level: LogLevel, message: &str) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if level == LogLevel::Error {
            if written.last_words.len() == LAST_WORDS {
                written.last_words.pop_front();
            }
            written
                .last_words
                .push_back(cut(&message.replace('\n', " "), LAST_WORD_BYTES).to_owned());
        }
        written.lines += 1;
        written.lines <= self.max_lines
    }

    fn pass_on(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        match &self.services {
            Some(services) => services.log(level, message, fields),
            None => self.to_the_host(level, message, fields),
        }
    }

    fn to_the_host(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let plugin = &self.plugin;
        match level {
            LogLevel::Trace => tracing::trace!(plugin, ?fields, "{message}"),
            LogLevel::Debug => tracing::debug!(plugin, ?fields, "{message}"),
            LogLevel::Info => tracing::info!(plugin, ?fields, "{message}"),
            LogLevel::Warn => tracing::warn!(plugin, ?fields, "{message}"),
            LogLevel::Error => tracing::error!(plugin, ?fields, "{message}"),
        }
    }
}

impl Drop for LogBook {
    fn drop(&mut self) {
        let lines = self
            .written
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .lines;
        let dropped = lines.saturating_sub(self.max_lines);
        if dropped > 0 {
            let told = format!(
                "{dropped} further log lines were dropped; one call may write {}",
                self.max_lines
            );
            self.pass_on(LogLevel::Warn, &told, &[]);
        }
    }
}

/// The leading fields that fit into `room` bytes together.
fn within(fields: &[(String, String)], room: usize) -> Vec<(String, String)> {
    let mut left = room;
    let fits = |(key, value): &&(String, String)| match left.checked_sub(key.len() + value.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    fields.iter().take_while(fits).cloned().collect()
}
