//! The plain values that go between a plugin and the host.
//!
//! Touches: nothing.
//! Change here: when the WIT says more; the conversions stand in `guest.rs`, the twin in `testing.rs`.

use std::collections::BTreeMap;

use changebus_edits::{Block, Kind};
use serde_json::Value;

/// Why the host did not do what was asked. `code` is stable and dotted, such as `llm.refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub code: String,
    pub message: String,
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    pub fn new(kind: FaultKind, code: &str, message: impl Into<String>) -> Fault {
        Fault {
            kind,
            code: code.to_owned(),
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Fault {}

/// Coarse and frozen; the cause stands in [`Fault::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Denied,
    Budget,
    Invalid,
    NotFound,
    Conflict,
    Unavailable,
    Timeout,
    Cancelled,
    Internal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
}

/// A request to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// Caps thinking and text together.
    pub max_output_tokens: u32,
    /// System blocks, and whether other variants of the tournament send the very same block.
    pub system: Vec<(String, bool)>,
    pub messages: Vec<(Role, String)>,
    /// `model`, `effort`, `temperature`; what the model does not take is dropped and noted by the host.
    pub options: Vec<(String, Value)>,
}

impl Prompt {
    pub fn new(max_output_tokens: u32) -> Prompt {
        Prompt {
            max_output_tokens,
            system: vec![],
            messages: vec![],
            options: vec![],
        }
    }

    /// A system block that every variant sends alike, so that the provider caches it. Add these first.
    pub fn shared(mut self, text: impl Into<String>) -> Prompt {
        self.system.push((text.into(), true));
        self
    }

    /// A system block of this variant alone.
    pub fn system(mut self, text: impl Into<String>) -> Prompt {
        self.system.push((text.into(), false));
        self
    }

    pub fn user(mut self, text: impl Into<String>) -> Prompt {
        self.messages.push((Role::User, text.into()));
        self
    }

    pub fn assistant(mut self, text: impl Into<String>) -> Prompt {
        self.messages.push((Role::Assistant, text.into()));
        self
    }

    pub fn option(mut self, key: &str, value: impl Into<Value>) -> Prompt {
        self.options.push((key.to_owned(), value.into()));
        self
    }
}

/// The model's answer; complete, since truncation and refusal are faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    pub text: String,
    pub stop_reason: String,
    pub model: String,
    /// `input-tokens`, `output-tokens`, `cache-read-tokens`, `cache-write-tokens`, `usd-micros`.
    pub usage: BTreeMap<String, u64>,
}

/// A line that matched a search; lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub path: String,
    pub line: u32,
    pub text: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchOpts {
    pub regex: bool,
    pub ignore_case: bool,
    pub word: bool,
}

/// A commit of the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: String,
    pub author: String,
    pub message: String,
}

/// A change to the failing commit's tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    pub edits: Vec<Edit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Applied where `search` stands exactly once, see [`changebus_edits::apply_one`].
    Replace {
        path: String,
        search: String,
        replacement: String,
    },
    Write {
        path: String,
        content: Vec<u8>,
    },
    Delete {
        path: String,
    },
    UnifiedDiff {
        text: String,
    },
}

impl Patch {
    pub fn new() -> Patch {
        Patch::default()
    }

    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    pub fn replace(self, path: &str, search: &str, replacement: &str) -> Patch {
        self.with(Edit::Replace {
            path: path.to_owned(),
            search: search.to_owned(),
            replacement: replacement.to_owned(),
        })
    }

    /// Creates the file or replaces all of it.
    pub fn write(self, path: &str, content: impl Into<Vec<u8>>) -> Patch {
        self.with(Edit::Write {
            path: path.to_owned(),
            content: content.into(),
        })
    }

    pub fn delete(self, path: &str) -> Patch {
        self.with(Edit::Delete {
            path: path.to_owned(),
        })
    }

    /// A unified diff in git's format.
    pub fn unified_diff(self, text: &str) -> Patch {
        self.with(Edit::UnifiedDiff {
            text: text.to_owned(),
        })
    }

    pub fn with(mut self, edit: Edit) -> Patch {
        self.edits.push(edit);
        self
    }
}

impl FromIterator<Block> for Patch {
    fn from_iter<T: IntoIterator<Item = Block>>(blocks: T) -> Patch {
        let edits = blocks.into_iter().map(Edit::from).collect();
        Patch { edits }
    }
}

impl From<Block> for Edit {
    fn from(Block { path, kind }: Block) -> Edit {
        match kind {
            Kind::Replace {
                search,
                replacement,
            } => Edit::Replace {
                path,
                search,
                replacement,
            },
            Kind::Write { content } => Edit::Write {
                path,
                content: content.into(),
            },
            Kind::Delete => Edit::Delete { path },
        }
    }
}

/// What the tests said of a probed patch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Every failing test of the change passes.
    pub fixed: bool,
    pub still_failing: Vec<String>,
    /// Passed before the change and do not pass with the patch.
    pub broken: Vec<String>,
    /// What the tests in `still_failing` and `broken` said, as far as they said anything.
    pub messages: BTreeMap<String, String>,
    /// The end of what the test command printed.
    pub output: String,
    pub passed: Option<u64>,
    pub failed: Option<u64>,
    pub seconds: Option<f64>,
}

impl Report {
    /// It fixes what it should and breaks nothing.
    pub fn is_good(&self) -> bool {
        self.fixed && self.still_failing.is_empty() && self.broken.is_empty()
    }
}

/// What a tool of the project did to the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolReport {
    /// None where it was killed by a signal or its timeout.
    pub exit_code: Option<i32>,
    /// The end of what it printed.
    pub output: String,
    /// Paths it changed, sorted.
    pub changed: Vec<String>,
    /// The given patch and the tool's changes together, for [`Patch::unified_diff`].
    pub diff: String,
}

/// An earlier failure of the project, and what was made of it. Everything in it comes from outside: fence it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Episode {
    /// The run's id.
    pub run: String,
    /// 0 to 1; at 1 the same tests failed with the same words.
    pub likeness: f64,
    /// `assertion`, `import`, `type`, ...
    pub class: String,
    /// Some of the tests that failed, and what one of them said.
    pub failing: Vec<String>,
    pub message: String,
    /// Whose fix won; None where nobody came through.
    pub strategy: Option<String>,
    pub rationale: String,
    /// The fix as a unified diff, cut to a few KiB.
    pub diff: String,
    /// The last that was seen of the fix: `merged`, `survived`, `reverted`, `edited`, `overridden`, `unmerged`.
    pub fate: Option<String>,
    /// What people said who did not want it.
    pub rejections: Vec<String>,
}

/// What a strategy answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Propose(Proposal),
    /// Nothing this strategy should change, and why.
    Decline(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub patch: Patch,
    /// Cause and remedy in a few sentences, for people.
    pub rationale: String,
    /// 0 to 1.
    pub confidence: f32,
    pub notes: Vec<(String, String)>,
}

impl Outcome {
    pub fn propose(patch: Patch, rationale: impl Into<String>, confidence: f32) -> Outcome {
        Outcome::Propose(Proposal {
            patch,
            rationale: rationale.into(),
            confidence,
            notes: vec![],
        })
    }

    pub fn decline(reason: impl Into<String>) -> Outcome {
        Outcome::Decline(reason.into())
    }
}

/// A scorer's marks for one contender.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub id: String,
    /// 0 to 100.
    pub total: f64,
    pub disqualified: Option<String>,
    /// Named parts of the total.
    pub marks: Vec<(String, f64)>,
}

/// In order of authority, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Human,
    PullRequest,
    Merge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub action: Action,
    pub contender: Option<String>,
    /// Code and sentence.
    pub reasons: Vec<(String, String)>,
}
