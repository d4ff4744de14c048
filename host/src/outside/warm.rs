//! Keeps work trees on which setup has been done, so that a trial begins where setup ended.
//!
//! Touches: files, clock.
//! Change here: when grounds are kept, found or given up otherwise. `workspace.rs` puts a trial upon one.
//!
//! ```text
//! warm/<project>/<key>/tree    what setup left of the work tree it was done in
//!                     /home    and of the home of its user
//!                     /ground.json   which tree that was, and how large it has become
//! ```
//!
//! A ground is never written again: a trial sees it through an overlay, or gets a copy. What names it, the key, is
//! the caller's: a digest over everything that setup depends on.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::git::blocking;
use crate::event::Oid;

const ABOUT: &str = "ground.json";
/// Not whole yet, or no longer.
const UNFINISHED: &str = ".new-";

/// How a trial comes to stand upon a ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layering {
    /// Sees it, and keeps what it writes apart.
    Overlay,
    /// Gets a copy, which shares its blocks where the filesystem can.
    Copy,
}

/// The grounds of this host.
#[derive(Debug)]
pub struct Warm {
    root: PathBuf,
    most_bytes: u64,
    pub layering: Layering,
    /// One is made at a time: whoever waits most likely waits for that one.
    pub making: tokio::sync::Mutex<()>,
    in_use: Arc<Mutex<BTreeMap<PathBuf, usize>>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct About {
    tree: Oid,
    bytes: u64,
}

/// One ground, kept from being given up as long as this lives.
#[derive(Debug)]
pub struct Ground {
    dir: PathBuf,
    tree: Oid,
    in_use: Arc<Mutex<BTreeMap<PathBuf, usize>>>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let mut in_use = counts(&self.in_use);
        if let Some(count) = in_use.get_mut(&self.dir) {
            *count -= 1;
            if *count == 0 {
                in_use.remove(&self.dir);
            }
        }
    }
}

impl Ground {
    /// The tree that was checked out when setup was done.
    pub fn tree(&self) -> &Oid {
        &self.tree
    }

    pub fn work_tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }
}

fn counts(in_use: &Mutex<BTreeMap<PathBuf, usize>>) -> MutexGuard<'_, BTreeMap<PathBuf, usize>> {
    in_use.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Warm {
    /// Clears what a crash left half made. Nobody else may be using `root`.
    pub fn open(root: PathBuf, most_bytes: u64, layering: Layering) -> io::Result<Warm> {
        std::fs::create_dir_all(&root)?;
        for project in std::fs::read_dir(&root)?.flatten() {
            for entry in std::fs::read_dir(project.path())?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                    super::workspace::remove_all(&entry.path())?;
                }
            }
        }
        Ok(Warm {
            root,
            most_bytes,
            layering,
            making: tokio::sync::Mutex::new(()),
            in_use: Arc::default(),
        })
    }

    pub fn find(&self, project: &str, key: &str) -> Option<Ground> {
        let dir = self.root.join(project).join(key);
        // Counted first, so that it cannot be given up between the look and the use.
        *counts(&self.in_use).entry(dir.clone()).or_default() += 1;
        let mut ground = Ground {
            tree: Oid(String::new()),
            in_use: self.in_use.clone(),
            dir,
        };
        ground.tree = about(&ground.dir)?.tree;
        touch(&ground.dir);
        Some(ground)
    }

    /// Keeps what setup left in `tree` and `home`, which are moved, and gives up the longest unused grounds where all
    /// together have become too large.
    pub async fn keep(
        self: &Arc<Self>,
        project: &str,
        key: &str,
        tree: &Oid,
        from: (PathBuf, PathBuf),
    ) -> io::Result<Option<Ground>> {
        let (warm, of, name) = (self.clone(), project.to_owned(), key.to_owned());
        let tree = tree.clone();
        let kept = move || -> io::Result<()> {
            let place = warm.root.join(&of);
            std::fs::create_dir_all(&place)?;
            let fresh = tempfile::Builder::new()
                .prefix(UNFINISHED)
                .tempdir_in(&place)?;
            std::fs::rename(&from.0, fresh.path().join("tree"))?;
            std::fs::rename(&from.1, fresh.path().join("home"))?;
            let bytes = size(fresh.path())?;
            let text = serde_json::to_string(&About { tree, bytes })?;
            std::fs::write(fresh.path().join(ABOUT), text)?;
            open_to_all(fresh.path())?;
            std::fs::rename(fresh.keep(), place.join(&name))
        };
        blocking(kept).await?;
        let ground = self.find(project, key);
        let warm = self.clone();
        blocking(move || warm.give_up()).await?;
        Ok(ground)
    }

    /// The longest unused first, until the rest fits.
    fn give_up(&self) -> io::Result<()> {
        let mut all: Vec<(SystemTime, PathBuf, u64)> = self.all();
        all.sort();
        let mut bytes: u64 = all.iter().map(|(.., bytes)| bytes).sum();
        for (_, dir, size) in all {
            if bytes <= self.most_bytes {
                break;
            }
            let aside = dir.with_file_name(format!("{UNFINISHED}{}", uuid::Uuid::now_v7()));
            {
                let in_use = counts(&self.in_use);
                if in_use.contains_key(&dir) {
                    continue;
                }
                std::fs::rename(&dir, &aside)?;
            }
            super::workspace::remove_all(&aside)?;
            bytes -= size;
            tracing::info!(ground = %dir.display(), "gave up a prepared work tree");
        }
        Ok(())
    }

    fn all(&self) -> Vec<(SystemTime, PathBuf, u64)> {
        let projects = std::fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .flatten();
        let grounds = projects.flat_map(|project| {
            let entries = std::fs::read_dir(project.path());
            entries.into_iter().flatten().flatten()
        });
        grounds
            .filter_map(|entry| {
                let dir = entry.path();
                let used = dir.join(ABOUT).metadata().and_then(|m| m.modified()).ok()?;
                Some((used, dir.clone(), about(&dir)?.bytes))
            })
            .collect()
    }
}

fn about(dir: &Path) -> Option<About> {
    serde_json::from_slice(&std::fs::read(dir.join(ABOUT)).ok()?).ok()
}

fn touch(dir: &Path) {
    let file = std::fs::File::options().write(true).open(dir.join(ABOUT));
    // It only decides which one is given up first.
    let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
}

/// A cell may run as another user.
fn open_to_all(dir: &Path) -> io::Result<()> {
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

/// Of everything below it, links not followed.
fn size(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += found.blocks() * 512;
        if found.is_dir() {
            // What setup shut off counts as nothing.
            bytes += size(&entry.path()).unwrap_or(0);
        }
    }
    Ok(bytes)
}
