//! What a guest says while it works: passed on line by line, within limits.
//!
//! Touches: wasm.
//! Change here: when guests' lines should go elsewhere, or be capped otherwise.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::Account;
use super::limits::cut;
use super::task::{LogLevel, Services};
use crate::outside::clip::one_line;

/// Error lines kept to explain a trap, and the length of each.
const LAST_WORDS: usize = 3;
const LAST_WORD_BYTES: usize = 500;

/// The log of one call. Tells once, at its end, how many lines were dropped.
pub struct LogBook {
    plugin: String,
    services: Option<Arc<dyn Services>>,
    account: Account,
    last_words: Mutex<VecDeque<String>>,
}

impl LogBook {
    /// Lines go to the services, or to the host's own log where there are none.
    pub fn new(plugin: &str, services: Option<Arc<dyn Services>>, account: Account) -> LogBook {
        LogBook {
            plugin: plugin.to_owned(),
            services,
            account,
            last_words: Mutex::default(),
        }
    }

    /// Passes a line on, cut to its limit, or drops it where there were enough.
    pub fn write(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let most = self.account.limits().log_line_bytes;
        let message = cut(message, most);
        // Last words count even where the line itself is dropped: they explain the end.
        if level == LogLevel::Error {
            self.remember(message);
        }
        if self.account.log_line() {
            self.pass_on(level, message, &within(fields, most - message.len()));
        }
    }

    /// The last things said as an error: where a guest panicked, its panic.
    pub fn last_words(&self) -> Option<String> {
        let words = self.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        (!words.is_empty()).then(|| words.join(" | "))
    }

    fn remember(&self, message: &str) {
        let mut words = self.words();
        if words.len() == LAST_WORDS {
            words.pop_front();
        }
        words.push_back(cut(&message.replace('\n', " "), LAST_WORD_BYTES).to_owned());
    }

    fn words(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn pass_on(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        match &self.services {
            Some(services) => services.log(level, message, fields),
            None => self.to_the_host(level, message, fields),
        }
    }

    fn to_the_host(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let (plugin, message) = (&self.plugin, one_line(message));
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
        let dropped = self.account.log_dropped();
        if dropped > 0 {
            let told = format!(
                "{dropped} further log lines were dropped; one call may write {}",
                self.account.limits().log_lines
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
