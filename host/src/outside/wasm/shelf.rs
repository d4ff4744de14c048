//! What is loaded at one moment. A shelf is never changed: another takes its place.
//!
//! Touches: wasm.
//! Change here: when more should be known, or shown, of a loaded plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PluginKind;
use super::capability::Capability;
use super::manifest::Manifest;
use super::unfit::Step;
use super::world::Guest;
use crate::event::{Health, PluginRef};

/// A plugin that is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// The file's name without `.wasm`.
    pub name: String,
    pub kind: PluginKind,
    /// SHA-256 of the file, hex.
    pub digest: String,
    pub path: PathBuf,
    /// Bytes of the file.
    pub size: u64,
    /// Version of the interface it was built against.
    pub interface: String,
    /// Interfaces it asks of the host, such as `changebus:host/llm@0.1.0`; what it does not use is not here.
    pub imports: Vec<String>,
    /// What it says about itself.
    pub manifest: Option<Manifest>,
    /// What it imports, asks for, and is allowed.
    pub granted: BTreeSet<Capability>,
    /// What it imports and asks for, but is not allowed: each such call is refused.
    pub withheld: BTreeSet<Capability>,
}

/// A file that is not loaded, or a directory that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadProblem {
    pub path: PathBuf,
    /// How far it came.
    pub step: Step,
    /// A lowercase fragment that reads on from the path, with what to do about it.
    pub why: String,
}

impl std::fmt::Display for LoadProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path.display(), self.why)
    }
}

/// What is loaded and what is not, for people; `<state>/plugins/active.json` while a daemon runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// By kind, then by name.
    pub active: Vec<ActivePlugin>,
    pub problems: Vec<LoadProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivePlugin {
    #[serde(flatten)]
    pub info: PluginInfo,
    pub since: Timestamp,
    pub health: Health,
}

/// A plugin ready to be called any number of times.
pub struct Loaded {
    pub info: PluginInfo,
    pub since: Timestamp,
    pub guest: Guest,
}

/// All plugins by name, and what could not become one, by path.
#[derive(Clone, Default)]
pub struct Shelf {
    pub plugins: BTreeMap<String, Arc<Loaded>>,
    pub problems: BTreeMap<PathBuf, LoadProblem>,
}

impl Shelf {
    pub fn of_kind(&self, kind: PluginKind) -> impl Iterator<Item = &Arc<Loaded>> {
        self.plugins
            .values()
            .filter(move |loaded| loaded.info.kind == kind)
    }

    /// By kind, then by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        PluginKind::ALL
            .into_iter()
            .flat_map(|kind| self.of_kind(kind))
    }

    pub fn find(&self, kind: PluginKind, name: &str) -> Option<&Arc<Loaded>> {
        self.plugins
            .get(name)
            .filter(|loaded| loaded.info.kind == kind)
    }

    pub fn problem(&self, name: &str) -> Option<&LoadProblem> {
        self.problems
            .values()
            .find(|problem| super::file::stem(&problem.path) == name)
    }
}

/// The plugins of one moment: what is picked from it together belongs together, whatever is replaced meanwhile.
#[derive(Clone)]
pub struct Lineup(pub(super) Arc<Shelf>);

impl Lineup {
    /// Pins a plugin to the bytes that are loaded; the digest is empty where there is none of that name.
    pub fn reference(&self, kind: PluginKind, name: &str) -> PluginRef {
        let loaded = self.0.find(kind, name);
        PluginRef {
            name: name.to_owned(),
            digest: loaded
                .map(|loaded| loaded.info.digest.clone())
                .unwrap_or_default(),
        }
    }
}
