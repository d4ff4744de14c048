//! What a project depends on, and what could be in its place.
//!
//! Touches: nothing.
//! Change here: when another ecosystem is known, or more has to be known of a dependency.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Oid};

/// Whose client resolves, locks and looks up.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Ecosystem {
    /// `requirements*.txt` that people write, installed as they stand.
    Pip,
    /// `*.in`, from which pip-compile makes a `*.txt`.
    PipTools,
    Uv,
    Poetry,
    Npm,
    Cargo,
}

/// A file in which people say what they depend on, and the lock file beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    pub ecosystem: Ecosystem,
    /// Within the repository.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    pub dependencies: Vec<Dependency>,
}

/// One direct dependency, as it is written and as it is locked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    pub name: String,
    /// As it stands in the manifest, such as `==3.1.2`, `^2.0.0` or `1.4`; empty where any version will do.
    pub requirement: String,
    /// What is installed: the locked version, or the one that the requirement names alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it is written in the manifest, such as `dependencies`, `dev-dependencies`; empty for a list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub section: String,
}

/// How far an update goes. What begins with 0 promises nothing: 0.1.x to 0.2.x is a major one.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Patch,
    Minor,
    Major,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Patch => "patch",
            Level::Minor => "minor",
            Level::Major => "major",
        }
    }
}

/// What could become of a dependency, and what stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Outlook {
    Current,
    Due {
        to: String,
        level: Level,
    },
    /// Its release is too fresh.
    Waiting {
        to: String,
        until: Timestamp,
    },
    /// There is a newer one, and a reason to let it be.
    LeftAlone {
        to: String,
        because: String,
    },
    /// It cannot be told which version is in use, or what a version means.
    Unclear {
        because: String,
    },
}

/// What a project depends on at a tip, and how each of it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dependencies {
    pub tip: Oid,
    pub manifests: Vec<ManifestSeen>,
}

/// A manifest, and how each of its dependencies stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestSeen {
    pub ecosystem: Ecosystem,
    /// Within the repository.
    pub path: String,
    pub dependencies: Vec<DependencySeen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DependencySeen {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlooks: Vec<Outlook>,
    /// Why its index could not be asked, or the update could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A version that can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    pub version: String,
    /// When it was published, where the index tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Taken back by its authors; never chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yanked: bool,
    /// In the authors' words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// It does not run on what this project runs on, such as a newer Python or Rust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
}

/// A dependency that goes from one version to another; both as the ecosystem writes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    pub name: String,
    pub from: String,
    pub to: String,
}

/// A change that ChangeBus made itself: dependencies that move, of which no remote knows. Between base and head stands one
/// commit for each of `moves`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    pub ecosystem: Ecosystem,
    /// Within the repository.
    pub manifest: String,
    /// The group of the configuration, where several move together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Oldest first.
    pub moves: Vec<Move>,
    /// What the lock file changes beyond them, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexplained: Vec<String>,
    /// How far the project let such an update go by itself when it was made.
    pub ceiling: Action,
    /// When it was made; the time of its commits.
    pub at: Timestamp,
}

/// What one commit of an update does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Move {
    /// More than one where they fit only together.
    pub steps: Vec<Step>,
    pub commit: Oid,
    /// As a unified diff, so that another host comes to the same commit; empty where it is longer than 1 MiB.
    pub patch: String,
}

impl Update {
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.moves.iter().flat_map(|one| &one.steps)
    }
}

/// How a dependency stays where it was: what is put in place of an update that cannot be lived with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Holding {
    pub name: String,
    /// The last version that is known to be good.
    pub version: String,
    /// From the head, as a unified diff.
    pub patch: String,
    /// What it comes to.
    pub tree: Oid,
}

/// No more is read of one version of a package: files, bytes of each, bytes of all.
pub const PACKAGE_FILES: usize = 2000;
pub const PACKAGE_FILE_BYTES: u64 = 256 << 10;
pub const PACKAGE_BYTES: u64 = 8 << 20;

/// What updating came to: the files that are other than before, by path, and every package that changed its version in the
/// lock file, direct or not; None for a version says that it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    pub files: BTreeMap<String, Vec<u8>>,
    pub packages: BTreeMap<String, (Option<String>, Option<String>)>,
}
