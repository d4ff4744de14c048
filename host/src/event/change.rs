//! What started a run, and what the watcher saw.
//!
//! Touches: nothing.
//! Change here: when a run can start for another reason, or the watcher can tell something new.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Asked, Update};

/// A git object id in hex: a commit, a tree or a blob, as the field says.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Oid(pub String);

impl Oid {
    /// The first ten characters, for people.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(10)]
    }
}

impl std::fmt::Display for Oid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A move of the watched branch from `base` to `head`, however many pushes it took; or one that ChangeBus would make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub branch: String,
    pub base: Oid,
    pub head: Oid,
    /// Tree of `head`.
    pub tree: Oid,
    /// True when `base` is not the former tip because history was rewritten.
    pub forced: bool,
    /// Newest first; at most 50.
    pub commits: Vec<Commit>,
    /// Paths that differ between `base` and `head`, sorted.
    pub paths: Vec<String>,
    /// Somebody wanted the tip tested, whether or not it moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Nobody pushed it: these dependencies are to move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Box<Update>>,
}

impl Change {
    /// The commit whose files a delivery starts from, and which the branch was at: the head of a push, and what an update
    /// stands on.
    pub fn origin(&self) -> &Oid {
        match self.update {
            Some(_) => &self.base,
            None => &self.head,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    pub id: Oid,
    /// `Name <address>`
    pub author: String,
    pub message: String,
}

/// What the watcher saw that opened no run; written once, when it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "saw", rename_all = "kebab-case")]
pub enum Sighting {
    /// First look at the branch: this tip is where watching starts.
    Adopted {
        tip: Oid,
    },
    /// The tip moved, and nothing has to be done about it.
    Ignored {
        tip: Oid,
        reason: IgnoreReason,
    },
    BranchGone {
        branch: String,
    },
    /// The repository has no commit yet.
    Empty,
    Unreachable {
        why: String,
    },
    /// The remote answers again after `Unreachable`, `BranchGone` or `Empty`.
    Back,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IgnoreReason {
    /// The move holds nothing but commits ChangeBus itself delivered.
    OwnCommits,
    /// Every path of the move matches the project's `ignore_paths`.
    PathsIgnored,
    /// The same tree was tested green before.
    TreeAlreadyGreen,
    /// The new tip is an ancestor of the old one: history was cut back to a tip seen earlier.
    RolledBack,
}
