//! Whether a plugin is fit to be called: what the registry asks before each call, and tells after it.
//!
//! Touches: files.
//! Change here: when an operator should be able to say something else about a plugin's health.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::lock::is_digest;
use crate::event::{Ended, Health};

/// Keeps the health of plugins, by digest. What it makes of a call is the rules' affair.
pub trait Conduct: Send + Sync {
    fn ended(&self, digest: &str, at: Timestamp, ended: &Ended);
    /// An operator trusts this file again; what it did up to then is forgotten.
    fn cleared(&self, digest: &str, at: Timestamp);
    fn health(&self, digest: &str, now: Timestamp) -> Health;
}

/// Nobody watches: every plugin may be called. For processes that only look, and those that decide again.
pub struct Unwatched;

impl Conduct for Unwatched {
    fn ended(&self, _: &str, _: Timestamp, _: &Ended) {}

    fn cleared(&self, _: &str, _: Timestamp) {}

    fn health(&self, _: &str, _: Timestamp) -> Health {
        Health::Well { strikes: 0 }
    }
}

fn cleared_dir(state: &Path) -> PathBuf {
    state.join("plugins/cleared")
}

/// Lets a plugin's file be called again, now and by every process on this state directory.
///
/// # Errors
/// Where the note cannot be written, or `digest` is none.
pub fn clear(state: &Path, digest: &str) -> std::io::Result<()> {
    if !is_digest(digest) {
        let why = format!("`{digest}` is no digest: 64 hex digits, as `plugin list` shows them");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
    }
    let dir = cleared_dir(state);
    std::fs::create_dir_all(&dir)?;
    super::keep::replace(&dir.join(digest), b"")
}

/// What operators cleared, and when.
pub fn clears(state: &Path) -> Vec<(String, Timestamp)> {
    let Ok(entries) = std::fs::read_dir(cleared_dir(state)) else {
        return Vec::new();
    };
    let note = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let digest = entry.file_name().into_string().ok()?;
        let at = entry.metadata().ok()?.modified().ok()?;
        is_digest(&digest).then_some((digest, Timestamp::try_from(at).ok()?))
    };
    entries.filter_map(note).collect()
}

/// Why a plugin is not called, if so; reads on from its name.
pub fn unfit(plugin: &str, health: &Health) -> Option<String> {
    let second = |at: &Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    match health {
        Health::Well { .. } => None,
        Health::Benched { since, until, why } => Some(format!(
            "is benched since {} for faults in a row (the last: {why}); it is tried again from {}, or at once \
             after `changebus plugin clear {plugin}` or when its file is replaced",
            second(since),
            second(until),
        )),
        Health::Quarantined { since, why } => Some(format!(
            "is in quarantine since {} because it kept failing (the last: {why}); replace its file, or let it back \
             with `changebus plugin clear {plugin}`",
            second(since),
        )),
    }
}
