//! How a tree is read, whoever keeps it and whoever reads.
//!
//! Touches: nothing.
//! Change here: when a reader of trees should be able to ask something new.

use serde::{Deserialize, Serialize};

use crate::event::Fault;

/// A read-only tree pinned to one commit. No path leaves it, no symlink is followed; every call may block,
/// and the same call always gives the same answer.
pub trait ReadTree: Send + Sync {
    /// The commit, in hex.
    fn revision(&self) -> String;
    /// Bytes of a file.
    fn size(&self, path: &str) -> Result<u64, Fault>;
    /// At most `max` bytes from `offset`; shorter at the end, empty beyond it.
    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Fault>;
    /// Paths that match, sorted; at most `limit`.
    fn glob(&self, pattern: &str, limit: u32) -> Result<Vec<String>, Fault>;
    /// Lines that match, in path order; at most `limit`. Binary files are skipped.
    fn search(
        &self,
        pattern: &str,
        options: SearchOptions,
        path_glob: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Hit>, Fault>;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SearchOptions {
    /// The pattern is a regular expression, not a plain string.
    pub regex: bool,
    pub ignore_case: bool,
    /// Whole words only.
    pub word: bool,
}

/// A line that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    pub path: String,
    /// From 1.
    pub line: u32,
    pub text: String,
}
