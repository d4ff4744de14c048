//! DepWatcher: what a project depends on at its tip, and what the indexes have in place of it.
//!
//! Touches: git, files, processes.
//! Change here: when there is something else to look up. Whether a newer version counts is in `rules/deps.rs`.

use futures::StreamExt;
use globset::{Glob, GlobSet, GlobSetBuilder};
use jiff::Timestamp;

use crate::config::Project;
use crate::event::{Dependency, Manifest, Oid};
use crate::outside::deps::{self, Clients, Files};
use crate::outside::git::Mirror;
use crate::rules::deps::{Outlook, outlook};

use super::{StageError, failed};

/// Questions that one project asks an index at once.
const AT_ONCE: usize = 4;

/// A manifest, and how each of its dependencies stands.
pub struct Seen {
    pub manifest: Manifest,
    /// Where an index could not be asked, why.
    pub outlooks: Vec<(Dependency, Result<Vec<Outlook>, String>)>,
}

/// Of the tree of this commit.
pub async fn look(
    mirror: &Mirror,
    tip: &Oid,
    project: &Project,
    clients: &Clients,
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
        seen.push(ask(project, clients, &files, manifest, now).await);
    }
    Ok(seen)
}

async fn ask(
    project: &Project,
    clients: &Clients,
    files: &Files,
    manifest: Manifest,
    now: Timestamp,
) -> Seen {
    let one = |dependency: Dependency| {
        let manifest = &manifest;
        async move {
            let releases = clients.releases(files, manifest, &dependency.name).await;
            let found = releases
                .map(|all| outlook(manifest.ecosystem, &dependency, &all, &project.deps, now))
                .map_err(|error| error.to_string());
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
