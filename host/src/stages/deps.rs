//! DepWatcher: what a project depends on at its tip, and what the indexes have in place of it.
//!
//! Touches: git, files, processes.
//! Change here: when there is something else to look up. Whether a newer version counts is in `rules/deps.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use globset::{Glob, GlobSet, GlobSetBuilder};
use jiff::Timestamp;

use crate::config::Project;
use crate::event::{Dependency, Manifest, Oid, Release};
use crate::outside::deps::{self, Clients, Files};
use crate::outside::git::Mirror;
use crate::outside::runner::Confinement;
use crate::rules::deps::outlook;
use crate::rules::deps::plan::Seen;

use super::{House, StageError, failed};

pub mod make;

/// Questions that one project asks an index at once.
const AT_ONCE: usize = 4;

/// What looks dependencies up and locks them, confined as the project's setup is.
pub fn clients(house: &House, project: &Project) -> Result<Clients, StageError> {
    let confinement = Confinement::of(&project.sandbox, house.sandbox.as_ref());
    let confinement = confinement.map_err(|e| failed("looking for dependencies", &e))?;
    let cache = house.settings.host.state.join("deps").join("cache");
    Ok(Clients::new(confinement, cache, project.env.clone()))
}

/// What the indexes said, by manifest and name: an error is as good as an answer until it is asked anew.
#[derive(Default)]
pub struct Releases(Mutex<BTreeMap<(String, String), Said>>);

/// The versions there are, or why that is not known.
type Said = Result<Arc<Vec<Release>>, String>;

impl Releases {
    async fn of(&self, clients: &Clients, files: &Files, manifest: &Manifest, name: &str) -> Said {
        let key = (manifest.path.clone(), name.to_owned());
        if let Some(known) = self.known().get(&key) {
            return known.clone();
        }
        let said = clients.releases(files, manifest, name).await;
        let said = said.map(Arc::new).map_err(|error| error.to_string());
        self.known().insert(key, said.clone());
        said
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(String, String), Said>> {
        // Nothing is half done while the lock is held, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the tree of this commit.
pub async fn look(
    mirror: &Mirror,
    tip: &Oid,
    project: &Project,
    clients: &Clients,
    releases: &Releases,
    now: Timestamp,
) -> Result<Vec<Seen>, StageError> {
    let tree = mirror
        .tree(tip)
        .map_err(|e| failed("reading the tip", &e))?;
    let manifests = deps::scan(&tree).map_err(|e| failed("looking for manifests", &e))?;
    let ignored = globs(&project.deps.ignore_manifests);
    let mut seen = vec![];
    for manifest in manifests {
        if ignored.is_match(&manifest.path) {
            continue;
        }
        let files = deps::gather(&tree, &manifest);
        let files = files.map_err(|e| failed("reading a manifest", &e))?;
        seen.push(ask(project, clients, releases, &files, manifest, now).await);
    }
    Ok(seen)
}

async fn ask(
    project: &Project,
    clients: &Clients,
    known: &Releases,
    files: &Files,
    manifest: Manifest,
    now: Timestamp,
) -> Seen {
    let one = |dependency: Dependency| {
        let manifest = &manifest;
        async move {
            let releases = known.of(clients, files, manifest, &dependency.name).await;
            let found = releases
                .map(|all| outlook(manifest.ecosystem, &dependency, &all, &project.deps, now));
            (dependency, found)
        }
    };
    let asked = futures::stream::iter(manifest.dependencies.clone().into_iter().map(one));
    let outlooks = asked.buffered(AT_ONCE).collect().await;
    Seen { manifest, outlooks }
}

/// The configuration was checked: what is no glob is not here.
fn globs(all: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in all.iter().filter_map(|glob| Glob::new(glob).ok()) {
        set.add(glob);
    }
    set.build().unwrap_or_default()
}
