//! What every twin has: a configuration, a history, a log.
//!
//! Touches: nothing.
//! Change here: when every kind of plugin is given something new.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::{Episode, Level};

#[derive(Default)]
pub(super) struct Common {
    pub(super) config: Option<String>,
    pub(super) history: BTreeMap<(String, String, String), f64>,
    pub(super) similar: Vec<Episode>,
    pub(super) rejections: Vec<String>,
    pub(super) logs: RefCell<Vec<(Level, String)>>,
}

impl Common {
    pub(super) fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: String = fields.iter().map(|(k, v)| format!(" {k}={v}")).collect();
        self.logs
            .borrow_mut()
            .push((level, format!("{message}{fields}")));
    }

    pub(super) fn config_json(&self) -> String {
        self.config.clone().unwrap_or_else(|| "{}".to_owned())
    }

    pub(super) fn history(&self, scope: &str, key: &str, metric: &str) -> Option<f64> {
        let key = (scope.to_owned(), key.to_owned(), metric.to_owned());
        self.history.get(&key).copied()
    }
}

macro_rules! common_setup {
    () => {
        /// The `config` table.
        pub fn config(mut self, config: serde_json::Value) -> Self {
            self.common.config = Some(config.to_string());
            self
        }

        pub fn history(mut self, scope: &str, key: &str, metric: &str, value: f64) -> Self {
            let key = (scope.to_owned(), key.to_owned(), metric.to_owned());
            self.common.history.insert(key, value);
            self
        }

        /// An earlier failure that resembles this one; the most alike first.
        pub fn similar(mut self, episode: crate::Episode) -> Self {
            self.common.similar.push(episode);
            self
        }

        /// What somebody said of a fix that was not wanted; the newest first.
        pub fn rejected(mut self, reason: &str) -> Self {
            self.common.rejections.push(reason.to_owned());
            self
        }

        /// What the plugin logged: level, and message with its fields.
        pub fn logs(&self) -> Vec<(Level, String)> {
            self.common.logs.borrow().clone()
        }
    };
}

macro_rules! common_services {
    ($twin:ty) => {
        impl Services for $twin {
            fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
                self.common.log(level, message, fields);
            }

            fn config_json(&self) -> String {
                self.common.config_json()
            }

            fn history(&self, scope: &str, key: &str, metric: &str) -> Option<f64> {
                self.common.history(scope, key, metric)
            }

            fn similar(&self, limit: u32) -> Vec<crate::Episode> {
                let similar = self.common.similar.iter();
                similar.take(limit as usize).cloned().collect()
            }

            fn rejections(&self, limit: u32) -> Vec<String> {
                let rejections = self.common.rejections.iter();
                rejections.take(limit as usize).cloned().collect()
            }
        }
    };
}

pub(super) use {common_services, common_setup};
